"""``lifetime.device-memory`` on a make-believe device: there is no GPU here, but its free memory can be made up."""

from __future__ import annotations

import pytest

from conformance.adapters.base import Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.layouts import Layout
from conformance.checks.outcomes import Outcome
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.suite import test_lifetime as lifetime


def run(adapter: ReferenceAdapter, imports: str) -> Result:
    """The reference with itself."""
    case = Case("lifetime.device-memory", "reference", "reference", "dlpack", Device.SIMULATED, (("imports", imports),))
    return Workbench({"reference": adapter}).run(case, catalogue()[case.invariant])


def test_memory_that_others_take_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The free memory sinks, but each array gets the memory of the one before."""
    monkeypatch.setattr(lifetime, "BIG", Layout("big", (4,)))
    free = iter(range(64 << 30, 0, -4 << 30))
    monkeypatch.setattr(lifetime.cuda_memory, "free_bytes", lambda: next(free))
    result = run(ReferenceAdapter(), "taken")
    assert (result.outcome, result.reason.partition(",")[0]) == (Outcome.INCONCLUSIVE, "4096 MiB are missing")
