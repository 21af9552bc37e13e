"""Faults of order: waits that are missing, on the wrong stream, or broader than necessary."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.streams import LEGACY, current

from . import fault


@fault("ordering.handover", bugs="stream-26")
class IgnoresThePublishedStream(Importer):
    """Does not wait for the published stream."""

    def follow(self, published: int | None) -> None:
        """Skip the wait."""


@fault("ordering.handover", bugs="stream-24")
class WaitsOnAnotherStream(Importer):
    """Makes the default stream wait for the published stream, whatever stream works on the import."""

    def follow(self, published: int | None) -> None:
        if published is not None:
            self.memory.streams().wait(LEGACY, published)


@fault("ordering.handover", bugs="stream-12")
class WaitsForTheLegacyStreamOnly(Importer):
    """Waits for the legacy default stream, whatever stream is published."""

    def follow(self, published: int | None) -> None:
        super().follow(LEGACY)


@fault("ordering.handover", bugs="stream-08 stream-20")
class PassesAnotherStream(Importer):
    """Requests the legacy default stream and works on another stream."""

    def stream(self) -> int | None:
        return LEGACY


@fault("ordering.handover")
class KernelsIgnoreThePublishedStream(Importer):
    """Ignores the published stream for a kernel argument."""

    def take_argument(self, source: Any) -> Imported:
        described = {k: v for k, v in source.__cuda_array_interface__.items() if k != "stream"}
        taken = self.take_cai(SimpleNamespace(__cuda_array_interface__=described))
        taken.holder = source
        return taken


@fault("ordering.handover")
class KernelsFollowOnTheDefaultStream(Importer):
    """Makes the default stream wait for a kernel argument's published stream, whatever stream the kernel is launched on."""

    def take_argument(self, source: Any) -> Imported:
        launched_on, self.work_stream = self.work_stream, LEGACY
        try:
            return self.take_cai(source)
        finally:
            self.work_stream = launched_on


@fault("ordering.cost", bugs="perf-01")
class BlocksTheHost(Importer):
    """Blocks the host until the published stream is done."""

    def follow(self, published: int | None) -> None:
        if published is not None:
            self.memory.streams().synchronize(published)


@fault("ordering.cost")
class WaitsForTheDevice(Importer):
    """Blocks the host until the whole device is done."""

    def follow(self, published: int | None) -> None:
        if published is not None:
            self.memory.streams().synchronize_device()


@fault("ordering.way-back")
class ForgetsTheWayBack(Importer):
    """Does not make the producer's next work wait for its own read."""

    def hold_back(self, taken: Imported) -> None:
        """Skip the wait."""


@fault("ordering.handover", bugs="stream-07 stream-10")
class PublishesNoStream(Exporter):
    """Publishes no stream although work is pending."""

    def cai_stream(self) -> int | None:
        return None


@fault("ordering.handover", bugs="stream-02")
class PublishesTheDefaultStream(Exporter):
    """Publishes the default stream in place of the writer's stream."""

    def cai_stream(self) -> int | None:
        return LEGACY


@fault("ordering.handover", "ordering.export-stream", bugs="stream-13")
class ExportsWithoutWaiting(Exporter):
    """Adds no wait in ``__dlpack__``."""

    def order(self, stream: int | None) -> None:
        """Skip the wait."""


@fault("ordering.handover", "ordering.export-stream", bugs="stream-23")
class WaitsForItsDefaultStream(Exporter):
    """Makes the consumer's stream wait for the legacy default stream in place of the writer's stream."""

    def order(self, stream: int | None) -> None:
        if stream != -1:
            self.memory.streams().wait(LEGACY if stream is None else stream, LEGACY)


@fault("ordering.export-stream", bugs="stream-22")
class NoneMeansNoWait(Exporter):
    """Treats ``stream=None`` like -1."""

    def order(self, stream: int | None) -> None:
        if stream is not None:
            super().order(stream)


@fault("ordering.export-stream", bugs="stream-17 stream-22")
class PerThreadMeansLegacy(Exporter):
    """Does not make the per-thread default stream wait for ``stream=2``."""

    def order(self, stream: int | None) -> None:
        if stream != 2:
            super().order(stream)


@fault("ordering.export-stream")
class SynchronizesForMinusOne(Exporter):
    """Synchronizes the producer's stream on the host for ``stream=-1``."""

    def order(self, stream: int | None) -> None:
        if stream == -1 and self.writer is not None:
            self.memory.streams().synchronize(self.writer.handle)
        super().order(stream)


@fault("ordering.cost")
class BlocksTheHostInDLPack(Exporter):
    """Synchronizes the producer's stream on the host in ``__dlpack__``."""

    def dlpack(self, **asked: Any) -> Any:
        if self.writer is not None and asked.get("stream") != -1:
            self.memory.streams().synchronize(self.writer.handle)
        return super().dlpack(**asked)


@fault("ordering.handover")
class WaitsForItsCurrentStream(Exporter):
    """Makes the consumer's stream wait for the producer's current stream in place of the writer's stream."""

    def order(self, stream: int | None) -> None:
        waiter = LEGACY if stream is None else stream
        if self.writer is not None and waiter not in (-1, current()):
            self.memory.streams().wait(waiter, current())


@fault("ordering.way-back")
class HoldsBackTheDefaultStream(Importer):
    """Makes the legacy default stream wait for its read in place of the published stream."""

    def hold_back(self, taken: Imported) -> None:
        if taken.back_to is not None:
            self.memory.streams().wait(LEGACY, self.work_stream)
