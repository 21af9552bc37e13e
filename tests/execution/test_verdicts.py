"""Summary of a run's results: canaries, and the exit code."""

from __future__ import annotations

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment, Library
from conformance.checks.outcomes import Outcome
from conformance.cli import exit_code
from conformance.execution import canaries
from conformance.execution.results import Result
from conformance.execution.supervisor import Run
from conformance.execution.untested import untested
from conformance.exits import Exit
from conformance.protocols.clauses import Level


def result(outcome: Outcome, invariant: str = "pointer.values", level: Level = Level.MUST) -> Result:
    """Of a case of the reference."""
    return Result(Case(invariant, "reference", "reference", "dlpack", Device.HOST), outcome, level)


def crashing(outcome: Outcome) -> Result:
    """Of the canary that is built to crash."""
    return result(outcome, "canary.crashes")


KEPT, BROKEN, LOST = (result(outcome) for outcome in (Outcome.PASS, Outcome.FAIL, Outcome.LOST))
ILLEGAL, ILLEGAL_DEATH = (result(outcome, level=Level.ROBUSTNESS) for outcome in (Outcome.FAIL, Outcome.CRASH))
SINGS, SILENT, UNHEARD = (crashing(outcome) for outcome in (Outcome.CRASH, Outcome.PASS, Outcome.LOST))


def test_canaries_and_libraries_are_told_apart() -> None:
    """Every result is one or the other."""
    both = (KEPT, SINGS, BROKEN, SILENT)
    assert canaries.among(both) == (SINGS, SILENT)
    assert canaries.without(both) == (KEPT, BROKEN)
    assert (canaries.built_for(KEPT), canaries.built_for(SILENT)) == (None, Outcome.CRASH)


@pytest.mark.parametrize("outcome", Outcome)
def test_a_canary_surprises_unless_it_ends_as_built_or_not_at_all(outcome: Outcome) -> None:
    """A canary without a result is lost, like any other case. A case of a library is never a surprise."""
    ended = (result(outcome), crashing(outcome))
    expected = () if outcome in (Outcome.CRASH, Outcome.LOST) else (crashing(outcome),)
    assert canaries.surprises(ended) == expected


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ((), Exit.OK),
        ((KEPT, SINGS), Exit.OK),
        ((KEPT, BROKEN), Exit.VIOLATIONS),
        ((result(Outcome.CRASH),), Exit.VIOLATIONS),
        ((result(Outcome.CRASH, level=Level.OBSERVED),), Exit.VIOLATIONS),
        ((result(Outcome.FAIL, level=Level.SHOULD), result(Outcome.FAIL, level=Level.OBSERVED)), Exit.OK),
        ((ILLEGAL, ILLEGAL_DEATH), Exit.OK),
        ((ILLEGAL_DEATH, BROKEN), Exit.VIOLATIONS),
        ((ILLEGAL_DEATH, LOST), Exit.INCOMPLETE),
        ((result(Outcome.REFUSED), result(Outcome.INCONCLUSIVE), result(Outcome.SKIPPED)), Exit.OK),
        ((KEPT, LOST), Exit.INCOMPLETE),
        ((BROKEN, LOST), Exit.INCOMPLETE),
        ((KEPT, UNHEARD), Exit.INCOMPLETE),
        ((KEPT, SILENT), Exit.VOID),
        ((BROKEN, LOST, SILENT), Exit.VOID),
    ],
)
def test_the_worst_decides_the_exit_code(results: tuple[Result, ...], code: Exit) -> None:
    """A canary that ended otherwise than built, then something lost, then a broken promise; nothing else is an error.

    A deviation, an observation, and whatever comes of illegal input break no promise: not even a process that dies of it.
    """
    assert exit_code(Run(results, 0.0)) is code


def test_accusations_that_are_not_settled_make_a_run_incomplete() -> None:
    """A stopped run does not name the accused of its failures."""
    codes = [exit_code(Run((kept,), 0.0, unsettled=1)) for kept in (KEPT, BROKEN, SILENT)]
    assert codes == [Exit.INCOMPLETE, Exit.INCOMPLETE, Exit.VOID]


def test_a_library_that_cannot_be_tested_makes_no_run_green() -> None:
    """An adapter that is not to be trusted is told like a case without an outcome: worse than a violation, better than a void run."""
    untrusted = untested(Environment((Library.not_trusted("stripes", {}, "it lies"),)), ())
    codes = [exit_code(Run((kept,), 0.0), untrusted) for kept in (KEPT, BROKEN, SILENT)]
    assert codes == [Exit.INCOMPLETE, Exit.INCOMPLETE, Exit.VOID]
