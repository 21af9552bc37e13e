"""Faults with two GPUs: numbers that are not the array's, memory of the wrong GPU, and waits that end at a GPU's border."""

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
    """CUDA's or the simulated device's, as the memory is: a fault of the current GPU has to be one on either."""
    return gpus.of(isinstance(memory, CudaMemory))


def _current(memory: Memory) -> int:
    """GPU 0 where none is current, as the runtime API has it."""
    return _gpus(memory).current() or 0


def _on(memory: Memory, ordinal: int) -> Memory:
    return CudaMemory(ordinal=ordinal) if isinstance(memory, CudaMemory) else simulated(ordinal)


# -- where an array lies


@fault("devices.made", bugs="device-14")
class KeepsMemoryForLater(Exporter):
    """Memory is kept by its size alone, so an array on one GPU gets what was used on the other."""

    _kept: dict[int, Block] = {}

    def __init__(self, memory: Memory, block: Block, dtype: DType, view: Strided, **others: Any) -> None:
        super().__init__(memory, self._kept.setdefault(block.nbytes, block), dtype, view, **others)


@fault("devices.made", bugs="device-23 device-14")
class MakesOnTheFirstGpu(Exporter):
    """Memory is allocated on GPU 0, whichever is current."""

    def __init__(self, memory: Memory, block: Block, dtype: DType, view: Strided, **others: Any) -> None:
        first = _on(memory, 0)
        super().__init__(first, first.allocate(block.nbytes), dtype, view, **others)


@fault("devices.reported", bugs="device-27")
class AlwaysTheFirstGpu(Exporter):
    """The device id is 0, wherever the array lies."""

    def device(self) -> tuple[int, int]:
        """Not asked for."""
        return super().device()[0], 0


@fault("devices.reported", bugs="device-02 device-08")
class EmptyIsOnTheCurrentGpu(Exporter):
    """The device is found from the address, and an array without elements has none."""

    def device(self) -> tuple[int, int]:
        """The current one for no elements."""
        kind, number = super().device()
        return kind, number if self.view.size else _current(self.memory)


@fault("devices.reported")
class CapsuleOfTheCurrentGpu(Exporter):
    """The capsule has the number of the GPU that is current."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """With another device than ``__dlpack_device__`` tells."""
        return replace(super().fields(version, copied=copied), device=(2, _current(self.memory)))


@fault("devices.kept", "devices.in-turn", bugs="device-27")
class ImportsToTheFirstGpu(Importer):
    """Whatever comes in is said to lie on GPU 0."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """By the capsule."""
        taken = super().read_tensor(tensor)
        taken.device = (2, 0)
        return taken

    def cai_device(self, interface: cai.ArrayInterface) -> tuple[int, int]:
        """By the dictionary."""
        return 2, 0


@fault("devices.kept", bugs="device-01")
class TakesDictionariesForTheCurrentGpu(Importer):
    """The dictionary does not name the GPU, so it must be the current one."""

    def cai_device(self, interface: cai.ArrayInterface) -> tuple[int, int]:
        """Without a look at the address."""
        return 2, _current(self.memory)


@fault("devices.kept")
class CopiesToTheCurrentGpu(Importer):
    """An array of another GPU than the current one is copied."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """By the capsule."""
        return self._here(super().read_tensor(tensor))

    def take_cai(self, source: Any) -> Imported:
        """By the dictionary."""
        return self._here(super().take_cai(source))

    def _here(self, taken: Imported) -> Imported:
        return self.moved(taken, _on(self.memory, _current(self.memory)))


class _ZerosFromElsewhere(Importer):
    def dl_address(self, tensor: Tensor) -> int:
        """By the capsule."""
        return self._address(tensor.element0, tensor.device)

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        """By the dictionary."""
        return self._address(interface.address, self.cai_device(interface))

    def _address(self, right: int, device: tuple[int, int]) -> int:
        if device[1] == _current(self.memory):
            return right
        self._block = self.memory.allocate(1024)
        self.memory.write(self._block.address, bytes(1024))
        return self._block.address


@fault("devices.kept", "devices.mixed", "devices.import-elsewhere", bugs="device-10 device-22")
class ZerosFromElsewhere(_ZerosFromElsewhere):
    """Of an array on another GPU than the current one only zeros come in."""


@fault("devices.in-turn", bugs="device-14")
class RemembersTheDeviceByShape(Importer):
    """What was found out about an array is kept by its shape, the GPU with it."""

    _seen: dict[tuple[int, ...], tuple[int, int]] = {}

    def read_tensor(self, tensor: Tensor) -> Imported:
        """By the capsule."""
        return self._remembered(super().read_tensor(tensor))

    def take_cai(self, source: Any) -> Imported:
        """By the dictionary."""
        return self._remembered(super().take_cai(source))

    def _remembered(self, taken: Imported) -> Imported:
        taken.device = self._seen.setdefault(taken.shape, taken.device)
        return taken


@fault("devices.mixed", bugs="device-14 device-22")
class OneImportForEachShape(Importer):
    """What is imported is kept by shape and element type: a second array of the kind is the first one again."""

    _kept: ClassVar[dict[tuple[tuple[int, ...], str], Imported]] = {}

    def read_tensor(self, tensor: Tensor) -> Imported:
        """By the capsule."""
        return self._first(super().read_tensor(tensor))

    def take_cai(self, source: Any) -> Imported:
        """By the dictionary."""
        return self._first(super().take_cai(source))

    def _first(self, taken: Imported) -> Imported:
        return self._kept.setdefault((taken.shape, taken.dtype.name), taken)


# -- which GPU is current


@fault("devices.current-kept")
class LeavesTheArraysGpuCurrent(Importer):
    """The array's GPU is made current for the import, and stays it."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """By the capsule."""
        _gpus(self.memory).set_current(tensor.device[1])
        return super().read_tensor(tensor)

    def cai_device(self, interface: cai.ArrayInterface) -> tuple[int, int]:
        """By the dictionary."""
        device = super().cai_device(interface)
        _gpus(self.memory).set_current(device[1])
        return device


@fault("devices.current-kept", bugs="context-05")
class ComesBackToTheFirstGpu(Importer):
    """The array's GPU is made current for the import, and afterwards GPU 0, which need not be the one from before."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """By the capsule."""
        taken = super().read_tensor(tensor)
        _gpus(self.memory).set_current(0)
        return taken


@fault("devices.current-kept", bugs="context-05")
class ExportLeavesItsGpuCurrent(Exporter):
    """The producer makes its GPU current when it is asked for its array, and leaves it so."""

    def check_pending(self) -> None:
        """By either protocol."""
        super().check_pending()
        _gpus(self.memory).set_current(self.memory.device[1])


@fault("devices.current-kept-when-refused")
class ForgetsTheCurrentGpuWhenItRaises(Importer):
    """The array's GPU is made current, and what was current before comes back only where all goes well."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """By the capsule."""
        before = _current(self.memory)
        _gpus(self.memory).set_current(source.__dlpack_device__()[1])
        taken = super().take_dlpack(source, **requested)
        _gpus(self.memory).set_current(before)
        return taken


@fault("devices.current-kept-when-refused")
class ForgetsTheCurrentGpuForAnUnknownType(Importer):
    """A dictionary is read with its GPU current, and an unknown type ends that without a way back."""

    def cai_dtype(self, interface: cai.ArrayInterface) -> DType:
        """Between there and back."""
        before = _current(self.memory)
        _gpus(self.memory).set_current(self.cai_device(interface)[1])
        dtype = super().cai_dtype(interface)
        _gpus(self.memory).set_current(before)
        return dtype


# -- another GPU on request


@fault("devices.export-elsewhere")
class RenamesInsteadOfMoving(Exporter):
    """An export to another GPU gets that one's number, and the memory that it always had."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        """Anything goes."""
        self._asked = dl_device

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """With the device that was asked for."""
        fields = super().fields(version, copied=copied)
        return fields if self._asked is None else replace(fields, device=self._asked)


@fault("devices.export-elsewhere")
class IgnoresTheDeviceAskedFor(Exporter):
    """``dl_device`` is taken and forgotten."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        """Anything goes."""


@fault("devices.export-elsewhere")
class RefusesElsewhereByAssertion(Exporter):
    """Another GPU is refused with an exception that means a defect."""

    def check_device(self, dl_device: tuple[int, int] | None) -> None:
        """Not meant for users."""
        assert dl_device is None or tuple(dl_device) == self.device(), "wrong device"


@fault("devices.import-elsewhere")
class StaysWhereItWas(Importer):
    """An import to another GPU is the array itself under that one's number."""

    def moved(self, array: Imported, memory: Memory) -> Imported:
        """In name."""
        array.device = memory.device
        return array


@fault("devices.import-elsewhere", bugs="device-22")
class MovesTheFirstHalf(Importer):
    """Of what is copied to another GPU the second half never arrives."""

    def moved(self, array: Imported, memory: Memory) -> Imported:
        """Zeros in the rest."""
        taken = super().moved(array, memory)
        half = taken.view.size * taken.dtype.itemsize // 2
        taken.importer.memory.write(taken.address + half, bytes(half))
        return taken


# -- streams


@fault("devices.handover")
class OrdersForTheCurrentGpu(Exporter):
    """What is pending is looked for on the current GPU: with another one current, the consumer's stream waits for nothing."""

    def order(self, stream: int | None) -> None:
        """Only at home."""
        if _current(self.memory) == self.device()[1]:
            super().order(stream)


@fault("devices.handover")
class PublishesForTheCurrentGpu(Exporter):
    """The dictionary names what is pending on the current GPU: nothing, while it is another than the array's."""

    def cai_stream(self) -> int | None:
        """Only at home."""
        return super().cai_stream() if _current(self.memory) == self.device()[1] else None


@fault("devices.handover")
class AsksForTheCurrentGpu(Importer):
    """The stream that the producer is told is the current GPU's: no stream of the array's, while that is another."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """The legacy stream for an array from elsewhere."""
        if source.__dlpack_device__()[1] != _current(self.memory):
            return self.take_capsule(source.__dlpack__(stream=1))
        return super().take_dlpack(source, **requested)


@fault("devices.handover", "devices.dictionary-stream")
class FollowsOnTheCurrentGpu(Importer):
    """A published stream that does not belong to the current GPU is not waited for."""

    def follow(self, published: int | None) -> None:
        """Only streams of the current one."""
        if published is not None and self.memory.streams().gpu_of(published) == _current(self.memory):
            super().follow(published)


@fault("devices.export-stream")
class OrdersItsOwnGpuOnly(Exporter):
    """A stream of another GPU than the array's is not made to wait."""

    def order(self, stream: int | None) -> None:
        """Only streams of the own one."""
        if stream is None or stream < 0 or self.memory.streams().gpu_of(stream) == self.device()[1]:
            super().order(stream)


@fault("devices.dictionary-stream")
class FollowsTheArraysGpu(Importer):
    """For a published stream of another GPU than the import's own, the default stream of its own is waited for."""

    def follow(self, published: int | None) -> None:
        """Where the stream should belong, there is nothing to wait for."""
        foreign = published is not None and published > PER_THREAD and self._gpu_of(published) != self.memory.device[1]
        super().follow(LEGACY if foreign else published)

    def _gpu_of(self, stream: int) -> int:
        return self.memory.streams().gpu_of(stream)


@fault("devices.export-stream")
class OrdersItsDefaultStreamInstead(Exporter):
    """For a stream of another GPU that is named the default stream of the array's GPU waits."""

    def order(self, stream: int | None) -> None:
        """Not who will read."""
        foreign = stream is not None and stream > PER_THREAD and self._gpu_of(stream) != self.device()[1]
        super().order(LEGACY if foreign else stream)

    def _gpu_of(self, stream: int) -> int:
        return self.memory.streams().gpu_of(stream)
