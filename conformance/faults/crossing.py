"""Faults of exchanges in two directions: one wait serves two streams, or a stream is looked up in the wrong thread."""

from __future__ import annotations

import threading
from typing import ClassVar

from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.streams import LEGACY, PER_THREAD, WorkStream

from . import fault


@fault("crossing.two-streams", bugs="stream-26")
class RemembersOneStream(Importer):
    """Stores the published stream of an import in one variable until first use, so that a second import overwrites the first one's
    stream.
    """

    newest: ClassVar[int | None] = None

    def follow(self, published: int | None) -> None:
        type(self).newest = published

    def copy(self, into: int, taken: Imported) -> None:
        super().follow(self.newest)
        super().copy(into, taken)


@fault("crossing.two-streams")
class OneEventForAll(Exporter):
    """Shares one event among all arrays, so that consumers wait only for the stream that was written to last."""

    latest: ClassVar[WorkStream | None] = None

    def fill(self, value: int, stream: WorkStream) -> None:
        super().fill(value, stream)
        type(self).latest = stream

    def order(self, stream: int | None) -> None:
        if self.latest is not None and stream != -1:
            self.memory.streams().wait(LEGACY if stream is None else stream, self.latest.handle)


@fault("crossing.threads")
class WaitsInItsHomeThread(Importer):
    """Waits for published streams only in the thread that imported this module."""

    home: ClassVar[int] = threading.get_ident()

    def follow(self, published: int | None) -> None:
        if threading.get_ident() == self.home:
            super().follow(published)


@fault("crossing.threads", "crossing.per-thread-named")
class ForgetsWhatItsThreadWrote(Exporter):
    """Orders a capsule after the default stream, which is the exporting thread's current stream, and not after the stream that wrote
    the array.
    """

    def order(self, stream: int | None) -> None:
        if stream not in (None, -1, LEGACY):
            self.memory.streams().wait(stream, LEGACY)


@fault("crossing.per-thread-published", bugs="stream-08")
class TakesPerThreadForLegacy(Importer):
    """Does not wait for the published stream 2 (the per-thread default stream)."""

    def follow(self, published: int | None) -> None:
        if published != PER_THREAD:
            super().follow(published)


@fault("crossing.per-thread-published")
class WaitsOnItsOwnDefaultStream(Importer):
    """Makes its own default stream wait for a published default stream, and not the stream that it works on."""

    def follow(self, published: int | None) -> None:
        if published in (LEGACY, PER_THREAD):
            self.memory.streams().wait(LEGACY, PER_THREAD)
        else:
            super().follow(published)


@fault("crossing.per-thread-named")
class WaitsTheWrongWayRound(Exporter):
    """Swaps both sides of the wait for ``stream=2``: the producer's stream waits for the consumer's stream."""

    def order(self, stream: int | None) -> None:
        if stream == PER_THREAD and self.writer is not None:
            self.memory.streams().wait(self.writer.handle, stream)
        else:
            super().order(stream)


@fault("crossing.per-thread-named", bugs="stream-17 stream-22")
class IgnoresPerThread(Exporter):
    """Adds no wait for ``stream=2``."""

    def order(self, stream: int | None) -> None:
        if stream != PER_THREAD:
            super().order(stream)
