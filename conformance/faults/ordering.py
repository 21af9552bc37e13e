"""Faults of order: waits that are missing, on the wrong stream, or on far too much."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.streams import LEGACY, current

from . import fault


@fault("ordering.handover", bugs="stream-26")
class IgnoresThePublishedStream(Importer):
    """The dictionary's stream is not waited for."""

    def follow(self, published: int | None) -> None:
        """Nobody."""


@fault("ordering.handover", bugs="stream-24")
class WaitsOnAnotherStream(Importer):
    """The default stream waits for the producer's, whatever stream will be worked on."""

    def follow(self, published: int | None) -> None:
        """In the wrong place."""
        if published is not None:
            self.memory.streams().wait(LEGACY, published)


@fault("ordering.handover", bugs="stream-12")
class WaitsForTheLegacyStreamOnly(Importer):
    """Whatever is published, the legacy default stream is waited for: non-blocking streams are not ordered with it."""

    def follow(self, published: int | None) -> None:
        """For 1."""
        super().follow(LEGACY)


@fault("ordering.handover", bugs="stream-08 stream-20")
class PassesAnotherStream(Importer):
    """``__dlpack__`` is told the legacy default stream, the work is done on another."""

    def stream(self) -> int | None:
        """Always 1."""
        return LEGACY


@fault("ordering.handover")
class KernelsIgnoreThePublishedStream(Importer):
    """What is imported is waited for; a kernel that is given the producer's object takes the pointer alone."""

    def take_argument(self, source: Any) -> Imported:
        """As if no stream were published."""
        described = {k: v for k, v in source.__cuda_array_interface__.items() if k != "stream"}
        taken = self.take_cai(SimpleNamespace(__cuda_array_interface__=described))
        taken.holder = source
        return taken


@fault("ordering.handover")
class KernelsFollowOnTheDefaultStream(Importer):
    """A kernel that is given the producer's object has the default stream wait for the published one, whatever it is launched on."""

    def take_argument(self, source: Any) -> Imported:
        """In the wrong place."""
        launched_on, self.work_stream = self.work_stream, LEGACY
        try:
            return self.take_cai(source)
        finally:
            self.work_stream = launched_on


@fault("ordering.cost", bugs="perf-01")
class BlocksTheHost(Importer):
    """The host waits for the producer's stream."""

    def follow(self, published: int | None) -> None:
        """Here and now."""
        if published is not None:
            self.memory.streams().synchronize(published)


@fault("ordering.cost")
class WaitsForTheDevice(Importer):
    """The host waits for the whole device."""

    def follow(self, published: int | None) -> None:
        """For everything."""
        if published is not None:
            self.memory.streams().synchronize_device()


@fault("ordering.way-back")
class ForgetsTheWayBack(Importer):
    """The producer's next work is not held back until our read is done."""

    def hold_back(self, taken: Imported) -> None:
        """Nobody."""


@fault("ordering.handover", bugs="stream-07 stream-10")
class PublishesNoStream(Exporter):
    """The dictionary says that nothing is pending."""

    def cai_stream(self) -> int | None:
        """Never anything."""
        return None


@fault("ordering.handover", bugs="stream-02")
class PublishesTheDefaultStream(Exporter):
    """The dictionary names the default stream, as if it were the one that was written on."""

    def cai_stream(self) -> int | None:
        """Always 1."""
        return LEGACY


@fault("ordering.handover", "ordering.export-stream", bugs="stream-13")
class ExportsWithoutWaiting(Exporter):
    """``__dlpack__`` makes nobody wait."""

    def order(self, stream: int | None) -> None:
        """Nobody."""


@fault("ordering.handover", "ordering.export-stream", bugs="stream-23")
class WaitsForItsDefaultStream(Exporter):
    """``__dlpack__`` has the consumer wait for the legacy default stream, not for the one that was written on."""

    def order(self, stream: int | None) -> None:
        """For 1."""
        if stream != -1:
            self.memory.streams().wait(LEGACY if stream is None else stream, LEGACY)


@fault("ordering.export-stream", bugs="stream-22")
class NoneMeansNoWait(Exporter):
    """``stream=None`` is taken for -1."""

    def order(self, stream: int | None) -> None:
        """Only for whom names a stream."""
        if stream is not None:
            super().order(stream)


@fault("ordering.export-stream", bugs="stream-17 stream-22")
class PerThreadMeansLegacy(Exporter):
    """``stream=2`` has the legacy default stream wait."""

    def order(self, stream: int | None) -> None:
        """1 for 2: the per-thread stream comes after it, but only what is queued on it before."""
        if stream != 2:
            super().order(stream)


@fault("ordering.export-stream")
class SynchronizesForMinusOne(Exporter):
    """``stream=-1`` still waits for the producer's stream."""

    def order(self, stream: int | None) -> None:
        """Whatever was asked."""
        if stream == -1 and self.writer is not None:
            self.memory.streams().synchronize(self.writer.handle)
        super().order(stream)


@fault("ordering.cost")
class BlocksTheHostInDLPack(Exporter):
    """``__dlpack__`` waits for the producer's stream, which no consumer asked for."""

    def dlpack(self, **asked: Any) -> Any:
        """First of all."""
        if self.writer is not None and asked.get("stream") != -1:
            self.memory.streams().synchronize(self.writer.handle)
        return super().dlpack(**asked)


@fault("ordering.handover")
class WaitsForItsCurrentStream(Exporter):
    """``__dlpack__`` has the consumer wait for what is the producer's current stream by then."""

    def order(self, stream: int | None) -> None:
        """For the one of the caller's block, not of the write."""
        waiter = LEGACY if stream is None else stream
        if self.writer is not None and waiter not in (-1, current()):
            self.memory.streams().wait(waiter, current())


@fault("ordering.way-back")
class HoldsBackTheDefaultStream(Importer):
    """The legacy default stream waits until our read is done, whatever stream the producer has published."""

    def hold_back(self, taken: Imported) -> None:
        """In the wrong place."""
        if taken.back_to is not None:
            self.memory.streams().wait(LEGACY, self.work_stream)
