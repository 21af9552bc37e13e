"""Pieces of work that cross streams in one place, or threads on their way."""

from __future__ import annotations

from typing import Any

from conformance.adapters.base import DLPackOffer, Protocol
from conformance.checks.base_exceptions import text_of
from conformance.checks.concurrency import Beside
from conformance.reference.exporter import NEWEST
from conformance.reference.importer import Importer
from conformance.reference.streams import PER_THREAD

from .handover import NEW, Forward, Recorded, Setting, Target, Without, filled, stream_of

ROLES = ("producer", "elsewhere")
"""Of the two streams that are written on."""


class _Half(Forward):
    """One of two arrays for the same consumer."""

    def take(self) -> None:
        """The import alone."""
        if self.taken is None:
            self._take()

    def read(self) -> None:
        """The consumer's own read alone."""
        self.setting.consumer.copy(self.into, self.taken, self._read_on)


class Joined:
    """Two arrays are written on two streams; the consumer takes both, then reads both on one stream.

    The first or the second of the writing streams is held; the other one has nothing to wait for.
    """

    def __init__(self, setting: Setting, held: int) -> None:
        self.libraries = setting.libraries
        self._halves = tuple(_Half(setting, role) for role in ROLES)
        self.writer = self._halves[held].writer
        self.reader = self._halves[0].reader

    def before(self) -> None:
        """Both of the producer's own writes."""
        for half in self._halves:
            half.before()

    def exchange(self) -> None:
        """Both imports, then both reads."""
        for half in self._halves:
            half.take()
        for half in self._halves:
            half.read()

    def in_order(self) -> bool:
        """The consumer read what was written, in either array."""
        return all(half.in_order() for half in self._halves)

    def told(self) -> str:
        """What the consumer read instead, of each array that it read too early."""
        numbered = zip(("first", "second"), self._halves)
        return "; ".join(f"of the {number} array {half.told()}" for number, half in numbered if not half.in_order())


class Capsule:
    """Offers a capsule that was made before, for a stream that was named then."""

    def __init__(self, capsule: Any, device: tuple[int, int]) -> None:
        self._capsule = capsule
        self._device = device

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device


class FromAnotherThread(Forward):
    """The producer exports in the thread in which it writes; the consumer imports and reads in one that has done nothing yet.

    A capsule is made for the consumer's stream, as whoever passes it between threads has to.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._beside = Beside()

    def exchange(self) -> None:
        """The export here, the import and the consumer's own read there."""
        exported = self._exported() if self.taken is None else None
        self._beside.run(lambda: self._import_and_read(exported))

    def _exported(self) -> Any:
        with self.setting.producer.using(self._write_on):
            return self._capsule() if self.setting.protocol is Protocol.DLPACK else self._dictionary()

    def _dictionary(self) -> Any:
        exporter = self.setting.producer.exporter(self.array, Protocol.CAI)
        if self.setting.without is None:
            return Recorded(self.setting.producer.offer(self.array, Protocol.CAI))
        return Recorded(self.setting.without_stream(exporter))

    def _capsule(self) -> Capsule:
        offer = DLPackOffer(self.setting.producer.exporter(self.array, Protocol.DLPACK))
        stream = -1 if self.setting.without is Without.MINUS_ONE else self.reader
        try:
            made = offer.__dlpack__(stream=stream, max_version=NEWEST)
        except TypeError as error:
            if "keyword" not in text_of(error):
                raise
            made = offer.__dlpack__(stream=stream)
        return Capsule(made, offer.__dlpack_device__())

    def _import_and_read(self, exported: Any) -> None:
        consumer = self.setting.consumer
        with consumer.using(self._read_on):
            if exported is not None:
                self.taken = consumer.take_operand(exported, self.setting.protocol, self.setting.device)
            consumer.copy(self.into, self.taken, self._read_on)


class PerThreadPublished(FromAnotherThread):
    """The reference writes on its thread's own default stream and publishes it as 2, which is another stream elsewhere."""

    def __init__(self, setting: Setting, *, same_thread: bool) -> None:
        super().__init__(setting)
        self._write_on = stream_of(setting.producer, "per-thread", setting.device)
        self.writer = PER_THREAD
        self._same_thread = same_thread

    def exchange(self) -> None:
        """The import and the consumer's own read, there or here."""
        if not self._same_thread:
            super().exchange()
            return
        self._import_and_read(self._exported() if self.taken is None else None)


class PerThreadNamed:
    """In another thread an array is exported for that thread's own default stream, and read on it by the reference.

    A stream that everybody can look at waits for that one. ``asked`` is named in the place of 2.
    """

    def __init__(self, setting: Setting, *, asked: int = PER_THREAD) -> None:
        self.setting = setting
        self.libraries = setting.libraries
        self._asked = asked
        self._beside = Beside()
        self._write_on = stream_of(setting.producer, "producer", setting.device)
        self.writer = setting.producer.handle(self._write_on)
        self.reader = setting.consumer.handle(stream_of(setting.consumer, "consumer", setting.device))
        self.array = filled(setting.producer, 0, setting.device)
        self._into = Target(setting.device)

    def before(self) -> None:
        """The producer's own write."""
        self.setting.producer.fill(self.array, NEW, self._write_on)

    def exchange(self) -> None:
        """Export and read, all in the other thread."""
        self._beside.run(self._export_and_read)

    def in_order(self) -> bool:
        """The reference read what was written."""
        return self._into.holds(NEW)

    def told(self) -> str:
        """What the reference read instead."""
        return f"on that thread's default stream the reference reads {self._into.found()}"

    def _export_and_read(self) -> None:
        offer = DLPackOffer(self.setting.producer.exporter(self.array, Protocol.DLPACK))
        with self.setting.producer.using(self._write_on):
            exported = offer.__dlpack__(stream=self._asked)
        self._taken = Importer(self._into.memory, PER_THREAD).take_capsule(exported)
        self._into.copy(self._taken.address, PER_THREAD)
        self.setting.streams.wait(self.reader, PER_THREAD)
