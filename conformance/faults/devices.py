"""Faults with two GPUs: wrong device numbers, memory on the wrong GPU, and waits that work on one GPU only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from conformance.protocols import cai
from conformance.protocols.dlpack import Tensor
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import Strided
from conformance.reference import gpus
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Fields
from conformance.reference.memory import Block, CudaMemory, Memory, simulated
from conformance.reference.streams import LEGACY, PER_THREAD

from . import fault


def _gpus(memory: Memory) -> gpus.Gpus:
    """Return CUDA's GPUs or the simulated ones, so that the fault of a current GPU works with both kinds of memory."""
    return gpus.of(isinstance(memory, CudaMemory))


def _current(memory: Memory) -> int:
    """Return the current GPU, or 0 if none is current, as the runtime API does."""
    return _gpus(memory).current() or 0


def _on(memory: Memory, ordinal: int) -> Memory:
    return CudaMemory(ordinal=ordinal) if isinstance(memory, CudaMemory) else simulated(ordinal)


# The GPU of an array


@fault("devices.made", bugs="device-14")
class KeepsMemoryForLater(Exporter):
    """Reuses memory by size alone, so that an array on one GPU gets memory of the other."""

    _kept: dict[int, Block] = {}

    def __init__(self, memory: Memory, block: Block, dtype: DType, view: Strided, **others: Any) -> None:
        super().__init__(memory, self._kept.setdefault(block.nbytes, block), dtype, view, **others)


@fault("devices.made", bugs="device-23 device-14")
class MakesOnTheFirstGpu(Exporter):
    """Allocates on GPU 0, whichever GPU is current."""

    def __init__(self, memory: Memory, block: Block, dtype: DType, view: Strided, **others: Any) -> None:
        first = _on(memory, 0)
        super().__init__(first, first.allocate(block.nbytes), dtype, view, **others)


@fault("devices.reported", bugs="device-27")
class AlwaysTheFirstGpu(Exporter):
    """Reports device number 0 for every array."""

    def device(self) -> tuple[int, int]:
        return super().device()[0], 0


@fault("devices.reported", bugs="device-02 device-08")
class EmptyIsOnTheCurrentGpu(Exporter):
    """Reports the current GPU for an array without elements, because it finds the device from the address."""

    def device(self) -> tuple[int, int]:
        kind, number = super().device()
        return kind, number if self.view.size else _current(self.memory)


@fault("devices.reported")
class CapsuleOfTheCurrentGpu(Exporter):
    """Writes the number of the current GPU into the capsule."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        return replace(super().fields(version, copied=copied), device=(2, _current(self.memory)))


@fault("devices.kept", "devices.in-turn", bugs="device-27")
class ImportsToTheFirstGpu(Importer):
    """Reports every import as being on GPU 0."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        taken.device = (2, 0)
        return taken

    def cai_device(self, interface: cai.ArrayInterface) -> tuple[int, int]:
        return 2, 0


@fault("devices.kept", bugs="device-01")
class TakesDictionariesForTheCurrentGpu(Importer):
    """Reports the current GPU for every import by the array interface."""

    def cai_device(self, interface: cai.ArrayInterface) -> tuple[int, int]:
        return 2, _current(self.memory)


@fault("devices.kept")
class CopiesToTheCurrentGpu(Importer):
    """Copies an array that is on another GPU than the current one."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        return self._here(super().read_tensor(tensor))

    def take_cai(self, source: Any) -> Imported:
        return self._here(super().take_cai(source))

    def _here(self, taken: Imported) -> Imported:
        return self.moved(taken, _on(self.memory, _current(self.memory)))


class _ZerosFromElsewhere(Importer):
    def dl_address(self, tensor: Tensor) -> int:
        return self._address(tensor.element0, tensor.device)

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        return self._address(interface.address, self.cai_device(interface))

    def _address(self, right: int, device: tuple[int, int]) -> int:
        if device[1] == _current(self.memory):
            return right
        self._block = self.memory.allocate(1024)
        self.memory.write(self._block.address, bytes(1024))
        return self._block.address


@fault("devices.kept", "devices.mixed", "devices.import-elsewhere", bugs="device-10 device-22")
class ZerosFromElsewhere(_ZerosFromElsewhere):
    """Reads only zeros from an array on another GPU than the current one."""


@fault("devices.in-turn", bugs="device-14")
class RemembersTheDeviceByShape(Importer):
    """Caches the device of an import by its shape."""

    _seen: dict[tuple[int, ...], tuple[int, int]] = {}

    def read_tensor(self, tensor: Tensor) -> Imported:
        return self._remembered(super().read_tensor(tensor))

    def take_cai(self, source: Any) -> Imported:
        return self._remembered(super().take_cai(source))

    def _remembered(self, taken: Imported) -> Imported:
        taken.device = self._seen.setdefault(taken.shape, taken.device)
        return taken


@fault("devices.mixed", bugs="device-14 device-22")
class OneImportForEachShape(Importer):
    """Caches imports by shape and element type, so that a second array is imported as the first one."""

    _kept: ClassVar[dict[tuple[tuple[int, ...], str], Imported]] = {}

    def read_tensor(self, tensor: Tensor) -> Imported:
        return self._first(super().read_tensor(tensor))

    def take_cai(self, source: Any) -> Imported:
        return self._first(super().take_cai(source))

    def _first(self, taken: Imported) -> Imported:
        return self._kept.setdefault((taken.shape, taken.dtype.name), taken)


# The current GPU


@fault("devices.current-kept")
class LeavesTheArraysGpuCurrent(Importer):
    """Leaves the array's GPU current after an import."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        _gpus(self.memory).set_current(tensor.device[1])
        return super().read_tensor(tensor)

    def cai_device(self, interface: cai.ArrayInterface) -> tuple[int, int]:
        device = super().cai_device(interface)
        _gpus(self.memory).set_current(device[1])
        return device


@fault("devices.current-kept", bugs="context-05")
class ComesBackToTheFirstGpu(Importer):
    """Makes GPU 0 current after an import, whichever was current before."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        _gpus(self.memory).set_current(0)
        return taken


@fault("devices.current-kept", bugs="context-05")
class ExportLeavesItsGpuCurrent(Exporter):
    """Leaves the array's GPU current after an export."""

    def check_pending(self) -> None:
        super().check_pending()
        _gpus(self.memory).set_current(self.memory.device[1])


@fault("devices.current-kept-when-refused")
class ForgetsTheCurrentGpuWhenItRaises(Importer):
    """Leaves the array's GPU current if a DLPack import fails."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        before = _current(self.memory)
        _gpus(self.memory).set_current(source.__dlpack_device__()[1])
        taken = super().take_dlpack(source, **requested)
        _gpus(self.memory).set_current(before)
        return taken


@fault("devices.current-kept-when-refused")
class ForgetsTheCurrentGpuForAnUnknownType(Importer):
    """Leaves the array's GPU current if it refuses an element type in a dictionary."""

    def cai_dtype(self, interface: cai.ArrayInterface) -> DType:
        before = _current(self.memory)
        _gpus(self.memory).set_current(self.cai_device(interface)[1])
        dtype = super().cai_dtype(interface)
        _gpus(self.memory).set_current(before)
        return dtype


# An export or import to another GPU


@fault("devices.export-elsewhere")
class RenamesInsteadOfMoving(Exporter):
    """Writes the requested GPU's number into the capsule without moving the memory."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        """Record the request."""
        self._asked = dl_device

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        fields = super().fields(version, copied=copied)
        return fields if self._asked is None else replace(fields, device=self._asked)


@fault("devices.export-elsewhere")
class IgnoresTheDeviceAskedFor(Exporter):
    """Ignores ``dl_device``."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        """Skip the check."""


@fault("devices.export-elsewhere")
class RefusesElsewhereByAssertion(Exporter):
    """Refuses another GPU with ``AssertionError``."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        assert dl_device is None or tuple(dl_device) == self.device(), "wrong device"


@fault("devices.import-elsewhere")
class StaysWhereItWas(Importer):
    """Reports the requested GPU for an import without moving the memory."""

    def moved(self, array: Imported, memory: Memory) -> Imported:
        array.device = memory.device
        return array


@fault("devices.import-elsewhere", bugs="device-22")
class MovesTheFirstHalf(Importer):
    """Copies only the first half of an array to another GPU."""

    def moved(self, array: Imported, memory: Memory) -> Imported:
        taken = super().moved(array, memory)
        half = taken.view.size * taken.dtype.itemsize // 2
        taken.importer.memory.write(taken.address + half, bytes(half))
        return taken


# Streams


@fault("devices.handover")
class OrdersForTheCurrentGpu(Exporter):
    """Adds no wait for pending work unless the array's GPU is current."""

    def order(self, stream: int | None) -> None:
        if _current(self.memory) == self.device()[1]:
            super().order(stream)


@fault("devices.handover")
class PublishesForTheCurrentGpu(Exporter):
    """Publishes no stream unless the array's GPU is current."""

    def cai_stream(self) -> int | None:
        return super().cai_stream() if _current(self.memory) == self.device()[1] else None


@fault("devices.handover")
class AsksForTheCurrentGpu(Importer):
    """Requests the legacy default stream for an array that is not on the current GPU."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        if source.__dlpack_device__()[1] != _current(self.memory):
            return self.take_capsule(source.__dlpack__(stream=1))
        return super().take_dlpack(source, **requested)


@fault("devices.handover", "devices.dictionary-stream")
class FollowsOnTheCurrentGpu(Importer):
    """Does not wait for a published stream that belongs to another GPU than the current one."""

    def follow(self, published: int | None) -> None:
        if published is not None and self.memory.streams().gpu_of(published) == _current(self.memory):
            super().follow(published)


@fault("devices.export-stream")
class OrdersItsOwnGpuOnly(Exporter):
    """Adds no wait to a consumer's stream on another GPU than the array's."""

    def order(self, stream: int | None) -> None:
        if stream is None or stream < 0 or self.memory.streams().gpu_of(stream) == self.device()[1]:
            super().order(stream)


@fault("devices.dictionary-stream")
class FollowsTheArraysGpu(Importer):
    """Waits for its own default stream in place of a published stream of another GPU."""

    def follow(self, published: int | None) -> None:
        foreign = published is not None and published > PER_THREAD and self._gpu_of(published) != self.memory.device[1]
        super().follow(LEGACY if foreign else published)

    def _gpu_of(self, stream: int) -> int:
        return self.memory.streams().gpu_of(stream)


@fault("devices.export-stream")
class OrdersItsDefaultStreamInstead(Exporter):
    """Makes its own default stream wait in place of a consumer's stream on another GPU."""

    def order(self, stream: int | None) -> None:
        foreign = stream is not None and stream > PER_THREAD and self._gpu_of(stream) != self.device()[1]
        super().order(LEGACY if foreign else stream)

    def _gpu_of(self, stream: int) -> int:
        return self.memory.streams().gpu_of(stream)
