"""Running invariants in this process, with the reference, flawless or broken, in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from conformance.adapters.base import Adapter, Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks import offers
from conformance.checks.catalogue import catalogue
from conformance.checks.libraries import Environment
from conformance.execution import probe
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.faults import Fault
from conformance.reference.streams import LEGACY, Current

Runner = Callable[..., list[Result]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference releases what it has at once, so what a fault never releases need not be waited for."""
    monkeypatch.setattr(offers, "PATIENCE", 0.02)


@pytest.fixture(autouse=True)
def default_stream_again() -> Iterator[None]:
    """A fault may leave another stream current in this thread."""
    yield
    Current().handle = LEGACY


@pytest.fixture(scope="session")
def reference_environment() -> Environment:
    """The reference alone, on host memory and on the simulated device."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(probe.SIMULATE, "1")
        return Environment((probe.probe("reference"),))


@pytest.fixture(scope="session")
def run_reference(reference_environment: Environment) -> Runner:
    """Run every case that an invariant has for the reference with itself; a fault goes in its place."""

    def run(invariant: str, fault: Fault | None = None, devices: tuple[Device, ...] = tuple(Device)) -> list[Result]:
        entry = catalogue()[invariant]
        bench = Workbench({"reference": broken(fault) if fault else ReferenceAdapter()})
        return [bench.run(case, entry) for case in entry.cases(reference_environment) if case.device in devices]

    return run


def broken(fault: Fault) -> Adapter:
    """The reference with this fault."""
    adapter = ReferenceAdapter()
    adapter.exporter_class = fault.exporter  # type: ignore[misc]
    adapter.importer_class = fault.importer  # type: ignore[misc]
    return adapter
