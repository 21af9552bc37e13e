"""Observed operations on two streams at once, and exchanges across two threads."""

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
"""The roles of the two streams that the producer writes on."""


class _Half(Forward):
    """One of two arrays that the same consumer imports."""

    def take(self) -> None:
        """Import the array without reading it."""
        if self.taken is None:
            self._take()

    def read(self) -> None:
        """Queue the consumer's read of the import."""
        self.setting.consumer.copy(self.into, self.taken, self._read_on)


class Joined:
    """The producer writes two arrays on two streams. The consumer imports both, then reads both on one stream.

    A latch holds the first or the second writing stream. The work on the other one is done at once.
    """

    def __init__(self, setting: Setting, held: int) -> None:
        self.libraries = setting.libraries
        self._halves = tuple(_Half(setting, role) for role in ROLES)
        self.writer = self._halves[held].writer
        self.reader = self._halves[0].reader

    def before(self) -> None:
        """Queue both writes of the producer."""
        for half in self._halves:
            half.before()

    def exchange(self) -> None:
        """Import both arrays, then queue both reads."""
        for half in self._halves:
            half.take()
        for half in self._halves:
            half.read()

    def in_order(self) -> bool:
        """Return whether the consumer read the new values in both arrays."""
        return all(half.in_order() for half in self._halves)

    def told(self) -> str:
        """Describe the values that the consumer read from each array that it read too early."""
        numbered = zip(("first", "second"), self._halves)
        return "; ".join(f"of the {number} array {half.told()}" for number, half in numbered if not half.in_order())


class Capsule:
    """Offer a capsule that was exported earlier, for the stream that was named then."""

    def __init__(self, capsule: Any, device: tuple[int, int]) -> None:
        self._capsule = capsule
        self._device = device

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device


class FromAnotherThread(Forward):
    """The producer writes and exports in one thread. The consumer imports and reads in a new thread.

    The capsule is exported for the consumer's stream, which a program has to do before it passes a capsule to another thread.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._beside = Beside()

    def exchange(self) -> None:
        """Export in this thread; import and queue the consumer's read in the other one."""
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
    """The reference writes on the default stream of its thread and publishes it as 2. In another thread, 2 means another stream."""

    def __init__(self, setting: Setting, *, same_thread: bool) -> None:
        super().__init__(setting)
        self._write_on = stream_of(setting.producer, "per-thread", setting.device)
        self.writer = PER_THREAD
        self._same_thread = same_thread

    def exchange(self) -> None:
        """Import and queue the consumer's read, in the other thread or in this one."""
        if not self._same_thread:
            super().exchange()
            return
        self._import_and_read(self._exported() if self.taken is None else None)


class PerThreadNamed:
    """In another thread, the producer exports for that thread's default stream, and the reference reads on it.

    The per-thread default stream is only known inside its thread, so a stream that can be observed from here waits for it.
    A control passes another stream than 2 as ``asked``.
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
        """Queue the producer's write."""
        self.setting.producer.fill(self.array, NEW, self._write_on)

    def exchange(self) -> None:
        """Export and read in the other thread."""
        self._beside.run(self._export_and_read)

    def in_order(self) -> bool:
        """Return whether the reference read the new values."""
        return self._into.holds(NEW)

    def told(self) -> str:
        """Describe the values that the reference read instead."""
        return f"on that thread's default stream the reference reads {self._into.found()}"

    def _export_and_read(self) -> None:
        offer = DLPackOffer(self.setting.producer.exporter(self.array, Protocol.DLPACK))
        with self.setting.producer.using(self._write_on):
            exported = offer.__dlpack__(stream=self._asked)
        self._taken = Importer(self._into.memory, PER_THREAD).take_capsule(exported)
        self._into.copy(self._taken.address, PER_THREAD)
        self.setting.streams.wait(self.reader, PER_THREAD)
