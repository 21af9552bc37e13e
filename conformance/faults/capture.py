"""Faults in a stream capture: calls that invalidate it, work that it misses, and memory that a replay does not use."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any, ClassVar

from conformance.cuda import memory as cuda_memory
from conformance.cuda.capture import Capturing
from conformance.protocols import cai
from conformance.protocols.dlpack import Tensor
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Fields
from conformance.reference.streams import LEGACY, SimulatedStreams, Streams, WorkStream, current
from conformance.reference.table import Table

from . import fault


@fault("capture.same-stream", "capture.pipeline", "capture.one-side")
class SynchronizesItsStream(Importer):
    """Synchronizes its own stream before it uses an import."""

    def dl_address(self, tensor: Tensor) -> int:
        self.memory.streams().synchronize(self.work_stream)
        return super().dl_address(tensor)

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        self.memory.streams().synchronize(self.work_stream)
        return super().cai_address(interface)


@fault("capture.pipeline", "capture.one-side")
class SynchronizesThePublishedStream(Importer):
    """Blocks the host until the published stream is done, which fails only in a capture."""

    def follow(self, published: int | None) -> None:
        if published is not None:
            self.memory.streams().synchronize(published)


@fault("capture.blocking", bugs="capture-04")
class SynchronizesTheDevice(Importer):
    """Synchronizes the whole device before it uses an import."""

    def follow(self, published: int | None) -> None:
        self.memory.streams().synchronize_device()


@fault("capture.pipeline", bugs="capture-02")
class AsksForTheLegacyStream(Importer):
    """Requests the legacy default stream, which then must wait for the captured stream."""

    def stream(self) -> int | None:
        return LEGACY


@fault("capture.blocking")
class UsesTheLegacyStream(Importer):
    """Also orders every import by the array interface after the legacy default stream."""

    def follow(self, published: int | None) -> None:
        super().follow(published)
        if self.work_stream != LEGACY:
            self.memory.streams().wait(self.work_stream, LEGACY)


@fault("capture.one-side")
class IgnoresTheCapturedWrite(Importer):
    """Does not wait for the published stream, so that the read is not part of its capture."""

    def follow(self, published: int | None) -> None:
        """Skip the wait."""

    def hold_back(self, taken: Imported) -> None:
        """Skip the wait."""


@fault("capture.same-stream", "capture.replay", "capture.pipeline")
class ReadsOnAnotherStream(Importer):
    """Queues the copy on a stream of its own that is not captured."""

    def copy(self, into: int, taken: Imported) -> None:
        self._elsewhere = WorkStream(self.memory.streams())
        nbytes = taken.view.size * taken.dtype.itemsize
        self.memory.streams().copy(into, taken.address, nbytes, self._elsewhere.handle)


@fault("capture.same-stream", "capture.replay")
class LeavesAStreamUnjoined(Importer):
    """Queues the copy on a helper stream that it never joins back to its own stream."""

    def copy(self, into: int, taken: Imported) -> None:
        streams = self.memory.streams()
        self._helper = WorkStream(streams)
        streams.wait(self._helper.handle, self.work_stream)
        streams.copy(into, taken.address, taken.view.size * taken.dtype.itemsize, self._helper.handle)


@fault("capture.same-stream", "capture.one-side", "capture.replay")
class KeepsATemporary(Importer):
    """Copies at the import, so that a replay reads old elements."""

    def dl_address(self, tensor: Tensor) -> int:
        return self._copied(super().dl_address(tensor), prod(tensor.shape) * self.dl_dtype(tensor).itemsize)

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        nbytes = prod(interface.shape) * self.cai_dtype(interface).itemsize
        return self._copied(super().cai_address(interface), nbytes)

    def _copied(self, address: int, nbytes: int) -> int:
        self._block = self.memory.allocate(nbytes)
        self.memory.write(self._block.address, self.memory.read(address, nbytes))
        return self._block.address


@fault("capture.same-stream")
class CannotWorkAfterACapture(Importer):
    """Refuses to work on a stream after that stream's first capture."""

    _spoilt: ClassVar[set[int]] = set()

    def check_device(self, device: Any) -> None:
        super().check_device(device)
        if self.memory.streams().capturing(self.work_stream) is not Capturing.NO:
            self._spoilt.add(self.work_stream)
        elif self.work_stream in self._spoilt:
            raise RuntimeError("an earlier capture left an error behind")


@fault("capture.same-stream", "capture.one-side")
class WaitsForAnEventFromOutside(Exporter):
    """Makes the consumer's stream wait for a stream that is not captured."""

    def order(self, stream: int | None) -> None:
        super().order(stream)
        self._outside = WorkStream(self.memory.streams())
        if stream is not None and stream != -1:
            self.memory.streams().wait(stream, self._outside.handle)


@fault("capture.same-stream", "capture.replay")
class ExportsATemporary(Exporter):
    """Exports a copy that it makes on the host, so that a replay reads old elements."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        return replace(super().fields(version, copied=copied), data=self._temporary())

    def cai_address(self) -> int:
        return self._temporary()

    def _temporary(self) -> int:
        made = self.copied()
        self._kept = [*getattr(self, "_kept", []), made]
        return made.element0()


@fault("capture.export-stream", bugs="capture-02")
class SynchronizesForMinusOne(Exporter):
    """Synchronizes the writer's stream on the host for ``stream=-1``."""

    def order(self, stream: int | None) -> None:
        if self.writer is not None:
            self.memory.streams().synchronize(self.writer.handle)


@fault("capture.export-stream")
class TakesMinusOneForTheLegacyStream(Exporter):
    """Makes the legacy default stream wait for ``stream=-1``."""

    def order(self, stream: int | None) -> None:
        super().order(LEGACY if stream == -1 else stream)


@fault("capture.export-stream")
class AllocatesWhenItExports(Exporter):
    """Allocates memory at every export, which invalidates a capture that is not relaxed."""

    def order(self, stream: int | None) -> None:
        _unsafe_call(self.memory.streams())
        super().order(stream)


def _unsafe_call(streams: Streams) -> None:
    if isinstance(streams, SimulatedStreams):
        streams.unsafe_call()
    else:
        cuda_memory.free(cuda_memory.allocate(1))


class _SynchronizingOwner:
    """Synchronizes the device when it dies."""

    def __init__(self, streams: Streams, owner: Any) -> None:
        self._streams = streams
        self._owner = owner

    def __del__(self) -> None:
        self._streams.synchronize_device()


@fault("capture.drop", bugs="capture-04 capture-01")
class SynchronizesInTheDeleter(Exporter):
    """Synchronizes the whole device in the deleter."""

    def export(self, fields: Fields, owner: Any) -> Any:
        return super().export(fields, _SynchronizingOwner(self.memory.streams(), owner))


@fault("capture.drop", bugs="capture-04")
class SynchronizesBeforeTheDeleter(Importer):
    """Synchronizes the whole device before it calls the deleter."""

    def call_deleter(self, tensor: Tensor) -> None:
        try:
            self.memory.streams().synchronize_device()
        finally:
            super().call_deleter(tensor)


class _SynchronizingTable(Table):
    """A table with an export function that synchronizes the device."""

    def from_py(self, thing: int, out: Any) -> int:
        self.memory.streams().synchronize_device()
        return super().from_py(thing, out)


@fault("capture.exchange-api")
class SynchronizesInTheTable(Exporter):
    """Synchronizes the whole device in the table's export function, although its name ends in ``no_sync``."""

    table_class = _SynchronizingTable


class _AskingTable(Table):
    """A table that queries the current stream before it returns it."""

    def current_stream(self, device_type: int, device_id: int, out: Any) -> int:
        self.memory.streams().done(current())
        return super().current_stream(device_type, device_id, out)


@fault("capture.exchange-api", bugs="capture-04")
class AsksTheCurrentStream(Exporter):
    """Queries the current stream in ``current_work_stream``, which CUDA forbids in a capture."""

    table_class = _AskingTable


class _AllocatingTable(Table):
    """A table that allocates before it wraps a struct."""

    def to_py(self, address: int, out: Any) -> int:
        _unsafe_call(self.memory.streams())
        return super().to_py(address, out)


@fault("capture.exchange-api", bugs="capture-06")
class AllocatesInTheTable(Exporter):
    """Allocates in the table's import function, which a capture that is not relaxed forbids."""

    table_class = _AllocatingTable


class _DefaultStreamTable(Table):
    """A table that always returns NULL as the current stream."""

    def current_stream(self, device_type: int, device_id: int, out: Any) -> int:
        out[0] = None
        return 0


@fault("capture.current-stream", bugs="stream-28")
class AnswersTheDefaultStream(Exporter):
    """Returns the default stream from ``current_work_stream``, whichever stream is current."""

    table_class = _DefaultStreamTable


class _RememberingTable(Table):
    """A table that looks the current stream up once."""

    _first: int | None = None

    def current_stream(self, device_type: int, device_id: int, out: Any) -> int:
        if self._first is None:
            self._first = current()
        out[0] = self._first
        return 0


@fault("capture.current-stream", bugs="stream-02")
class RemembersItsFirstStream(Exporter):
    """Returns the stream that was current at the first call from every ``current_work_stream``."""

    table_class = _RememberingTable
