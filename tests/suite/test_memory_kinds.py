"""Invariants about pinned, managed and pool memory and about other processes, with host memory in its place."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from conformance.adapters.base import Device, Protocol, Unsupported
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks import interpreter
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.interpreter import Ended
from conformance.checks.outcomes import Outcome
from conformance.cuda import driver, ipc, memory, pointers
from conformance.cuda.memory import Kind
from conformance.cuda.pointers import MemoryType, Pointer
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.protocols.clauses import Level
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import packed
from conformance.reference.memory import CudaMemory, HostMemory
from conformance.suite import test_device

DEVICES = {kind: CudaMemory(kind).device for kind in Kind}


@pytest.fixture(autouse=True)
def without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Host memory stands for every kind; addresses of libraries are told as pinned."""

    def write(address: int, data: bytes) -> None:
        ctypes.memmove(address, data, len(data))

    monkeypatch.setattr(test_device, "CudaMemory", lambda kind: HostMemory(DEVICES[kind]))
    monkeypatch.setattr(memory, "read", ctypes.string_at)
    monkeypatch.setattr(memory, "write", write)
    monkeypatch.setattr(pointers, "query", lambda address: Pointer(address, MemoryType.HOST, 0, False, 1))


class Owning(ReferenceAdapter):
    """The reference as a library with memory of its own of every kind; ``said`` is what it tells of it."""

    said: tuple[int, int] | None = (3, 0)

    def empty_in(self, kind: Kind, dtype: DType, shape: tuple[int, ...]) -> Any:
        """Host memory that is told as ``said``."""
        if self.said is None:
            raise Unsupported("this version has no such memory")
        made = HostMemory(self.said)
        return self.exporter_class(made, made.allocate(1024), dtype, packed(shape))


def run(name: str, adapter: ReferenceAdapter, device: Device = Device.HOST, **parameters: str) -> Result:
    """The reference with itself."""
    case = Case(name, "reference", "reference", Protocol.DLPACK.value, device, tuple(parameters.items()))
    return Workbench({"reference": adapter}).run(case, catalogue()[name])


@pytest.mark.parametrize(
    ("said", "outcome", "level"),
    [
        ((13, 0), Outcome.FAIL, Level.MUST),
        ((1, 0), Outcome.FAIL, Level.OBSERVED),
        (None, Outcome.REFUSED, Level.MUST),
    ],
)
def test_a_library_tells_its_own_memory_as_the_driver_does(
    said: tuple[int, int] | None, outcome: Outcome, level: Level
) -> None:
    """Pinned memory told as the host's is less precise, not wrong."""
    adapter = Owning()
    adapter.said = said
    result = run("device.own-memory-kind", adapter, kind="pinned")
    assert (result.outcome, result.level) == (outcome, level), result.reason


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        ({"error": "cuIpcOpenMemHandle_v2 returned 1"}, Outcome.REFUSED),
        ({}, Outcome.FAIL),
    ],
)
def test_another_process_has_to_see_the_elements(
    record: dict[str, str], outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the offset that the address has in its allocation."""
    asked: list[tuple[str, ...]] = []

    def other(*arguments: str) -> Ended:
        asked.append(arguments)
        return Ended(0, (record,))

    monkeypatch.setattr(ipc, "export", lambda address: (b"\x01\x02", 512))
    monkeypatch.setattr(interpreter, "run", other)
    assert run("device.ipc", ReferenceAdapter(), Device.SIMULATED).outcome is outcome
    assert asked == [("ipc_read", "0102", "512", "48")]


def test_memory_without_a_handle_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools and virtual memory have none."""

    def export(address: int) -> tuple[bytes, int]:
        error = driver.CudaError.__new__(driver.CudaError)
        error.code = 1
        raise error

    monkeypatch.setattr(ipc, "export", export)
    assert run("device.ipc", ReferenceAdapter(), Device.SIMULATED).outcome is Outcome.REFUSED
