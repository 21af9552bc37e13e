"""Faults of work in flight: memory that is freed too early, reads that are not recorded, and copies without a wait."""

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
    """Releases imported memory at once although it is still to be read, and holds no reference to an owner."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        taken.release()
        return taken

    def take_cai(self, source: Any) -> Imported:
        taken = super().take_cai(source)
        taken.holder = None
        return taken


@fault("flight.array-dropped")
class CapsuleHoldsNothing(Exporter):
    """Holds no reference to the array in the struct, so that the memory is freed with the array."""

    def export(self, fields: Fields, owner: Any) -> Any:
        managed = Managed(fields, None)
        self.log.exports.append(managed)
        return managed.capsule()


class _Pooled(Exporter):
    """Base of exporters that reuse memory from a pool. The block that came back last is used first."""

    _free: ClassVar[dict[tuple[tuple[int, int], int], list[tuple[Any, WorkStream]]]]
    _spare: ClassVar[list[Any]] = []
    """Blocks that are not used. CUDA synchronizes the device when it frees one, and that would hide the fault."""

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
        """Return ``True`` if a block that was last written on this stream can be used again."""
        raise NotImplementedError

    def __del__(self) -> None:
        if self.writer is not None:
            self._free.setdefault((self.memory.device, self.block.nbytes), []).append((self.block, self.writer))


@fault("flight.import-dropped", bugs="lifetime-26")
class HandsOutAtOnce(_Pooled):
    """Reuses returned memory at once, although work is pending on it."""

    def may_take(self, memory: Memory, writer: WorkStream) -> bool:
        return True


@fault("flight.import-dropped", bugs="lifetime-26")
class HandsOutByItsOwnStream(_Pooled):
    """Reuses returned memory once the producer's own stream is done, as stream-ordered pools do, and ignores other streams."""

    def may_take(self, memory: Memory, writer: WorkStream) -> bool:
        return memory.streams().done(writer.handle)


@fault("flight.consumer-writes")
class ForgetsItsReads(Exporter):
    """Counts only writes as pending work, so that a consumer does not wait for pending reads."""

    def copy(self, into: int, stream: WorkStream) -> None:
        before = self.writer
        super().copy(into, stream)
        self.writer = before


@fault("flight.consumer-writes")
class WritesWithoutWaiting(Importer):
    """Queues writes to an import on a stream that has not waited for the producer."""

    def fill(self, taken: Imported, value: int) -> None:
        streams = self.memory.streams()
        streams.fill(taken.address, taken.view.size, value, _hasty(streams))
        streams.wait(self.work_stream, _hasty(streams))


_made: list[int] = []


def _hasty(streams: Any) -> int:
    if not _made:
        _made.append(streams.create())
    return _made[0]


class _ReadBehind(CudaMemory):
    """CUDA memory with reads that wait for one stream. The usual reads of the suite wait for everything, which would hide the fault."""

    def __init__(self, stream: int, ordinal: int) -> None:
        super().__init__(ordinal=ordinal)
        self._stream = stream

    def read(self, address: int, nbytes: int) -> bytes:
        return cuda_memory.read_behind(address, nbytes, self._stream)


class _CopiesBehind(Exporter):
    """Base of exporters that wait for one stream only before a copy to the host."""

    def behind(self) -> int:
        """Return the stream that the copy waits for."""
        raise NotImplementedError

    def finish(self) -> None:
        self.memory.streams().synchronize(self.behind())

    def copied_to(self, memory: Memory) -> Exporter:
        ours = self.memory
        if isinstance(ours, CudaMemory):
            self.memory = _ReadBehind(self.behind(), ours.ordinal)
        try:
            return super().copied_to(memory)
        finally:
            self.memory = ours


@fault("flight.host-copy", bugs="stream-16")
class HostCopyIsNotAwaited(_CopiesBehind):
    """Copies to the host without waiting for the array's pending work."""

    def behind(self) -> int:
        return _hasty(self.memory.streams())


@fault("flight.host-copy", bugs="stream-16")
class HostCopyAwaitsTheDefaultStream(_CopiesBehind):
    """Copies to the host after the default stream, whatever stream wrote the array."""

    def behind(self) -> int:
        return LEGACY


@fault("flight.copy-on-stream")
class CopiesOnTheDefaultStream(Exporter):
    """Copies on the default stream for ``copy=True``, whatever stream the consumer passed."""

    def copying_stream(self, stream: int | None) -> int:
        return LEGACY


@fault("flight.copy-on-stream")
class CopiesOnItsOwnStream(Exporter):
    """Copies on the producer's stream for ``copy=True``, whatever stream the consumer passed."""

    def copying_stream(self, stream: int | None) -> int:
        return self.writer.handle if self.writer is not None else super().copying_stream(stream)
