"""Invariants about pinned, managed and pool memory and about other processes, with host memory in its place."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from conformance.adapters.base import Device, Protocol, Unsupported
from conformance.adapters.reference import ReferenceAdapter
from conformance.cuda import driver, ipc, memory, pointers
from conformance.cuda.memory import Kind
from conformance.cuda.pointers import MemoryType, Pointer
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.protocols.clauses import Level
from conformance.protocols.dlpack import Tensor
from conformance.protocols.dtypes import DType, dtype
from conformance.protocols.strided import packed
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.memory import CudaMemory, HostMemory
from conformance.suite import interpreter, test_device
from conformance.suite.catalogue import Case, catalogue
from conformance.suite.interpreter import Ended
from conformance.suite.outcomes import Outcome
from conformance.suite.patterns import pattern

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


def importing(broken: type[Importer]) -> ReferenceAdapter:
    """The reference with this importer."""
    adapter = ReferenceAdapter()
    adapter.importer_class = broken  # type: ignore[misc]
    return adapter


class Zeros(Importer):
    """Copies zeros."""

    def dl_address(self, tensor: Tensor) -> int:
        """A block of its own."""
        self.block = self.memory.allocate(1024)
        return self.block.address


class ReadOnly(Importer):
    """Takes everything as read-only, as NumPy took pinned memory once (readonly-06)."""

    def dl_readonly(self, tensor: Tensor) -> bool:
        """Always."""
        return True


class WritesElsewhere(Importer):
    """Shows the producer's address and keeps its elements to itself."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """With a memory that swallows writes."""
        taken = super().read_tensor(tensor)
        self.memory.write = lambda address, data: None  # type: ignore[method-assign]
        return taken


@pytest.mark.parametrize("kind", ["pinned", "managed"])
def test_pinned_memory_on_the_host(kind: str) -> None:
    """The flawless reference reads and writes it."""
    assert run("device.pinned-on-host", ReferenceAdapter(), kind=kind).outcome is Outcome.PASS


@pytest.mark.parametrize("broken", [Zeros, ReadOnly, WritesElsewhere])
def test_pinned_memory_read_or_written_wrongly_on_the_host_is_a_violation(broken: type[Importer]) -> None:
    """Other elements, a refusal to write, writes that do not arrive."""
    result = run("device.pinned-on-host", importing(broken), kind="pinned")
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.MUST)


@pytest.mark.parametrize(
    ("said", "outcome", "level"),
    [
        ((3, 0), Outcome.PASS, Level.MUST),
        ((3, 1), Outcome.FAIL, Level.MUST),
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


def test_a_capsule_that_contradicts_the_library_is_a_violation() -> None:
    """As PyTorch's two code paths once did (device-20)."""

    class Contradicting(Exporter):
        def __dlpack_device__(self) -> tuple[int, int]:
            return 1, 0

    adapter = Owning()
    adapter.exporter_class = Contradicting  # type: ignore[misc]
    result = run("device.own-memory-kind", adapter, kind="pinned")
    assert (result.outcome, result.clauses) == (Outcome.FAIL, ("DLP-16",))


RIGHT = pattern(dtype("float32"), 12)


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        ({"data": RIGHT.hex()}, Outcome.PASS),
        ({"data": bytes(48).hex()}, Outcome.FAIL),
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
