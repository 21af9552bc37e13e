"""Compare a run with its baseline, cell by cell and case by case. Pure functions.

The states of a cell are a string with a letter for each case of the plan. Equal strings are skipped by one comparison, so only cases
that differ or do not conform are visited.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from conformance.checks.libraries import is_installed
from conformance.console.screen import many
from conformance.engines.model import Lifecycle
from conformance.runs.model import CellResult, Evidence, RunFile, place
from conformance.runs.remarks import Kind, Remark
from conformance.runs.trust import ONLY_REFERENCE, evidence_at, has_only_reference, is_trusted
from conformance.verdict import Verdict

from .waivers import message_of

C, R, O, B = Verdict.CONFORMS, Verdict.REFUSED, Verdict.OBSERVED, Verdict.ROBUSTNESS  # noqa: E741
D, V, U, L = Verdict.DEVIATES, Verdict.VIOLATES, Verdict.UNDECIDED, Verdict.LOST
_NOW = (C, R, O, B, D, V)
_ROWS: dict[Verdict, tuple[Kind | None, ...]] = {
    # now:  conforms       refused          observed         robustness       deviates         violates
    C: (None,              Kind.REGRESSION, Kind.REGRESSION, Kind.REGRESSION, Kind.REGRESSION, Kind.REGRESSION),
    R: (Kind.FIXED,        None,            Kind.NEW_CASE,   Kind.NEW_CASE,   Kind.NEW_CASE,   Kind.NEW_VIOLATION),
    O: (Kind.FIXED,        Kind.REGRESSION, None,            Kind.REGRESSION, Kind.REGRESSION, Kind.REGRESSION),
    B: (Kind.FIXED,        Kind.FIXED,      Kind.FIXED,      Kind.STILL,      Kind.REGRESSION, Kind.REGRESSION),
    D: (Kind.FIXED,        Kind.REGRESSION, Kind.FIXED,      Kind.FIXED,      Kind.STILL,      Kind.REGRESSION),
    V: (Kind.FIXED,        Kind.FIXED,      Kind.FIXED,      Kind.FIXED,      Kind.FIXED,      Kind.STILL),
    U: (Kind.NEW_CASE,     Kind.NEW_CASE,   Kind.NEW_CASE,   Kind.NEW_CASE,   Kind.NEW_CASE,   Kind.NEW_VIOLATION),
    L: (Kind.NEW_CASE,     Kind.NEW_CASE,   Kind.NEW_CASE,   Kind.NEW_CASE,   Kind.NEW_CASE,   Kind.NEW_VIOLATION),
}  # fmt: skip
CHANGE: dict[Verdict, dict[Verdict, Kind | None]] = {
    before: {**dict(zip(_NOW, row)), U: Kind.NOT_TESTED, L: Kind.NOT_TESTED} for before, row in _ROWS.items()
}
"""The kind of remark for each change of verdict, from before to now; ``None`` for no remark.

A regression is one of: a conforming case does not conform; a supported exchange is refused; a failure gets worse, in the order observed,
robustness, deviates, violates. A refusal in place of a violation, or of a failure on forbidden input, is an improvement. A refused case
had no exchange to judge, so its verdict now is judged as new. An undecided case or one without a result is only ever "not tested", and a
case without a verdict before is new.
"""
_CONFORMS = C.letter
ABSENT = "-"
"""Letter for a case that the baseline does not have. Such a case is judged like one that was not decided."""
_BY_LETTERS = {
    (was.letter if was else ABSENT) + now.letter: (was, now, CHANGE[was or U][now])
    for was in (*Verdict, None)
    for now in Verdict
}
_ONLY_COUNTED = frozenset(was + now.letter for was in (ABSENT, U.letter, L.letter) for now in (C, R, O))
"""New cases with these verdicts are only counted; the other new cases get a remark each."""


def compare(run: RunFile, baseline: RunFile | None) -> Iterator[Remark]:
    """Yield remarks on every cell of the run, then on cells and cases that only the baseline has."""
    comparison = _Comparison(run, baseline)
    for cell in run.cells:
        yield from comparison.cell(cell)
    if baseline is not None:
        yield from comparison.gone(baseline)
    if not any(is_trusted(cell) for cell in run.cells):
        yield Remark(Kind.NOT_TESTED, "no cell of this run has results")


@dataclass
class _Comparison:
    """A run and its baseline, with caches for work that many cells share."""

    run: RunFile
    baseline: RunFile | None
    before: dict[str, CellResult] = field(init=False)
    _aligned: dict[tuple[int, int], list[int] | None] = field(default_factory=dict)
    _sentences: dict[tuple[str, int | None, int | None], str] = field(default_factory=dict)
    _gone: dict[tuple[int, int], tuple[str, ...]] = field(default_factory=dict)
    _extents: dict[int, _Extent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.before = self.baseline.by_name() if self.baseline else {}

    # cells

    def cell(self, cell: CellResult) -> Iterator[Remark]:
        """Yield remarks on the cell as a whole, then on its cases."""
        before = self.before.get(cell.name)
        yield from _lifecycle(cell, before)
        yield from _absent(cell, before)
        if has_only_reference(self.run, cell):
            yield Remark(Kind.NOT_TESTED, ONLY_REFERENCE, cell.name)
        if is_trusted(cell):
            yield from self.cases(cell, before if before and is_trusted(before) else None)

    def cases(self, cell: CellResult, before: CellResult | None) -> Iterator[Remark]:
        """Yield remarks on the cases of a cell with results."""
        letters = self._letters(cell, before)
        now_at, before_at = evidence_at(cell), evidence_at(before) if before else {}
        positions = self._alignment(cell, before)
        new: dict[str, Counter[Verdict]] = defaultdict(Counter)
        cases = self.run.cases(cell)
        done = cell.lifecycle == Lifecycle.DONE.value
        for position in self._to_look_at(cell, letters, now_at):
            change = letters[position] + cell.states[position]
            was, now, kind = _BY_LETTERS[change]
            if kind is None or (now is L and not done):
                continue
            if change in _ONLY_COUNTED:
                new[cases[position].partition("/")[0]][now] += 1
                continue
            at = position if positions is None else positions[position]
            sentence = self._sentence(change, now_at.get(position), before_at.get(at))
            yield Remark(kind, sentence, cell.name, cases[position], was, now, now_at.get(position))
        yield from self._new(cell, before, new)

    def _to_look_at(self, cell: CellResult, letters: str, now_at: dict[int, int]) -> Iterable[int]:
        """Return the positions that may need a remark."""
        if self.baseline is None or letters == cell.states:
            return now_at
        return [n for n, (old, now) in enumerate(zip(letters, cell.states)) if not old == now == _CONFORMS]

    def _letters(self, cell: CellResult, before: CellResult | None) -> str:
        """Return the baseline's states in the order of this cell's plan."""
        if before is None:
            return ABSENT * len(cell.states)
        positions = self._alignment(cell, before)
        if positions is None:
            return before.states
        return "".join([before.states[n] if n >= 0 else ABSENT for n in positions])

    def _alignment(self, cell: CellResult, before: CellResult | None) -> list[int] | None:
        """Return each case's position in the baseline's plan, or -1; ``None`` if the two plans are equal."""
        if before is None or self.baseline is None:
            return None
        key = (cell.plan, before.plan)
        if key not in self._aligned:
            ours, theirs = self.run.plans[cell.plan], self.baseline.plans[before.plan]
            index = {case: n for n, case in enumerate(theirs)}
            self._aligned[key] = None if ours == theirs else [index.get(case, -1) for case in ours]
        return self._aligned[key]

    def _sentence(self, change: str, at: int | None, before_at: int | None) -> str:
        key = (change, at, before_at)
        if key not in self._sentences:
            evidence = None if at is None else self.run.evidence[at]
            before = None if before_at is None or self.baseline is None else self.baseline.evidence[before_at]
            was, now, _ = _BY_LETTERS[change]
            self._sentences[key] = _sentence(was, now, evidence, before)
        return self._sentences[key]

    def _new(self, cell: CellResult, before: CellResult | None, new: dict[str, Counter[Verdict]]) -> Iterator[Remark]:
        if self.baseline is None:
            return
        if before is None and new:
            total: Counter[Verdict] = sum(new.values(), Counter())
            yield Remark(Kind.NEW_CASE, f"the baseline has no results of this cell: {_counted(total)}", cell.name)
            return
        for invariant, counts in new.items():
            yield Remark(Kind.NEW_CASE, f"{invariant}: the baseline has no verdict on {_counted(counts)}", cell.name)

    # cells and cases that only the baseline has

    def gone(self, baseline: RunFile) -> Iterator[Remark]:
        """Yield remarks on cells, invariants and cases that are no longer planned."""
        ours = self.run.by_name()
        for name in self.before:
            if name not in ours:
                yield Remark(Kind.SHRUNK, "the baseline has this cell, but this run did not plan it", name)
        pairs = [(cell, self.before[cell.name]) for cell in self.run.cells if cell.name in self.before]
        pairs = [(cell, before) for cell, before in pairs if is_trusted(cell) and before.is_tested]
        everywhere = self._gone_everywhere(pairs)
        for invariant in sorted(everywhere):
            yield Remark(Kind.SHRUNK, f"{invariant} is no longer planned in any cell of the baseline")
        for cell, before in pairs:
            gone = [case for case in self._gone_cases(cell, before) if case.partition("/")[0] not in everywhere]
            if gone:
                yield from _gone(
                    cell, before, gone, self._extent(self.run.cases(cell)), self._extent(baseline.cases(before))
                )

    def _gone_cases(self, cell: CellResult, before: CellResult) -> tuple[str, ...]:
        assert self.baseline is not None
        key = (cell.plan, before.plan)
        if key not in self._gone:
            ours = set(self.run.plans[cell.plan])
            self._gone[key] = tuple(case for case in self.baseline.plans[before.plan] if case not in ours)
        return self._gone[key]

    def _gone_everywhere(self, pairs: Sequence[tuple[CellResult, CellResult]]) -> set[str]:
        assert self.baseline is not None
        ours = _invariants(self.run.plans[n] for n in {cell.plan for cell, _ in pairs})
        return _invariants(self.baseline.plans[n] for n in {before.plan for _, before in pairs}) - ours

    def _extent(self, plan: tuple[str, ...]) -> _Extent:
        key = id(plan)
        if key not in self._extents:
            self._extents[key] = _Extent({place(case).device for case in plan}, _invariants([plan]))
        return self._extents[key]


@dataclass(frozen=True)
class _Extent:
    """Devices and invariants of a plan."""

    devices: set[str]
    invariants: set[str]


def _invariants(plans: Iterable[tuple[str, ...]]) -> set[str]:
    return {case.partition("/")[0] for plan in plans for case in plan}


def _lifecycle(cell: CellResult, before: CellResult | None) -> Iterator[Remark]:
    done, unresolvable = Lifecycle.DONE.value, Lifecycle.UNRESOLVABLE.value
    if cell.lifecycle == done:
        if not cell.is_tested:
            yield Remark(Kind.NOT_TESTED, "it finished without results", cell.name)
        return
    told = f"{cell.lifecycle}: {cell.reason}" if cell.reason else cell.lifecycle
    was = before.lifecycle if before else ""
    if cell.lifecycle == unresolvable and was == done:
        yield Remark(Kind.REGRESSION, f"it was tested in the baseline and is {told}", cell.name)
    elif cell.lifecycle == unresolvable == was:
        yield Remark(Kind.STILL, f"as in the baseline, {told}", cell.name)
    else:
        lost = cell.states.count(L.letter)
        more = f" ({lost} of {many(len(cell.states), 'case')} without an outcome)" if lost else ""
        yield Remark(Kind.NOT_TESTED, f"{told}{more}", cell.name)


def _absent(cell: CellResult, before: CellResult | None) -> Iterator[Remark]:
    """Yield libraries that were planned or installed in a cell but could not be used, and so were not tested.

    If the baseline could use such a library, its cases are missing from the plan, and :func:`_gone` reports them.
    """
    installed = {name for name, why in cell.absent.items() if is_installed(why)}
    for name in sorted(cell.absent.keys() & cell.holds.keys() | installed) if is_trusted(cell) else ():
        told = f"{name} could not be used and was not tested: {cell.absent[name]}"
        if before is None or not is_trusted(before) or name not in {**before.absent, **before.holds}:
            yield Remark(Kind.NOT_TESTED, told, cell.name)
        elif name in before.absent:
            yield Remark(Kind.STILL, f"as in the baseline, {told}", cell.name)


def _sentence(was: Verdict | None, now: Verdict, evidence: Evidence | None, before: Evidence | None) -> str:
    said, told = f": {message_of(evidence)}" if evidence else "", _told(now)
    if not now.is_decided:
        return f"{told}{said}"
    if was is None or not was.is_decided:
        return f"{told}, and the baseline has no verdict on it{said}"
    if was is not now:
        earlier = f" (before: {message_of(before)})" if before and not evidence else ""
        better = ", which is better" if CHANGE[was][now] is Kind.FIXED and now is not C else ""
        return f"{_told(was)} before, {told} now{better}{said}{earlier}"
    if evidence and before and evidence.outcome != before.outcome:
        return f"{told} as before, but with another outcome ({before.outcome} before, {evidence.outcome} now){said}"
    return f"{told} as before{said}"


def _told(verdict: Verdict) -> str:
    """Return the verdict as part of a sentence."""
    return "a robustness failure" if verdict is B else verdict.word


def _counted(counts: Counter[Verdict]) -> str:
    told = ", ".join(f"{counts[state]} {state.word}" for state in Verdict if counts[state])
    return f"{many(sum(counts.values()), 'case')} ({told})"


def _gone(
    cell: CellResult, before: CellResult, gone: Sequence[str], ours: _Extent, theirs: _Extent
) -> Iterator[Remark]:
    """Yield remarks on cases no longer planned in a cell, by the widest cause: a library, a device, an invariant, a case."""
    left = list(gone)
    for library in sorted(cell.absent.keys() - before.absent.keys()):
        lost = [case for case in left if library in place(case).libraries]
        if lost:
            told = f"{library} can no longer be used ({cell.absent[library]}): {many(len(lost), 'case')} not planned"
            yield Remark(Kind.SHRUNK, told, cell.name)
            left = [case for case in left if library not in place(case).libraries]
    for device in sorted(theirs.devices - ours.devices):
        lost = [case for case in left if place(case).device == device]
        if lost:
            told = f"no case is planned on {device} any more: {many(len(lost), 'case')} not planned"
            yield Remark(Kind.SHRUNK, told, cell.name)
            left = [case for case in left if place(case).device != device]
    for invariant, count in sorted(Counter(case.partition("/")[0] for case in left).items()):
        if invariant not in ours.invariants:
            yield Remark(Kind.SHRUNK, f"{invariant} is no longer planned: {many(count, 'case')}", cell.name)
    for case in left:
        if case.partition("/")[0] in ours.invariants:
            yield Remark(Kind.SHRUNK, "the baseline has this case, but this run did not plan it", cell.name, case)
