"""The trial of a fault: it ends with the first case that fails, where the stage looks at no other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment
from conformance.execution import probe
from conformance.selftest import trials
from conformance.selftest.model import Fault, Stage
from conformance.selftest.stages import stages

NAME = "reference.layout.StridesInBytes"
CATCHING, OTHER = "layout.capsule-strides", "layout.null-strides"


@pytest.fixture(scope="module")
def stage() -> Stage:
    """The one of the reference."""
    return next(stage for stage in stages() if stage.name == "reference")


@pytest.fixture(scope="module")
def fault(stage: Stage) -> Fault:
    """One that many cases show."""
    return next(fault for fault in stage.faults if fault.name == NAME)


@pytest.fixture(scope="module")
def cases(stage: Stage) -> list[Case]:
    """Of an invariant that catches the fault, and of one that does not."""
    found = stage.cases(Environment((probe.probe("reference"),)))
    return [case for case in found if case.invariant in (CATCHING, OTHER) and case.device is Device.HOST]


def test_the_first_case_that_fails_ends_the_trial_of_its_invariant(
    stage: Stage, fault: Fault, cases: list[Case]
) -> None:
    """And says what all would say; an invariant without a failure has all of its cases tried."""
    caught, other = trials.run(stage, fault, cases)
    complete, same = trials.run(replace(stage, accuses=None), fault, cases)
    assert (caught.failed, complete.failed > 1, caught.cases < complete.cases) == (1, True, True)
    assert (caught.said, caught.outcome) == (complete.said, complete.outcome)
    assert caught.accusations
    assert (other.cases, other.failed) == (same.cases, 0)
    assert caught.cases + other.cases < len(cases) == complete.cases + same.cases


def test_flawless_partners_have_every_case_tried(stage: Stage, cases: list[Case]) -> None:
    """None may accuse them."""
    assert sum(trial.cases for trial in trials.run(stage, None, cases)) == len(cases)
