"""Trial of a fault or of flawless partners. Each case runs in a forked process, so that any effect of a fault is an outcome."""

from __future__ import annotations

import gc
import importlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

from conformance.adapters.base import Adapter
from conformance.checks.catalogue import Case, Invariant, Isolation, catalogue
from conformance.checks.outcomes import Outcome
from conformance.checks.steps import Steps
from conformance.execution.accusations import accused
from conformance.execution.child import Child
from conformance.execution.results import ACCUSING, Result
from conformance.execution.workbench import Workbench
from conformance.reference.streams import LEGACY, Current

from .accusations import Accusation, judged
from .model import Fault, Stage

FLAWLESS = ""
"""The name in place of a fault's: partners without a fault."""


@dataclass(frozen=True)
class Trial:
    """The result of one invariant on one fault or on flawless partners: numbers of cases that ran, passed and failed.

    ``said`` and ``outcome`` belong to the first case that failed, or else to the first inconclusive one. ``accused`` are the cases that failed
    or were inconclusive, with their messages; flawless partners must have none. ``accusations`` are those that the fault caused.
    """

    stage: str
    fault: str
    invariant: str
    cases: int
    passed: int
    failed: int
    said: str = ""
    outcome: str = ""
    accused: tuple[tuple[str, str], ...] = ()
    accusations: tuple[Accusation, ...] = ()

    @property
    def caught(self) -> bool:
        """``True`` if at least one case failed."""
        return self.failed > 0

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Trial:
        """Return the trial from the output of ``dataclasses.asdict``."""
        accusations = tuple(Accusation.from_json(one) for one in data["accusations"])
        accused = tuple((id, said) for id, said in data["accused"])
        return cls(**{**data, "accused": accused, "accusations": accusations})


class Bench(Workbench):
    """A workbench that restores the current stream after each case, because a fault may change it."""

    def run(self, case: Case, invariant: Invariant, steps: Steps | None = None) -> Result:
        try:
            return super().run(case, invariant, steps)
        finally:
            Current().handle = LEGACY


def run(stage: Stage, fault: Fault | None, cases: Sequence[Case]) -> list[Trial]:
    """Return one trial for each invariant with cases, in their order.

    A stage may only need the first failure of an invariant. Then the later cases of that invariant are skipped.
    """
    for module in stage.preload:
        importlib.import_module(module)
    found = []
    for name, results in groupby(_results(stage, fault, cases), lambda result: result.case.invariant):
        of_invariant = list(results)
        trial = _trial(stage.name, fault.name if fault else FLAWLESS, name, of_invariant)
        found.append(replace(trial, accusations=tuple(_accusations(stage, fault, of_invariant))))
    return found


def _accusations(stage: Stage, fault: Fault | None, results: Sequence[Result]) -> Iterator[Accusation]:
    """Yield the accusations by an invariant that must catch the fault."""
    failing = [result for result in results if result.outcome in ACCUSING]
    if fault is None or not failing or failing[0].case.invariant not in fault.caught_by:
        return
    if stage.accuses is not None:
        yield from stage.accuses(fault, [result.case for result in failing], partial(_with_partners, stage))
        return
    known = {result.case.id: result for result in results}
    wanted = fault.library
    if wanted:
        yield from judged(fault.name, [accused(result, known.get) for result in failing], wanted)


def _with_partners(stage: Stage, partners: Mapping[str, Adapter], cases: Sequence[Case]) -> list[Result]:
    spoiled = replace(stage, partners=lambda: dict(partners), faults=[])
    return list(_results(spoiled, None, cases))


def _trial(stage: str, fault: str, invariant: str, results: Sequence[Result]) -> Trial:
    failed = [result for result in results if result.outcome in ACCUSING]
    undecided = [result for result in results if not result.verdict.is_decided]
    accused = [(result.case.id, _said(result)) for result in (*failed, *undecided)]
    first = next(iter((*failed, *undecided)), None)
    said, outcome = (_said(first), first.outcome.value) if first else ("", "")
    passed = sum(result.outcome is Outcome.PASS for result in results)
    return Trial(
        stage, fault, invariant, len(results), passed, len(failed), said, outcome, () if fault else tuple(accused)
    )


def _said(result: Result) -> str:
    text = f"{result.reason}: expected {result.expected}, seen {result.seen}" if result.expected else result.reason
    return text if result.outcome is Outcome.FAIL else f"{result.outcome.value}: {text}"


def _results(stage: Stage, fault: Fault | None, cases: Iterable[Case]) -> Iterator[Result]:
    with tempfile.TemporaryDirectory(prefix="conformance-trial-") as folder:
        yield from _tried(stage, fault, cases, folder)


def _tried(stage: Stage, fault: Fault | None, cases: Iterable[Case], folder: str) -> Iterator[Result]:
    """Run the cases in child processes. ``folder`` has all temporary files, because the processes are killed and do not clean up."""
    child: Child | None = None
    shown: set[str] = set()

    def workbench() -> Workbench:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        gc.freeze()  # the garbage collector need not scan the existing objects in every case
        entered = stage.around()
        entered.__enter__()  # stays open to the end of the process, which restores nothing
        _kept.append(entered)
        partners = stage.partners()
        if fault is not None:
            fault.spoil(partners)
        return Bench(partners)

    try:
        for case in cases:
            if case.invariant in shown:
                continue
            isolation = catalogue()[case.invariant].isolation
            if child is not None and (child.died or isolation.changes_others):
                child.end()
                child = None
            child = child or Child(workbench=workbench)
            result = child.run(case, last=isolation is Isolation.EXIT)
            yield result
            if fault is not None and stage.accuses is not None and result.outcome in ACCUSING:
                shown.add(case.invariant)
            if isolation.changes_others:
                child.end()
                child = None
    finally:
        if child is not None:
            child.end()


_kept: list[object] = []
"""Keeps context managers open: one without a reference would be closed."""
