"""Faults of what is in flight: memory that goes too early, reads that nobody remembers, copies that nobody waits for."""

from __future__ import annotations

from typing import Any, ClassVar

from conformance.cuda import memory as cuda_memory
from conformance.protocols.dlpack import Tensor
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Fields, Managed
from conformance.reference.memory import CudaMemory, Memory
from conformance.reference.streams import LEGACY, WorkStream

from . import fault


@fault("flight.array-dropped", bugs="lifetime-26")
class HoldsNothing(Importer):
    """Memory is given back as soon as it has been imported, though it is still to be read; owners are not held."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        """Read, then given back."""
        taken = super().read_tensor(tensor)
        taken.release()
        return taken

    def take_cai(self, source: Any) -> Imported:
        """By pointer alone."""
        taken = super().take_cai(source)
        taken.holder = None
        return taken


@fault("flight.array-dropped")
class CapsuleHoldsNothing(Exporter):
    """The struct does not keep the array: its memory goes when the producer's own array does."""

    def export(self, fields: Fields, owner: Any) -> Any:
        """Without an owner."""
        managed = Managed(fields, None)
        self.log.exports.append(managed)
        return managed.capsule()


class _Pooled(Exporter):
    """Takes its memory from a pool that it goes back to: the block that came back last is handed out first."""

    _free: ClassVar[dict[tuple[tuple[int, int], int], list[tuple[Any, WorkStream]]]]
    _spare: ClassVar[list[Any]] = []
    """Blocks that were not needed. CUDA waits for the device before it takes one back, and that would hide the fault."""

    def __init_subclass__(cls) -> None:
        cls._free = {}

    def __init__(self, memory: Memory, block: Any, *rest: Any, **options: Any) -> None:
        super().__init__(memory, self._from_pool(memory, block), *rest, **options)

    def _from_pool(self, memory: Memory, block: Any) -> Any:
        free = self._free.get((memory.device, block.nbytes), [])
        found = next((entry for entry in reversed(free) if self.may_take(memory, entry[1])), None)
        if found is None:
            return block
        free.remove(found)
        self._spare.append(block)
        return found[0]

    def may_take(self, memory: Memory, writer: WorkStream) -> bool:
        """Whether a block that was last written on this stream is handed out again."""
        raise NotImplementedError

    def __del__(self) -> None:
        if self.writer is not None:
            self._free.setdefault((self.memory.device, self.block.nbytes), []).append((self.block, self.writer))


@fault("flight.import-dropped", bugs="lifetime-26")
class HandsOutAtOnce(_Pooled):
    """Memory that comes back is handed out again at once, whatever is still pending on it."""

    def may_take(self, memory: Memory, writer: WorkStream) -> bool:
        """Always."""
        return True


@fault("flight.import-dropped", bugs="lifetime-26")
class HandsOutByItsOwnStream(_Pooled):
    """Memory that comes back is handed out again once the producer's own stream is done with it, as pools by stream do."""

    def may_take(self, memory: Memory, writer: WorkStream) -> bool:
        """When that is done."""
        return memory.streams().done(writer.handle)


@fault("flight.consumer-writes")
class ForgetsItsReads(Exporter):
    """Only writes count as pending: a consumer is not made to wait for what still reads the array."""

    def copy(self, into: int, stream: WorkStream) -> None:
        """The stream is not remembered."""
        before = self.writer
        super().copy(into, stream)
        self.writer = before


@fault("flight.consumer-writes")
class WritesWithoutWaiting(Importer):
    """Reads of an import wait for the producer, writes are queued on a stream that has not waited."""

    def fill(self, taken: Imported, value: int) -> None:
        """On a stream of its own."""
        streams = self.memory.streams()
        streams.fill(taken.address, taken.view.size, value, _hasty(streams))
        streams.wait(self.work_stream, _hasty(streams))


_made: list[int] = []


def _hasty(streams: Any) -> int:
    if not _made:
        _made.append(streams.create())
    return _made[0]


class _ReadBehind(CudaMemory):
    """CUDA memory that is read behind one stream: the instrument's own reads wait for everything, and would hide the fault."""

    def __init__(self, stream: int, ordinal: int) -> None:
        super().__init__(ordinal=ordinal)
        self._stream = stream

    def read(self, address: int, nbytes: int) -> bytes:
        """After what this stream has queued."""
        return cuda_memory.read_behind(address, nbytes, self._stream)


class _CopiesBehind(Exporter):
    """A copy to the host waits for one stream only, whichever is the writer's."""

    def behind(self) -> int:
        """That stream."""
        raise NotImplementedError

    def finish(self) -> None:
        """For that stream's work."""
        self.memory.streams().synchronize(self.behind())

    def copied_to(self, memory: Memory) -> Exporter:
        """Read behind that stream."""
        ours = self.memory
        if isinstance(ours, CudaMemory):
            self.memory = _ReadBehind(self.behind(), ours.ordinal)
        try:
            return super().copied_to(memory)
        finally:
            self.memory = ours


@fault("flight.host-copy", bugs="stream-16")
class HostCopyIsNotAwaited(_CopiesBehind):
    """A copy to the host does not wait for what is pending on the array."""

    def behind(self) -> int:
        """On a stream of its own."""
        return _hasty(self.memory.streams())


@fault("flight.host-copy", bugs="stream-16")
class HostCopyAwaitsTheDefaultStream(_CopiesBehind):
    """A copy to the host waits for the default stream, wherever the array was written."""

    def behind(self) -> int:
        """1."""
        return LEGACY


@fault("flight.copy-on-stream")
class CopiesOnTheDefaultStream(Exporter):
    """``copy=True`` copies on the default stream, behind what is pending, whatever stream was named."""

    def copying_stream(self, stream: int | None) -> int:
        """1."""
        return LEGACY


@fault("flight.copy-on-stream")
class CopiesOnItsOwnStream(Exporter):
    """``copy=True`` copies on the producer's stream, whatever stream was named."""

    def copying_stream(self, stream: int | None) -> int:
        """That of the last work."""
        return self.writer.handle if self.writer is not None else super().copying_stream(stream)
