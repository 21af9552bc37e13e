"""Faults of crossing: one wait for two streams, streams that are looked up in the wrong thread."""

from __future__ import annotations

import threading
from typing import ClassVar

from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.streams import LEGACY, PER_THREAD, WorkStream

from . import fault


@fault("crossing.two-streams", bugs="stream-26")
class RemembersOneStream(Importer):
    """What a published stream has to be waited for is kept in one place until the first use: the newest takes the older's."""

    newest: ClassVar[int | None] = None

    def follow(self, published: int | None) -> None:
        """Later."""
        type(self).newest = published

    def copy(self, into: int, taken: Imported) -> None:
        """Now."""
        super().follow(self.newest)
        super().copy(into, taken)


@fault("crossing.two-streams")
class OneEventForAll(Exporter):
    """All arrays share one event: consumers wait for the stream that was written on last, whatever array was written there."""

    latest: ClassVar[WorkStream | None] = None

    def fill(self, value: int, stream: WorkStream) -> None:
        """The event is recorded anew."""
        super().fill(value, stream)
        type(self).latest = stream

    def order(self, stream: int | None) -> None:
        """The event's stream."""
        if self.latest is not None and stream != -1:
            self.memory.streams().wait(LEGACY if stream is None else stream, self.latest.handle)


@fault("crossing.threads")
class WaitsInItsHomeThread(Importer):
    """Streams are waited for in the thread in which this was imported as a module; in others nothing is."""

    home: ClassVar[int] = threading.get_ident()

    def follow(self, published: int | None) -> None:
        """At home."""
        if threading.get_ident() == self.home:
            super().follow(published)


@fault("crossing.threads", "crossing.per-thread-named")
class ForgetsWhatItsThreadWrote(Exporter):
    """A capsule is ordered with whatever the exporting thread has current, which is the default stream."""

    def order(self, stream: int | None) -> None:
        """1, where nothing was written."""
        if stream not in (None, -1, LEGACY):
            self.memory.streams().wait(stream, LEGACY)


@fault("crossing.per-thread-published", bugs="stream-08")
class TakesPerThreadForLegacy(Importer):
    """2 is no stream that has to be waited for."""

    def follow(self, published: int | None) -> None:
        """Nobody, for 2."""
        if published != PER_THREAD:
            super().follow(published)


@fault("crossing.per-thread-published")
class WaitsOnItsOwnDefaultStream(Importer):
    """Where a default stream is published the importer's default stream waits for it, not the one that it works on."""

    def follow(self, published: int | None) -> None:
        """By the wrong stream, for 1 and 2."""
        if published in (LEGACY, PER_THREAD):
            self.memory.streams().wait(LEGACY, PER_THREAD)
        else:
            super().follow(published)


@fault("crossing.per-thread-named")
class WaitsTheWrongWayRound(Exporter):
    """For ``stream=2`` the stream that was written on waits for that one, instead of that one for it."""

    def order(self, stream: int | None) -> None:
        """Waiter and other exchanged."""
        if stream == PER_THREAD and self.writer is not None:
            self.memory.streams().wait(self.writer.handle, stream)
        else:
            super().order(stream)


@fault("crossing.per-thread-named", bugs="stream-17 stream-22")
class IgnoresPerThread(Exporter):
    """``stream=2`` makes nobody wait."""

    def order(self, stream: int | None) -> None:
        """Nobody, for 2."""
        if stream != PER_THREAD:
            super().order(stream)
