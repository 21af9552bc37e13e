"""Exchanges of different arrays in threads, and across a fork: each is compared with the same exchange alone, and in one process."""

from __future__ import annotations

import pytest

from conformance.adapters.base import Device
from conformance.checks.codes import Code
from conformance.checks.outcomes import Outcome
from conformance.faults import all_faults
from conformance.protocols.clauses import Level, Role

from .conftest import Runner


def test_an_array_that_is_wrong_alone_is_left_out(run_reference: Runner) -> None:
    """Other invariants report it; threads do not cause it."""
    found = run_reference("threads.different-arrays", all_faults()["dtype.BytesAsBooleans"])
    assert {result.outcome for result in found} == {Outcome.PASS}


def test_a_shape_that_threads_share_is_a_failure_of_several_arrays(run_reference: Runner) -> None:
    """The producer hands it over, so it is the producer that is accused."""
    (found,) = run_reference("threads.different-arrays", all_faults()["threads.ShapeOfTheLast"], (Device.HOST,))
    assert (found.outcome, found.role, found.given) == (
        Outcome.FAIL,
        Role.PRODUCER,
        "one of several different arrays in threads",
    )


@pytest.mark.parametrize(
    ("fault", "code", "place"),
    [
        ("ReleasesOnlyWhereItTook", Code.NOT_RELEASED, "in a forked process the consumer does not release"),
        ("NothingReleasedAfterAFork", Code.NOT_RELEASED, "the consumer does not release"),
        ("NewMemoryInAFork", Code.VALUES_CHANGED, "in a forked process the consumer reads elements that differ"),
    ],
)
def test_a_failure_across_a_fork_is_a_deviation(run_reference: Runner, fault: str, code: Code, place: str) -> None:
    """No document covers forks. The reason says whether it was the child or the parent."""
    (found,) = run_reference("lifetime.across-fork", all_faults()[f"lifetime.{fault}"], (Device.HOST,))
    assert (found.outcome, found.code, found.level) == (Outcome.FAIL, code.value, Level.SHOULD)
    assert found.reason is not None
    assert found.reason.startswith(place)
