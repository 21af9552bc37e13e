"""Waivers: failures that somebody answers for, for a while. Which results they cover, and what is wrong with them in a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from difflib import get_close_matches
from functools import lru_cache
from itertools import combinations

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from conformance.console.screen import many
from conformance.runs import observations
from conformance.runs.model import CellResult, Evidence, RunFile
from conformance.runs.observations import Shown
from conformance.runs.observations import Spot as Spot
from conformance.runs.remarks import Kind, Remark
from conformance.runs.trust import is_trusted
from conformance.verdict import BY_LETTER, Verdict
from conformance.wildcards import STAR, fits

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
    """Pattern on the id of a finding that it is for; empty where ``cases``, ``outcomes`` and ``codes`` say what it is for."""
    line: int = 0

    def is_expired(self, today: date) -> bool:
        """Whether its time is over."""
        return today > self.expires

    def days_left(self, today: date) -> int:
        """Until it expires; less than zero where it has."""
        return (self.expires - today).days

    def is_for(self, cell: CellResult) -> bool:
        """Whether the cell is within all of its bounds; what a cell does not have is within none."""
        return is_within(cell, self.where)

    def names(self, case: str) -> bool:
        """Whether one of its patterns is this case."""
        return not self.cases or any(fits(pattern, case) for pattern in self.cases)

    def among(self, shown: Iterable[str]) -> frozenset[str]:
        """Those of the findings of a case that it is for; without a finding of its own it is for the whole case."""
        return frozenset(one for one in shown if not self.finding or fits(self.finding, one))

    def expects(self, evidence: Evidence) -> bool:
        """Whether a result ends as it says, by outcome and code; a refusal has no code.

        An undecided or only observed result needs no waiver and has none.
        """
        return (
            evidence.verdict.is_decided
            and evidence.verdict is not Verdict.OBSERVED
            and (not self.outcomes or evidence.outcome in self.outcomes)
            and (not self.codes or evidence.code in self.codes or evidence.verdict is Verdict.REFUSED)
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


def is_within(cell: CellResult, where: Iterable[tuple[str, SpecifierSet]]) -> bool:
    """Whether the versions of a cell are within all of these bounds."""
    return all(_within(bound, version(cell, name)) for name, bound in where)


@lru_cache(maxsize=4096)
def _within(bound: SpecifierSet, version: str) -> bool:
    try:
        return bound.contains(Version(version), prereleases=True)
    except ValueError:  # not a version, or one with thousands of digits
        return False


_CONFORMS = Verdict.CONFORMS.letter
_NAMELESS = ("",)
"""In place of the findings of a case that shows none, such as a refusal."""


@dataclass(frozen=True)
class Coverage:
    """What the waivers are for in a run: by cell and case, and by the waiver's id in the order of the file, findings of that case."""

    findings: Mapping[Spot, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    shown: Shown = field(default_factory=dict)
    """The findings that each case shows, as far as anybody had to ask."""

    def spots(self, waiver: str) -> set[Spot]:
        """The cases that one is for."""
        return {spot for spot, by_waiver in self.findings.items() if waiver in by_waiver}

    def covering(self, spot: Spot) -> tuple[str, ...]:
        """The waivers that cover a case; none as long as it shows a finding that no waiver is for."""
        return () if self.left(spot) else tuple(self.findings[spot])

    def left(self, spot: Spot) -> tuple[str, ...]:
        """The findings of a case that no waiver is for."""
        covered = frozenset[str]().union(*self.findings.get(spot, {}).values())
        return tuple(one for one in self.shown.get(spot, _NAMELESS) if one not in covered)


def coverage(run: RunFile, waivers: Sequence[Waiver], today: date, shown: Shown | None = None) -> Coverage:
    """What the waivers are for that have not expired; ``shown`` has the findings of each case, where they are known already."""
    valid = [waiver for waiver in waivers if not waiver.is_expired(today)]
    if shown is None:
        shown = observations.by_spot(observations.findings(run)) if any(waiver.finding for waiver in valid) else {}
    found: dict[Spot, dict[str, frozenset[str]]] = defaultdict(dict)
    expecting = [[w for w in valid if w.expects(evidence)] for evidence in run.evidence]
    names = {waiver.id: lru_cache(maxsize=None)(waiver.names) for waiver in valid}
    about = {waiver.id: lru_cache(maxsize=None)(waiver.among) for waiver in valid}
    for cell in filter(is_trusted, run.cells):
        here = {waiver.id for waiver in valid if waiver.is_for(cell)}
        for case, _, evidence in run.found(cell) if here else ():
            spot = (cell.name, case)
            for waiver in expecting[evidence]:
                if waiver.id in here and names[waiver.id](case):
                    among = about[waiver.id](shown.get(spot, _NAMELESS))
                    if among:
                        found[spot][waiver.id] = among
    return Coverage(dict(found), shown)


def applied(remarks: Iterable[Remark], found: Coverage) -> Iterator[Remark]:
    """The remarks, those that waivers cover with their ids."""
    for remark in remarks:
        is_coverable = remark.kind in COVERABLE and remark.now is not Verdict.CONFORMS
        covering = found.covering((remark.cell, remark.case)) if is_coverable else ()
        yield replace(remark, waiver=", ".join(covering)) if covering else remark


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
            yield from _use(run, waiver, found, before.spots(waiver.id))
    yield from _overlaps(waivers, found)


def _trouble(waiver: Waiver, text: str, kind: Kind = Kind.WAIVER, cell: str = "", case: str = "") -> Remark:
    return Remark(kind, f"{waiver.called} {text}", cell, case)


def _use(run: RunFile, waiver: Waiver, found: Coverage, before: set[Spot]) -> Iterator[Remark]:
    """Whether it is for anything in this run, and whether what it is for has passed instead."""
    cells = [cell for cell in run.cells if waiver.is_for(cell)]
    tested = [cell for cell in cells if is_trusted(cell)]
    if not tested:
        what = "were not tested in this run" if cells else "are not in this run"
        yield _trouble(waiver, f"could not be tried: the cells that it is for {what}", Kind.NOTE)
        return
    covered = found.spots(waiver.id)
    if not covered:
        yield (
            _shown_by_none(run, waiver, tested, found, before)
            if waiver.finding
            else _matches_nothing(run, waiver, tested)
        )
        return
    passing = sorted(_passing(run, waiver, tested, covered, before))
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
    """Of one that names cases: how they end instead."""
    ends: dict[str, int] = defaultdict(int)
    for cell, position in _planned(run, tested, waiver.names):
        ends[BY_LETTER[cell.states[position]].word] += 1
    conforms = ends.pop(Verdict.CONFORMS.word, 0)
    if not conforms and not ends:
        return _trouble(
            waiver, f"matches nothing: {many(len(tested), 'cell')} within its bounds, and no such case in them"
        )
    if not ends:
        return _trouble(waiver, f"expects what passes unexpectedly: all of its cases conform ({conforms}); remove it")
    told = ", ".join(f"{count} {word}" for word, count in sorted(ends.items()))
    more = f", {conforms} conform" if conforms else ""
    return _trouble(
        waiver, f"matches nothing: its cases end otherwise ({told}{more}); remove it, or mend its outcome and code"
    )


def _shown_by_none(
    run: RunFile, waiver: Waiver, tested: Sequence[CellResult], found: Coverage, before: set[Spot]
) -> Remark:
    """Of one that names a finding: whether what showed it in the baseline conforms, or what is shown in its place."""
    earlier = {case for _, case in before}
    ends = [cell.states[position] for cell, position in _planned(run, tested, earlier.__contains__)]
    if ends and set(ends) == {_CONFORMS}:
        told = f"{many(len(ends), 'case')} of the finding {waiver.finding} conform" + ("s" if len(ends) == 1 else "")
        return _trouble(waiver, f"expects what passes unexpectedly: {told}, and none shows it; remove it")
    names = {cell.name for cell in tested}
    ids = sorted({one for (cell, _), shown in found.shown.items() if cell in names for one in shown})
    if any(fits(waiver.finding, one) for one in ids):
        told = f"its cells show the finding {waiver.finding} only in cases, outcomes or codes that it does not name"
        return _trouble(waiver, f"matches nothing: {told}; remove it, or mend them")
    near = get_close_matches(waiver.finding, ids, 1)
    mended = f"remove it, or name {near[0]}, which they show" if near else "remove it"
    return _trouble(waiver, f"matches nothing: no case in its cells shows the finding {waiver.finding}; {mended}")


def _passing(
    run: RunFile, waiver: Waiver, tested: Sequence[CellResult], covered: set[Spot], before: set[Spot]
) -> Iterator[Spot]:
    """Cases that are this waiver's own, named in full or covered elsewhere or before, and that conform.

    A finding is one cause: as long as a cell shows it, not all cases have to that show it elsewhere.
    """
    named = {pattern for pattern in waiver.cases if STAR not in pattern}
    own = {case for _, case in covered | before} | named
    showing = {cell for cell, _ in covered} if waiver.finding else set()
    for cell, position in _planned(run, tested, own.__contains__):
        case = run.cases(cell)[position]
        if cell.states[position] == _CONFORMS and (cell.name not in showing or case in named):
            yield cell.name, case


def _planned(
    run: RunFile, cells: Sequence[CellResult], wanted: Callable[[str], bool]
) -> Iterator[tuple[CellResult, int]]:
    """Each cell with the position of each wanted case in its plan; plans that cells share are looked at once."""
    plans = {cell.plan for cell in cells}
    places = {plan: [n for n, case in enumerate(run.plans[plan]) if wanted(case)] for plan in plans}
    for cell in cells:
        for position in places[cell.plan]:
            yield cell, position


def _overlaps(waivers: Sequence[Waiver], found: Coverage) -> Iterator[Remark]:
    """Two that are for the same: nobody knows which of them is needed. Each may be for another finding of one case."""
    by_id = {waiver.id: waiver for waiver in waivers}
    both: dict[tuple[str, str], list[Spot]] = defaultdict(list)
    for spot, by_waiver in found.findings.items():
        for one, other in combinations(by_waiver, 2):
            if by_waiver[one] & by_waiver[other]:
                both[one, other].append(spot)
    for (one, other), spots in both.items():
        cell, case = min(spots)
        more = f", and {len(spots) - 1} more" if len(spots) > 1 else ""
        told = f"and {by_id[other].called} both cover {case} in {cell}{more}; narrow one of them"
        yield _trouble(by_id[one], told, cell=cell, case=case)
