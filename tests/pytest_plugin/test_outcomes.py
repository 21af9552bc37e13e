"""Mapping of verdicts to outcomes of pytest."""

from __future__ import annotations

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.outcomes import Outcome
from conformance.execution.results import Result
from conformance.protocols.clauses import Level
from conformance.pytest_plugin.verdicts import OF_VERDICT, Shown, shown
from conformance.verdict import Verdict

CASE = Case("pointer.values", "reference", "numpy", "dlpack", Device.HOST)
CANARY = Case("canary.crashes", "reference", "reference", "none", Device.HOST)


def test_every_verdict_has_an_outcome() -> None:
    """A new verdict needs a decision."""
    assert set(OF_VERDICT) == set(Verdict)


@pytest.mark.parametrize(
    ("outcome", "level", "expected"),
    [
        (Outcome.PASS, Level.MUST, Shown.PASSED),
        (Outcome.REFUSED, Level.MUST, Shown.SKIPPED),
        (Outcome.FAIL, Level.MUST, Shown.FAILED),
        (Outcome.CRASH, Level.SHOULD, Shown.FAILED),
        (Outcome.HANG, Level.MUST, Shown.FAILED),
        (Outcome.FAIL, Level.SHOULD, Shown.XFAILED),
        (Outcome.FAIL, Level.OBSERVED, Shown.XFAILED),
        (Outcome.CRASH, Level.ROBUSTNESS, Shown.XFAILED),
        (Outcome.INCONCLUSIVE, Level.MUST, Shown.ERROR),
        (Outcome.LOST, Level.MUST, Shown.ERROR),
    ],
)
def test_an_outcome_of_pytest_says_what_the_verdict_says(outcome: Outcome, level: Level, expected: Shown) -> None:
    """Only a violation fails, and only an invariant that was observed to hold passes."""
    assert shown(Result(CASE, outcome, level)) is expected


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [(Outcome.CRASH, Shown.PASSED), (Outcome.PASS, Shown.FAILED), (Outcome.LOST, Shown.ERROR)],
)
def test_a_canary_passes_if_it_ends_as_it_was_built_to(outcome: Outcome, expected: Shown) -> None:
    """A canary with another outcome shows that the run is not trustworthy."""
    assert shown(Result(CANARY, outcome, Level.MUST)) is expected
