"""``lifetime.device-memory`` on a make-believe device: there is no GPU here, but its free memory can be made up."""

from __future__ import annotations

import pytest

from conformance.adapters.base import Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.reference.faults import all_faults
from conformance.reference.managed import live_count
from conformance.suite import test_lifetime as lifetime
from conformance.suite.catalogue import Case, catalogue
from conformance.suite.layouts import Layout
from conformance.suite.outcomes import Outcome

from .conftest import broken

MIB = 1 << 20


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small arrays, each of which takes 256 MiB of the device as long as its struct is not released."""
    monkeypatch.setattr(lifetime, "BIG", Layout("big", (4,)))
    monkeypatch.setattr(lifetime.cuda_memory, "free_bytes", lambda: (16 << 30) - 256 * MIB * live_count())


def run(adapter: ReferenceAdapter, imports: str) -> Result:
    """The reference with itself."""
    case = Case("lifetime.device-memory", "reference", "reference", "dlpack", Device.SIMULATED, (("imports", imports),))
    return Workbench({"reference": adapter}).run(case, catalogue()[case.invariant])


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("imports", ["taken", "refused"])
def test_memory_that_comes_back_is_no_finding(imports: str) -> None:
    """Whether the exchanges are accepted or refused."""
    assert run(ReferenceAdapter(), imports).outcome is Outcome.PASS


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("imports", ["taken", "refused"])
def test_memory_that_is_kept_is_a_finding(imports: str) -> None:
    """The missing amount is told."""
    result = run(broken(all_faults()["lifetime.NeverReleased"]), imports)  # type: ignore[arg-type]
    assert (result.outcome, result.seen) == (
        Outcome.FAIL,
        "4096 MiB missing, and the arrays were at 16 different addresses",
    )


def test_memory_that_others_take_is_no_finding(monkeypatch: pytest.MonkeyPatch, device: None) -> None:
    """The free memory sinks, but each array gets the memory of the one before."""
    free = iter(range(64 << 30, 0, -4 << 30))
    monkeypatch.setattr(lifetime.cuda_memory, "free_bytes", lambda: next(free))
    result = run(ReferenceAdapter(), "taken")
    assert (result.outcome, result.reason.partition(",")[0]) == (Outcome.INCONCLUSIVE, "4096 MiB are missing")
