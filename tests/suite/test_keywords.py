"""Calls of ``__dlpack__`` with several keywords: they cover every two values, and a failure names the keywords that it needs."""

from __future__ import annotations

import pytest

from conformance.adapters.base import Device
from conformance.checks.covering_arrays import uncovered
from conformance.checks.export_keywords import ABSENT, calls, space
from conformance.checks.outcomes import Outcome
from conformance.faults import all_faults

from .conftest import Runner

TOGETHER = "negotiation.keywords-together"


@pytest.mark.parametrize("device", [Device.HOST, Device.CUDA, Device.SIMULATED])
def test_the_calls_cover_every_two_values(device: Device) -> None:
    """Each call is another one, and names a level once: the levels alone stand in a case id."""
    points = [{**dict.fromkeys(space(device).default, ABSENT), **dict(call)} for call in calls(device)]
    assert uncovered(space(device), points) == []
    ids = [tuple(level for _, level in call) for call in calls(device)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("fault", "given"),
    [
        ("CopiesVersionedOnly", ""),
        ("HostStreamBesideAVersion", "`max_version=(1, 0)` with `stream=1`"),
        ("TwoKeywordsRefused", "`max_version=(1, 1)` with `copy=False`"),
    ],
)
def test_a_failure_names_the_keywords_that_it_needs(run_reference: Runner, fault: str, given: str) -> None:
    """The case leaves out the others; for one keyword the code alone says enough."""
    found = run_reference(TOGETHER, all_faults()[f"negotiation.{fault}"], (Device.HOST,))
    told = {result.given for result in found if result.outcome is Outcome.FAIL}
    assert given in told
    assert all(word.count("`") <= 4 for word in told)


def test_the_reference_is_not_accused(run_reference: Runner) -> None:
    """On the host and on the simulated device, where each call has an answer."""
    assert {result.outcome for result in run_reference(TOGETHER)} <= {Outcome.PASS, Outcome.REFUSED}
