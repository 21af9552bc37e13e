"""Waivers: failures that somebody answers for, for a while. Which results they cover, and what is wrong with them in a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from conformance.report.screen import many
from conformance.verdict import BY_LETTER, Verdict
from conformance.wildcards import STAR, fits

from . import observed
from .model import CellResult, Evidence, RunFile
from .remarks import Kind, Remark
from .trust import is_trusted

COVERABLE = frozenset({Kind.REGRESSION, Kind.NEW_VIOLATION, Kind.STILL, Kind.NEW_CASE})
"""What a waiver can cover: what was seen and judged. Never what was not tested, not planned, stale or altered."""


@dataclass(frozen=True)
class Waiver:
    """One entry of waivers.yaml, with the line that it begins in. Dates are inclusive: it covers nothing after ``expires``."""

    id: str
    owner: str
    reason: str
    link: str
    opened: date
    expires: date
    where: tuple[tuple[str, SpecifierSet], ...]
    """Bounds on versions, by library or axis; all of them have to hold."""
    cases: tuple[str, ...]
    """Patterns on case ids; empty for all cases of ``finding``."""
    outcomes: tuple[str, ...]
    """Raw outcomes; empty for all."""
    codes: tuple[str, ...]
    """Codes of failures; empty for all."""
    finding: str = ""
    """Pattern on the id of a finding, of which it covers the cases; empty where ``cases``, ``outcomes`` and ``codes`` say what it covers."""
    line: int = 0

    def is_expired(self, today: date) -> bool:
        """Whether its time is over."""
        return today > self.expires

    def days_left(self, today: date) -> int:
        """Until it expires; less than zero where it has."""
        return (self.expires - today).days

    def is_for(self, cell: CellResult) -> bool:
        """Whether the cell is within all of its bounds; what a cell does not have is within none."""
        return all(_within(bound, version(cell, name)) for name, bound in self.where)

    def names(self, case: str) -> bool:
        """Whether one of its patterns is this case."""
        return not self.cases or any(fits(pattern, case) for pattern in self.cases)

    def is_about(self, shown: Iterable[str]) -> bool:
        """Whether a case that shows these findings shows the one that it is for."""
        return not self.finding or any(fits(self.finding, one) for one in shown)

    def expects(self, evidence: Evidence) -> bool:
        """Whether a result ends as it says, by outcome and code. An undecided or only observed result needs no waiver and has none."""
        return (
            evidence.verdict.is_decided
            and evidence.verdict is not Verdict.OBSERVED
            and (not self.outcomes or evidence.outcome in self.outcomes)
            and (not self.codes or evidence.code in self.codes)
        )

    @property
    def called(self) -> str:
        """How a sentence names it."""
        return f"waiver {self.id} (line {self.line}, {self.owner})"


def message_of(evidence: Evidence) -> str:
    """What a result says, in one text: the reason, what was expected and what was seen."""
    parts = (
        evidence.reason,
        evidence.expected and f"expected {evidence.expected}",
        evidence.seen and f"saw {evidence.seen}",
    )
    return "; ".join(part for part in parts if part)


def version(cell: CellResult, name: str) -> str:
    """The version that a bound is compared with; empty where the cell has none."""
    return cell.versions.get(name, "") or cell.axes.get(cell.holds.get(name, name), "")


@lru_cache(maxsize=4096)
def _within(bound: SpecifierSet, version: str) -> bool:
    try:
        return bound.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


_CONFORMS = Verdict.CONFORMS.letter
Spot = tuple[str, str]
"""A cell and a case in it, by their names."""


@dataclass(frozen=True)
class Coverage:
    """What each waiver covers in a run, by the waiver's id."""

    spots: dict[str, set[Spot]] = field(default_factory=dict)

    def by_spot(self) -> dict[Spot, list[str]]:
        """The waivers of each case, in the order of the file."""
        found: dict[Spot, list[str]] = defaultdict(list)
        for waiver, spots in self.spots.items():
            for spot in spots:
                found[spot].append(waiver)
        return found


def coverage(run: RunFile, waivers: Sequence[Waiver], today: date) -> Coverage:
    """What the waivers cover that have not expired."""
    valid = [waiver for waiver in waivers if not waiver.is_expired(today)]
    spots: dict[str, set[Spot]] = {waiver.id: set() for waiver in valid}
    expecting = [[w for w in valid if w.expects(evidence)] for evidence in run.evidence]
    shown = observed.by_spot(run) if any(waiver.finding for waiver in valid) else {}
    names = {waiver.id: lru_cache(maxsize=None)(waiver.names) for waiver in valid}
    for cell in filter(is_trusted, run.cells):
        here = {waiver.id for waiver in valid if waiver.is_for(cell)}
        for found in run.found(cell) if here else ():
            for waiver in expecting[found.evidence]:
                spot = (cell.name, found.case)
                if waiver.id in here and names[waiver.id](found.case) and waiver.is_about(shown.get(spot, ())):
                    spots[waiver.id].add(spot)
    return Coverage(spots)


def applied(remarks: Iterable[Remark], found: Coverage) -> Iterator[Remark]:
    """The remarks, those that a waiver covers with its id."""
    by_spot = found.by_spot()
    for remark in remarks:
        covering = by_spot.get((remark.cell, remark.case)) if remark.kind in COVERABLE else None
        if covering and remark.now is not Verdict.CONFORMS:
            yield replace(remark, waiver=covering[0])
        else:
            yield remark


def troubles(
    run: RunFile, baseline: RunFile | None, waivers: Sequence[Waiver], found: Coverage, today: date
) -> Iterator[Remark]:
    """What is wrong with the waivers themselves, as far as this run tells."""
    for waiver in waivers:
        if waiver.is_expired(today):
            days = many(-waiver.days_left(today), "day")
            yield _trouble(
                waiver, f"expired on {waiver.expires}, {days} ago, and covers nothing; mend the cause, or ask again"
            )
    before = coverage(baseline, waivers, today) if baseline else Coverage()
    for waiver in waivers:
        if not waiver.is_expired(today):
            yield from _use(run, waiver, found.spots[waiver.id], before.spots.get(waiver.id, set()))
    yield from _overlaps(waivers, found)


def _trouble(waiver: Waiver, text: str, kind: Kind = Kind.WAIVER, cell: str = "", case: str = "") -> Remark:
    return Remark(kind, f"{waiver.called} {text}", cell, case)


def _use(run: RunFile, waiver: Waiver, covered: set[Spot], before: set[Spot]) -> Iterator[Remark]:
    """Whether it is for anything in this run, and whether what it is for has passed instead."""
    cells = [cell for cell in run.cells if waiver.is_for(cell)]
    tested = [cell for cell in cells if is_trusted(cell)]
    if not tested:
        what = "were not tested in this run" if cells else "are not in this run"
        yield _trouble(waiver, f"could not be tried: the cells that it is for {what}", Kind.NOTE)
        return
    if not covered:
        yield _matches_nothing(run, waiver, tested)
        return
    passing = sorted(_passing(run, waiver, tested, covered | before))
    if passing:
        cell, case = passing[0]
        where = f"{case} in {cell}" + (f", and {len(passing) - 1} more" if len(passing) > 1 else "")
        yield _trouble(
            waiver, f"expects what passes unexpectedly: {where}; narrow its bounds or its cases", cell=cell, case=case
        )
    for pattern in waiver.cases:
        if not any(fits(pattern, case) for case in {case for _, case in covered}):
            yield _trouble(waiver, f"has the pattern {pattern}, which covers nothing in this run; take it out")


def _matches_nothing(run: RunFile, waiver: Waiver, tested: Sequence[CellResult]) -> Remark:
    ends: dict[str, int] = defaultdict(int)
    places = {plan: [n for n, case in enumerate(run.plans[plan]) if waiver.names(case)] for plan in _plans(tested)}
    for cell in tested:
        for position in places[cell.plan]:
            ends[BY_LETTER[cell.states[position]].word] += 1
    conforms = ends.pop(Verdict.CONFORMS.word, 0)
    if not conforms and not ends:
        return _trouble(
            waiver, f"matches nothing: {many(len(tested), 'cell')} within its bounds, and no such case in them"
        )
    if not ends:
        return _trouble(waiver, f"expects what passes unexpectedly: all of its cases conform ({conforms}); remove it")
    if waiver.finding:
        return _trouble(waiver, f"matches nothing: no case in its cells shows the finding {waiver.finding}; remove it")
    told = ", ".join(f"{count} {word}" for word, count in sorted(ends.items()))
    more = f", {conforms} conform" if conforms else ""
    return _trouble(
        waiver, f"matches nothing: its cases end otherwise ({told}{more}); remove it, or mend its outcome and code"
    )


def _passing(run: RunFile, waiver: Waiver, tested: Sequence[CellResult], known: set[Spot]) -> Iterator[Spot]:
    """Cases that are this waiver's own, named in full or covered elsewhere or before, and that conform."""
    own = {case for _, case in known} | {pattern for pattern in waiver.cases if STAR not in pattern}
    places = {plan: [n for n, case in enumerate(run.plans[plan]) if case in own] for plan in _plans(tested)}
    for cell in tested:
        for position in places[cell.plan]:
            if cell.states[position] == _CONFORMS:
                yield cell.name, run.cases(cell)[position]


def _plans(cells: Iterable[CellResult]) -> set[int]:
    return {cell.plan for cell in cells}


def _overlaps(waivers: Sequence[Waiver], found: Coverage) -> Iterator[Remark]:
    """Two that cover the same: nobody knows which of them is needed."""
    by_id = {waiver.id: waiver for waiver in waivers}
    both: dict[tuple[str, str], list[Spot]] = defaultdict(list)
    for spot, ids in found.by_spot().items():
        for number, one in enumerate(ids):
            for other in ids[number + 1 :]:
                both[one, other].append(spot)
    for (one, other), spots in both.items():
        cell, case = min(spots)
        more = f", and {len(spots) - 1} more" if len(spots) > 1 else ""
        told = f"and {by_id[other].called} both cover {case} in {cell}{more}; narrow one of them"
        yield _trouble(by_id[one], told, cell=cell, case=case)
