"""What a failure says is enough to see what went wrong."""

from __future__ import annotations

from conformance.checks.outcomes import Outcome
from conformance.faults import all_faults

from .conftest import Runner


def test_elements_that_differ_beyond_those_shown_are_told_by_number(run_reference: Runner) -> None:
    """Expected and seen begin alike, so the first element that differs is named with both of its values."""
    fault = all_faults()["devices.OneImportForEachShape"]
    failed = next(r for r in run_reference("devices.mixed", fault) if r.outcome is Outcome.FAIL)
    assert failed.seen.startswith(failed.expected)
    assert "; element 12 must be " in failed.seen
