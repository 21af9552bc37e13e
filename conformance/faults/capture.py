"""Faults in a capture: calls that break it, work that does not get into it, memory that a replay does not see."""

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
    """The host waits for the importer's own stream before the import is used."""

    def dl_address(self, tensor: Tensor) -> int:
        """After the wait."""
        self.memory.streams().synchronize(self.work_stream)
        return super().dl_address(tensor)

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        """After the wait."""
        self.memory.streams().synchronize(self.work_stream)
        return super().cai_address(interface)


@fault("capture.pipeline", "capture.one-side")
class SynchronizesThePublishedStream(Importer):
    """The host waits for the stream that the dictionary names, which is a choice that only fails in a capture."""

    def follow(self, published: int | None) -> None:
        """Here and now."""
        if published is not None:
            self.memory.streams().synchronize(published)


@fault("capture.blocking", bugs="capture-04")
class SynchronizesTheDevice(Importer):
    """Before an import is used the host waits for the whole device."""

    def follow(self, published: int | None) -> None:
        """For everything."""
        self.memory.streams().synchronize_device()


@fault("capture.pipeline", bugs="capture-02")
class AsksForTheLegacyStream(Importer):
    """``__dlpack__`` is told the legacy default stream, which then has to wait for the captured one."""

    def stream(self) -> int | None:
        """Always 1."""
        return LEGACY


@fault("capture.blocking")
class UsesTheLegacyStream(Importer):
    """Every import of a dictionary is ordered with the legacy default stream, too."""

    def follow(self, published: int | None) -> None:
        """Both ways."""
        super().follow(published)
        if self.work_stream != LEGACY:
            self.memory.streams().wait(self.work_stream, LEGACY)


@fault("capture.one-side")
class IgnoresTheCapturedWrite(Importer):
    """The stream that the dictionary names is not waited for, so that the read does not get into its capture."""

    def follow(self, published: int | None) -> None:
        """Nobody."""

    def hold_back(self, taken: Imported) -> None:
        """Nobody, either."""


@fault("capture.same-stream", "capture.replay", "capture.pipeline")
class ReadsOnAnotherStream(Importer):
    """The copy is queued on a stream of the importer's own, which nobody captures."""

    def copy(self, into: int, taken: Imported) -> None:
        """At once."""
        self._elsewhere = WorkStream(self.memory.streams())
        nbytes = taken.view.size * taken.dtype.itemsize
        self.memory.streams().copy(into, taken.address, nbytes, self._elsewhere.handle)


@fault("capture.same-stream", "capture.replay")
class LeavesAStreamUnjoined(Importer):
    """The copy is queued on a helper stream that comes after the importer's own, but not the other way round."""

    def copy(self, into: int, taken: Imported) -> None:
        """Beside the importer's stream."""
        streams = self.memory.streams()
        self._helper = WorkStream(streams)
        streams.wait(self._helper.handle, self.work_stream)
        streams.copy(into, taken.address, taken.view.size * taken.dtype.itemsize, self._helper.handle)


@fault("capture.same-stream", "capture.one-side", "capture.replay")
class KeepsATemporary(Importer):
    """An import is a copy, made when it is taken: a replay reads what was there then."""

    def dl_address(self, tensor: Tensor) -> int:
        """The copy's."""
        return self._copied(super().dl_address(tensor), prod(tensor.shape) * self.dl_dtype(tensor).itemsize)

    def cai_address(self, interface: cai.ArrayInterface) -> int:
        """The copy's."""
        nbytes = prod(interface.shape) * self.cai_dtype(interface).itemsize
        return self._copied(super().cai_address(interface), nbytes)

    def _copied(self, address: int, nbytes: int) -> int:
        self._block = self.memory.allocate(nbytes)
        self.memory.write(self._block.address, self.memory.read(address, nbytes))
        return self._block.address


@fault("capture.same-stream")
class CannotWorkAfterACapture(Importer):
    """A stream that was once captured is never worked on again."""

    _spoilt: ClassVar[set[int]] = set()

    def check_device(self, device: Any) -> None:
        """Refuse what has been captured."""
        super().check_device(device)
        if self.memory.streams().capturing(self.work_stream) is not Capturing.NO:
            self._spoilt.add(self.work_stream)
        elif self.work_stream in self._spoilt:
            raise RuntimeError("an earlier capture left an error behind")


@fault("capture.same-stream", "capture.one-side")
class WaitsForAnEventFromOutside(Exporter):
    """``__dlpack__`` makes the consumer wait for a stream that nobody captures."""

    def order(self, stream: int | None) -> None:
        """For a new one, on which there is nothing to wait for."""
        super().order(stream)
        self._outside = WorkStream(self.memory.streams())
        if stream is not None and stream != -1:
            self.memory.streams().wait(stream, self._outside.handle)


@fault("capture.same-stream", "capture.replay")
class ExportsATemporary(Exporter):
    """What is exported is a copy, made at once on the host: a replay reads what was there then."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """Of the copy."""
        return replace(super().fields(version, copied=copied), data=self._temporary())

    def cai_address(self) -> int:
        """Of the copy."""
        return self._temporary()

    def _temporary(self) -> int:
        made = self.copied()
        self._kept = [*getattr(self, "_kept", []), made]
        return made.element0()


@fault("capture.export-stream", bugs="capture-02")
class SynchronizesForMinusOne(Exporter):
    """``stream=-1`` still makes the host wait for the stream that was written on."""

    def order(self, stream: int | None) -> None:
        """Whatever was asked."""
        if self.writer is not None:
            self.memory.streams().synchronize(self.writer.handle)


@fault("capture.export-stream")
class TakesMinusOneForTheLegacyStream(Exporter):
    """``stream=-1`` makes the legacy default stream wait, as ``None`` does."""

    def order(self, stream: int | None) -> None:
        """-1 for 1."""
        super().order(LEGACY if stream == -1 else stream)


@fault("capture.export-stream")
class AllocatesWhenItExports(Exporter):
    """Every export makes a call like an allocation, which breaks captures that are not relaxed."""

    def order(self, stream: int | None) -> None:
        """After the call."""
        _unsafe_call(self.memory.streams())
        super().order(stream)


def _unsafe_call(streams: Streams) -> None:
    if isinstance(streams, SimulatedStreams):
        streams.unsafe_call()
    else:
        cuda_memory.free(cuda_memory.allocate(1))


class _SynchronizingOwner:
    """Waits for the device when nobody needs it any more."""

    def __init__(self, streams: Streams, owner: Any) -> None:
        self._streams = streams
        self._owner = owner

    def __del__(self) -> None:
        self._streams.synchronize_device()


@fault("capture.drop", bugs="capture-04 capture-01")
class SynchronizesInTheDeleter(Exporter):
    """The deleter waits for the whole device before it lets go of the memory."""

    def export(self, fields: Fields, owner: Any) -> Any:
        """With an owner that waits."""
        return super().export(fields, _SynchronizingOwner(self.memory.streams(), owner))


@fault("capture.drop", bugs="capture-04")
class SynchronizesBeforeTheDeleter(Importer):
    """An import that is dropped waits for the whole device before it calls the deleter."""

    def call_deleter(self, tensor: Tensor) -> None:
        """After the wait."""
        try:
            self.memory.streams().synchronize_device()
        finally:
            super().call_deleter(tensor)


class _SynchronizingTable(Table):
    """Each of its functions waits for the device."""

    def from_py(self, thing: int, out: Any) -> int:
        """After the wait."""
        self.memory.streams().synchronize_device()
        return super().from_py(thing, out)


@fault("capture.exchange-api")
class SynchronizesInTheTable(Exporter):
    """The table's function that exports waits for the whole device, though its name ends in ``no_sync``."""

    table_class = _SynchronizingTable


class _AskingTable(Table):
    """Looks whether the current stream is idle before it names it."""

    def current_stream(self, device_type: int, device_id: int, out: Any) -> int:
        """After a question that CUDA forbids in a capture."""
        self.memory.streams().done(current())
        return super().current_stream(device_type, device_id, out)


@fault("capture.exchange-api", bugs="capture-04")
class AsksTheCurrentStream(Exporter):
    """``current_work_stream`` asks the driver about the stream before it names it."""

    table_class = _AskingTable


class _AllocatingTable(Table):
    """Makes a call like an allocation before it wraps a struct."""

    def to_py(self, address: int, out: Any) -> int:
        """After the call."""
        _unsafe_call(self.memory.streams())
        return super().to_py(address, out)


@fault("capture.exchange-api", bugs="capture-06")
class AllocatesInTheTable(Exporter):
    """The table's function that imports allocates, which captures that are not relaxed forbid."""

    table_class = _AllocatingTable


class _DefaultStreamTable(Table):
    """Knows no current stream."""

    def current_stream(self, device_type: int, device_id: int, out: Any) -> int:
        """Always NULL."""
        out[0] = None
        return 0


@fault("capture.current-stream", bugs="stream-28")
class AnswersTheDefaultStream(Exporter):
    """``current_work_stream`` answers the default stream, whichever is current."""

    table_class = _DefaultStreamTable


class _RememberingTable(Table):
    """Asks for the current stream once."""

    _first: int | None = None

    def current_stream(self, device_type: int, device_id: int, out: Any) -> int:
        """What was current then."""
        if self._first is None:
            self._first = current()
        out[0] = self._first
        return 0


@fault("capture.current-stream", bugs="stream-02")
class RemembersItsFirstStream(Exporter):
    """``current_work_stream`` answers for ever what was current at its first call."""

    table_class = _RememberingTable
