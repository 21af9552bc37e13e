"""Judge a run against its baseline, its waivers and the current state. Pure functions; :mod:`~conformance.gate.cli` has the commands."""

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
    """Return all remarks on a run, worst first. The gate passes only if no remark counts.

    Without a baseline every violation is new. The order of cells does not affect the result. If a file was altered, the gate
    judges nothing else.
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
    """Return the baseline with the run's cell name, if both are folders of ``check``. There the cell is named after its folder."""
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
    """Sort key: worst first, waived remarks last."""
    return (-remark.exit, _PLACE[remark.kind], remark.case, remark.sentence, remark.cell, remark.waiver)


def _own_tests(run: RunFile, baseline: RunFile | None) -> Iterator[Remark]:
    """Yield remarks on the package's own tests: all must pass, and there must be at least one."""
    before = baseline.by_name() if baseline else {}
    for cell in run.cells:
        found = cell.own_tests
        earlier = before.get(cell.name)
        if found is None:
            if cell.is_tested and earlier and earlier.own_tests:
                yield Remark(
                    Kind.OWN_TESTS, "the package's own tests ran in the baseline, but not in this run", cell.name
                )
            continue
        if found.ended != Lifecycle.DONE.value:  # the counts are unknown
            yield Remark(Kind.OWN_TESTS, f"the package's own tests did not finish: {found.ended}", cell.name)
            continue
        told = f"{found.passed} passed, {found.failed} failed, {found.errors} with errors, {found.skipped} skipped"
        if found.failed or found.errors:
            yield Remark(Kind.OWN_TESTS, f"the package's own tests did not all pass: {told}", cell.name)
        elif not found.passed:
            yield Remark(Kind.OWN_TESTS, f"none of the package's own tests passed: {told}", cell.name)


def _canaries_gone(run: RunFile, baseline: RunFile | None, canaries: Mapping[str, str]) -> Iterator[Remark]:
    """Yield canaries that were planned in the baseline only. Comparisons of cases leave canaries out, so this checks them."""
    before = baseline.by_name() if baseline else {}
    for cell in run.cells:
        earlier = before.get(cell.name)
        if baseline and earlier and cell.is_tested and earlier.is_tested:
            gone = trust.canaries_in(baseline, earlier, canaries) - trust.canaries_in(run, cell, canaries)
            if gone:
                told = f"{', '.join(sorted(gone))}: canaries of the baseline that this run did not plan; run with --canaries"
                yield Remark(Kind.SHRUNK, told, cell.name)


def _about_baseline(run: RunFile, baseline: RunFile | None, canaries: Mapping[str, str]) -> Iterator[Remark]:
    if baseline is None:
        yield Remark(Kind.NOTE, "no baseline: every violation is new, and missing cases cannot be found")
        return
    if replace(baseline, cells=()) == replace(run, cells=()) and baseline.by_name() == run.by_name():
        yield Remark(Kind.NOTE, "the run and its baseline are identical")
    for cell in sorted({found.cell for found in trust.surprises(baseline, canaries)}):
        yield Remark(
            Kind.NOTE, "its canaries did not end as expected in the baseline, so its baseline results are ignored", cell
        )
    if baseline.suite != run.suite:
        told = f"the baseline was run with the suite {baseline.suite}, this run with {run.suite}: the suite may have caused a change"
        yield Remark(Kind.NOTE, told)


def verdict(found: Judgement) -> str:
    """Return the verdict in one sentence."""
    counted = [remark for remark in found.remarks if remark.exit]
    waived = sum(bool(remark.waiver) for remark in found.remarks)
    also = f"; {waived} waived" if waived else ""
    if not counted:
        return f"PASS: no new findings{also}"
    worst = counted[0].kind
    return f"FAIL: {worst.word}; {many(len(counted), 'remark')} against this run{also}"


def counts(remarks: Iterable[Remark]) -> dict[Kind, tuple[int, int]]:
    """Return the number of remarks of each kind, and how many of those are waived."""
    found = dict.fromkeys(Kind, (0, 0))
    for remark in remarks:
        all_, covered = found[remark.kind]
        found[remark.kind] = (all_ + 1, covered + bool(remark.waiver))
    return found
