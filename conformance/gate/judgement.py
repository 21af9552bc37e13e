"""The gate: a run judged beside its baseline, with its waivers, by what is there now. Pure; the command is beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from conformance.console.screen import many
from conformance.engines.model import Lifecycle
from conformance.runs import observations, trust
from conformance.runs.model import RunFile
from conformance.runs.observations import Shown
from conformance.runs.remarks import Judgement, Kind, Remark

from . import compare, integrity, waivers
from .integrity import Present
from .waivers import Waiver

_PLACE = {kind: number for number, kind in enumerate(Kind)}


def judge(run: RunFile, baseline: RunFile | None, given: Sequence[Waiver], present: Present) -> Judgement:
    """Everything that speaks for and against a run, worst first. Green only if nothing at all speaks against it.

    Without a baseline everything is new. The order of cells, in the run and in the baseline, changes nothing. By what is not as it was
    written nothing is judged.
    """
    baseline = _of_the_same_cell(run, baseline)
    if present.altered:
        return Judgement(run, baseline, tuple(Remark(Kind.INTEGRITY, told) for told in sorted(present.altered)))
    libraries = trust.without_canaries(run, present.canaries)
    believed = trust.believed(baseline, present.canaries) if baseline else None
    earlier = trust.without_canaries(believed, present.canaries) if believed else None
    findings = tuple(observations.findings(libraries))
    shown = observations.by_spot(findings)
    covered = waivers.coverage(libraries, given, present.today, shown)
    remarks = [
        *integrity.check(run, present),
        *trust.surprises(run, present.canaries),
        *_canaries_gone(run, believed, present.canaries),
        *_with_findings(waivers.applied(compare.compare(libraries, earlier), covered), shown),
        *_own_tests(run, baseline),
        *waivers.troubles(libraries, earlier, given, covered, present.today),
        *_about_baseline(run, baseline, present.canaries),
    ]
    return Judgement(run, baseline, tuple(sorted(remarks, key=_order)), findings)


def _of_the_same_cell(run: RunFile, baseline: RunFile | None) -> RunFile | None:
    """The baseline with the run's name of the cell, where both are a folder of ``check``: the folders' names tell nothing then."""
    if baseline is None or not _is_of_check(run) or not _is_of_check(baseline):
        return baseline
    (now,), (before,) = run.cells, baseline.cells
    return replace(baseline, cells=(replace(before, name=now.name, title=now.title),))


def _is_of_check(run: RunFile) -> bool:
    return run.tier == "check" and len(run.cells) == 1


def _with_findings(remarks: Iterable[Remark], shown: Shown) -> Iterator[Remark]:
    for remark in remarks:
        yield replace(remark, findings=shown.get((remark.cell, remark.case), ()))


def _order(remark: Remark) -> tuple[object, ...]:
    """Worst first; what a waiver covers after everything that counts."""
    return (-remark.exit, _PLACE[remark.kind], remark.case, remark.sentence, remark.cell, remark.waiver)


def _own_tests(run: RunFile, baseline: RunFile | None) -> Iterator[Remark]:
    """The tests of a package that were run beside ours: all of them pass, and there are some."""
    before = baseline.by_name() if baseline else {}
    for cell in run.cells:
        found = cell.own_tests
        earlier = before.get(cell.name)
        if found is None:
            if cell.is_tested and earlier and earlier.own_tests:
                yield Remark(Kind.OWN_TESTS, "the tests beside ours were run in the baseline, and not now", cell.name)
            continue
        if found.ended != Lifecycle.DONE.value:  # nobody knows how many there were
            yield Remark(Kind.OWN_TESTS, f"the tests beside ours did not come to their end: {found.ended}", cell.name)
            continue
        told = f"{found.passed} passed, {found.failed} failed, {found.errors} with errors, {found.skipped} skipped"
        if found.failed or found.errors:
            yield Remark(Kind.OWN_TESTS, f"the tests beside ours did not all pass: {told}", cell.name)
        elif not found.passed:
            yield Remark(Kind.OWN_TESTS, f"none of the tests beside ours passed: {told}", cell.name)


def _canaries_gone(run: RunFile, baseline: RunFile | None, canaries: Mapping[str, str]) -> Iterator[Remark]:
    """They are no part of what is said about libraries, and yet a part of the plan."""
    before = baseline.by_name() if baseline else {}
    for cell in run.cells:
        earlier = before.get(cell.name)
        if baseline and earlier and cell.is_tested and earlier.is_tested:
            gone = trust.canaries_in(baseline, earlier, canaries) - trust.canaries_in(run, cell, canaries)
            if gone:
                told = f"{', '.join(sorted(gone))}: canaries of the baseline that were not planned: run with --canaries"
                yield Remark(Kind.SHRUNK, told, cell.name)


def _about_baseline(run: RunFile, baseline: RunFile | None, canaries: Mapping[str, str]) -> Iterator[Remark]:
    if baseline is None:
        yield Remark(Kind.NOTE, "there is no baseline: what violates is new, and nothing can be missed")
        return
    if replace(baseline, cells=()) == replace(run, cells=()) and baseline.by_name() == run.by_name():
        yield Remark(Kind.NOTE, "the run and its baseline are the same: nothing can have changed")
    for cell in sorted({found.cell for found in trust.surprises(baseline, canaries)}):
        yield Remark(
            Kind.NOTE, "its canaries did not end as they were built to in the baseline, which says nothing of it", cell
        )
    if baseline.suite != run.suite:
        told = f"the baseline was run with the suite {baseline.suite}, this run with {run.suite}: a change may be the suite's own"
        yield Remark(Kind.NOTE, told)


def verdict(found: Judgement) -> str:
    """In one sentence."""
    counted = [remark for remark in found.remarks if remark.exit]
    waived = sum(bool(remark.waiver) for remark in found.remarks)
    also = f"; {waived} waived" if waived else ""
    if not counted:
        return f"green: nothing speaks against this run{also}"
    worst = counted[0].kind
    return f"red: {worst.word}; {many(len(counted), 'remark')} against this run{also}"


def counts(remarks: Iterable[Remark]) -> dict[Kind, tuple[int, int]]:
    """How many of each kind, and how many of those are covered by a waiver."""
    found = dict.fromkeys(Kind, (0, 0))
    for remark in remarks:
        all_, covered = found[remark.kind]
        found[remark.kind] = (all_ + 1, covered + bool(remark.waiver))
    return found
