"""Waivers: known failures with an owner and an expiry date. Which results they cover, and which waivers are wrong in a run."""

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
"""Kinds that a waiver can cover: judged failures. Missing, stale or altered results cannot be waived."""


@dataclass(frozen=True)
class Waiver:
    """One entry of waivers.yaml, with its first line. Dates are inclusive: the waiver is in effect up to and on ``expires``."""

    id: str
    owner: str
    reason: str
    link: str
    opened: date
    expires: date
    where: tuple[tuple[str, SpecifierSet], ...]
    """Version bounds, by library or axis; all must hold."""
    cases: tuple[str, ...]
    """Patterns of case ids; empty for all cases of ``finding``."""
    outcomes: tuple[str, ...]
    """Raw outcomes; empty for all."""
    codes: tuple[str, ...]
    """Codes of failures; empty for all."""
    finding: str = ""
    """Pattern of finding ids; empty if ``cases``, ``outcomes`` and ``codes`` select the failures."""
    line: int = 0

    def is_expired(self, today: date) -> bool:
        """Return whether the waiver is no longer in effect."""
        return today > self.expires

    def days_left(self, today: date) -> int:
        """Return the days until it expires; negative if it has expired."""
        return (self.expires - today).days

    def is_for(self, cell: CellResult) -> bool:
        """Return whether the cell satisfies all bounds. A version that the cell does not have satisfies none."""
        return is_within(cell, self.where)

    def names(self, case: str) -> bool:
        """Return whether one of its patterns matches this case."""
        return not self.cases or any(fits(pattern, case) for pattern in self.cases)

    def among(self, shown: Iterable[str]) -> frozenset[str]:
        """Return the findings of a case that the waiver covers. Without a finding of its own it covers all of them."""
        return frozenset(one for one in shown if not self.finding or fits(self.finding, one))

    def expects(self, evidence: Evidence) -> bool:
        """Return whether the waiver selects a result by outcome and code. Refusals have no code.

        Undecided and observed results need no waiver and are never selected.
        """
        return (
            evidence.verdict.is_decided
            and evidence.verdict is not Verdict.OBSERVED
            and (not self.outcomes or evidence.outcome in self.outcomes)
            and (not self.codes or evidence.code in self.codes or evidence.verdict is Verdict.REFUSED)
        )

    @property
    def called(self) -> str:
        """Name of the waiver in sentences."""
        return f"waiver {self.id} (line {self.line}, {self.owner})"


def message_of(evidence: Evidence) -> str:
    """Return the message of a result: its reason, the expected and the actual value."""
    parts = (
        evidence.reason,
        evidence.expected and f"expected {evidence.expected}",
        evidence.seen and f"saw {evidence.seen}",
    )
    return "; ".join(part for part in parts if part)


def version(cell: CellResult, name: str) -> str:
    """Return the version that a bound is compared with; empty if the cell has none."""
    return cell.versions.get(name, "") or cell.axes.get(cell.holds.get(name, name), "")


def is_within(cell: CellResult, where: Iterable[tuple[str, SpecifierSet]]) -> bool:
    """Return whether the versions of a cell satisfy all of these bounds."""
    return all(_within(bound, version(cell, name)) for name, bound in where)


@lru_cache(maxsize=4096)
def _within(bound: SpecifierSet, version: str) -> bool:
    try:
        return bound.contains(Version(version), prereleases=True)
    except ValueError:  # not a version, or one with too many digits for Python's int()
        return False


_CONFORMS = Verdict.CONFORMS.letter
_NAMELESS = ("",)
"""The findings of a case that shows none, such as a refusal."""


@dataclass(frozen=True)
class Coverage:
    """Findings that the waivers cover in a run, by cell and case, and by waiver id in file order."""

    findings: Mapping[Spot, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    shown: Shown = field(default_factory=dict)
    """The findings that each case shows. Empty if no waiver names a finding."""

    def spots(self, waiver: str) -> set[Spot]:
        """Return the cases that a waiver covers."""
        return {spot for spot, by_waiver in self.findings.items() if waiver in by_waiver}

    def covering(self, spot: Spot) -> tuple[str, ...]:
        """Return the waivers that cover a case; empty while the case shows a finding that no waiver covers."""
        return () if self.left(spot) else tuple(self.findings[spot])

    def left(self, spot: Spot) -> tuple[str, ...]:
        """Return the findings of a case that no waiver covers."""
        covered = frozenset[str]().union(*self.findings.get(spot, {}).values())
        return tuple(one for one in self.shown.get(spot, _NAMELESS) if one not in covered)


def coverage(run: RunFile, waivers: Sequence[Waiver], today: date, shown: Shown | None = None) -> Coverage:
    """Return the coverage of the waivers in effect. ``shown`` has the findings of each case, if already computed."""
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
    """Yield the remarks. Those that waivers cover get the ids of the waivers."""
    for remark in remarks:
        is_coverable = remark.kind in COVERABLE and remark.now is not Verdict.CONFORMS
        covering = found.covering((remark.cell, remark.case)) if is_coverable else ()
        yield replace(remark, waiver=", ".join(covering)) if covering else remark


def troubles(
    run: RunFile, baseline: RunFile | None, waivers: Sequence[Waiver], found: Coverage, today: date
) -> Iterator[Remark]:
    """Yield remarks on waivers that are wrong: expired, unused, or overlapping."""
    for waiver in waivers:
        if waiver.is_expired(today):
            days = many(-waiver.days_left(today), "day")
            yield _trouble(
                waiver,
                f"expired on {waiver.expires}, {days} ago, and is no longer in effect; fix the cause, or renew it",
            )
    before = coverage(baseline, waivers, today) if baseline else Coverage()
    for waiver in waivers:
        if not waiver.is_expired(today):
            yield from _use(run, waiver, found, before.spots(waiver.id))
    yield from _overlaps(waivers, found)


def _trouble(waiver: Waiver, text: str, kind: Kind = Kind.WAIVER, cell: str = "", case: str = "") -> Remark:
    return Remark(kind, f"{waiver.called} {text}", cell, case)


def _use(run: RunFile, waiver: Waiver, found: Coverage, before: set[Spot]) -> Iterator[Remark]:
    """Yield remarks on a waiver that covers nothing in this run, or whose cases now pass."""
    cells = [cell for cell in run.cells if waiver.is_for(cell)]
    tested = [cell for cell in cells if is_trusted(cell)]
    if not tested:
        what = "were not tested in this run" if cells else "are not in this run"
        yield _trouble(waiver, f"could not be checked: its cells {what}", Kind.NOTE)
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
            waiver,
            f"expects a failure that no longer happens: {where}; narrow its bounds or its cases",
            cell=cell,
            case=case,
        )
    for pattern in waiver.cases:
        if not any(fits(pattern, case) for case in {case for _, case in covered}):
            yield _trouble(waiver, f"has the pattern {pattern}, which covers nothing in this run; remove it")


def _matches_nothing(run: RunFile, waiver: Waiver, tested: Sequence[CellResult]) -> Remark:
    """Explain why a waiver that lists cases matches nothing: the verdicts of its cases."""
    ends: dict[str, int] = defaultdict(int)
    for cell, position in _planned(run, tested, waiver.names):
        ends[BY_LETTER[cell.states[position]].word] += 1
    conforms = ends.pop(Verdict.CONFORMS.word, 0)
    if not conforms and not ends:
        return _trouble(
            waiver, f"matches nothing: {many(len(tested), 'cell')} within its bounds, but none of its cases in them"
        )
    if not ends:
        return _trouble(
            waiver, f"expects a failure that no longer happens: all of its cases conform ({conforms}); remove it"
        )
    told = ", ".join(f"{count} {word}" for word, count in sorted(ends.items()))
    more = f", {conforms} conform" if conforms else ""
    return _trouble(
        waiver,
        f"matches nothing: its cases have other verdicts ({told}{more}); remove it, or correct its outcome and code",
    )


def _shown_by_none(
    run: RunFile, waiver: Waiver, tested: Sequence[CellResult], found: Coverage, before: set[Spot]
) -> Remark:
    """Explain why a waiver of a finding matches nothing: its cases conform, or other findings are shown."""
    earlier = {case for _, case in before}
    ends = [cell.states[position] for cell, position in _planned(run, tested, earlier.__contains__)]
    if ends and set(ends) == {_CONFORMS}:
        told = f"{many(len(ends), 'case')} of the finding {waiver.finding} conform" + ("s" if len(ends) == 1 else "")
        return _trouble(waiver, f"expects a failure that no longer happens: {told}, and none shows it; remove it")
    names = {cell.name for cell in tested}
    ids = sorted({one for (cell, _), shown in found.shown.items() if cell in names for one in shown})
    if any(fits(waiver.finding, one) for one in ids):
        told = f"its cells show the finding {waiver.finding} only in cases, outcomes or codes that it does not name"
        return _trouble(waiver, f"matches nothing: {told}; remove it, or correct them")
    near = get_close_matches(waiver.finding, ids, 1)
    mended = f"remove it, or name {near[0]}, which they show" if near else "remove it"
    return _trouble(waiver, f"matches nothing: no case in its cells shows the finding {waiver.finding}; {mended}")


def _passing(
    run: RunFile, waiver: Waiver, tested: Sequence[CellResult], covered: set[Spot], before: set[Spot]
) -> Iterator[Spot]:
    """Yield conforming cases that the waiver lists in full, or covers in other cells or in the baseline.

    A finding is one root cause. While a cell shows it, cases that show it elsewhere may pass in that cell.
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
    """Yield each cell with the position of each wanted case. A plan that cells share is searched once."""
    plans = {cell.plan for cell in cells}
    places = {plan: [n for n, case in enumerate(run.plans[plan]) if wanted(case)] for plan in plans}
    for cell in cells:
        for position in places[cell.plan]:
            yield cell, position


def _overlaps(waivers: Sequence[Waiver], found: Coverage) -> Iterator[Remark]:
    """Yield pairs of waivers that cover the same finding of the same case, so that one of them is redundant."""
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
