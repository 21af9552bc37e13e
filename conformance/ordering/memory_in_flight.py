"""Observed operations on memory that is dropped, overwritten or copied while other work on it is in flight."""

from __future__ import annotations

from enum import Enum
from itertools import count
from typing import Any

from conformance.adapters.base import Adapter, DLPackOffer, Protocol, peek
from conformance.checks.exchange import collect
from conformance.reference.exporter import NEWEST
from conformance.reference.importer import CPU_TYPES, Importer
from conformance.reference.memory import HostMemory

from . import wording
from .handover import KIND, NEW, OLD, TOLD, Forward, Setting, Target, elements, filled, holds, stream_of

DROPPED_ELEMENTS = 1 << 17
"""The size of dropped arrays. No other case uses it, so an allocator gives a free block of this size to the next such array."""
TRIES = 6
"""The number of arrays of this size that are made at most to see whether memory is reused."""
_AGAIN = 2
"""Attempts at the same after the memory is free."""
_values = count(0x010000)
"""Fill values, a new one each time, so that old content of reused memory does not pass for a copy."""
LAST = 0x003333
"""The value of the elements after the consumer's own write."""


class Drops(str, Enum):
    """The objects that are dropped while the consumer's read is pending."""

    ARRAY = "the producer's array"
    BOTH = "the producer's array and the consumer's import"


class Dropped:
    """The consumer reads on its stream, the array is dropped, and the producer makes and writes new arrays.

    All arrays of the producer are made with its stream current, because many allocators keep free blocks by stream.
    """

    def __init__(self, setting: Setting, drops: Drops) -> None:
        setting = setting.but(count=DROPPED_ELEMENTS)
        self.setting = setting
        self.libraries = setting.libraries
        self._drops = drops
        self._write_on = stream_of(setting.producer, "producer", setting.device)
        self._read_on = stream_of(setting.consumer, "consumer", setting.device)
        self.writer = setting.consumer.handle(self._read_on)
        self.reader = setting.producer.handle(self._write_on)
        with setting.producer.using(self._write_on):
            self._first = Forward(setting)
        self._first.before()
        self._first.exchange()
        setting.streams.synchronize_device()
        self._into = filled(setting.consumer, 0, setting.device, setting.count)
        self._address = setting.producer.describe(self._first.array).address
        self.shared = setting.consumer.describe(self._first.taken).address == self._address
        """Whether the import shares the producer's memory."""
        self._more: list[Any] = []
        self.handed_out = False
        """Whether a later array overlaps the memory of the dropped one."""

    def before(self) -> None:
        """Queue the consumer's read."""
        self.setting.consumer.copy(self._into, self._first.taken, self._read_on)

    def exchange(self) -> None:
        """Drop the objects, and make and write new arrays of the producer."""
        self._first.array = None
        if self._drops is Drops.BOTH:
            self._first.taken = None
        self.handed_out = self.make_more()

    def in_order(self) -> bool:
        """Return whether the consumer read the values of the hand-over."""
        return holds(self.setting.consumer, self._into, NEW, self.setting.device, self.setting.count)

    def told(self) -> str:
        """Describe the values that the consumer read instead."""
        names = {
            NEW: "the value that was handed over",
            OLD: f"the value of another array of {self.setting.producer.name}",
        }
        into = self.setting.consumer.describe(self._into).address
        data = peek(into, len(elements(0, self.setting.count)), self.setting.device)
        return f"{self.setting.consumer.name} reads {wording.elements(data, names)}"

    def make_more(self) -> bool:
        """Make arrays and queue a write of each, until one overlaps the dropped one. Return whether one does."""
        with self.setting.producer.using(self._write_on):
            return any(self._make_one() for _ in range(TRIES))

    def _make_one(self) -> bool:
        library = self.setting.producer
        made = library.operand(KIND, (1, self.setting.count, 1), self.setting.device)
        library.fill(made, OLD, self._write_on)
        self._more.append(made)
        return self._overlaps(made)

    def _overlaps(self, array: Any) -> bool:
        return abs(self.setting.producer.describe(array).address - self._address) < 4 * self.setting.count

    def handed_out_when_free(self) -> bool:
        """Return whether the memory is reused once no work is pending and no object holds it.

        Some libraries release an import only at their next import, or after a driver thread reports that their work is done. So this method
        makes another exchange first, and more than once.
        """
        self._first.taken = None
        if any(self._handed_out_again() for _ in range(_AGAIN)):
            return True
        collect()  # takes a tenth of a second where large libraries are loaded, so it comes last
        return any(self._handed_out_again() for _ in range(_AGAIN))

    def _handed_out_again(self) -> bool:
        self.setting.streams.synchronize_device()
        with self.setting.producer.using(self._write_on):
            again = Forward(self.setting)
        again.before()
        again.exchange()
        self.setting.streams.synchronize_device()
        if self.setting.consumer is not self.setting.producer:  # the memory has to come from the producer's cache
            self.setting.consumer.let_go()
        return self._overlaps(again.array) or self.make_more()


class Overwriting(Forward):
    """The consumer overwrites the array on its stream while the producer's read or write is pending on its own stream."""

    def __init__(self, setting: Setting, pending: str) -> None:
        super().__init__(setting)
        self._reads = pending == "read"
        self._kept = filled(setting.producer, 0, setting.device)

    def before(self) -> None:
        """Queue the producer's read or write."""
        if self._reads:
            self.setting.producer.copy(self._kept, self.array, self._write_on)
        else:
            super().before()

    def exchange(self) -> None:
        """Import the array and queue the consumer's write."""
        if self.taken is None:
            self._take()
        self.setting.consumer.fill(self.taken, LAST, self._read_on)

    def in_order(self) -> bool:
        """Return whether the producer read the old values, or whether the consumer's write came last."""
        if self._reads:
            return holds(self.setting.producer, self._kept, OLD, self.setting.device)
        return holds(self.setting.producer, self.array, LAST, self.setting.device)

    def told(self) -> str:
        """Describe which of the two operations came last, and in how many elements."""
        producer, consumer = self.setting.producer, self.setting.consumer
        names = {OLD: "the old value", NEW: f"the value of {producer.name}", LAST: f"the value of {consumer.name}"}
        array = self._kept if self._reads else self.array
        data = peek(producer.describe(array).address, len(elements(0)), self.setting.device)
        what = f"the pending read of {producer.name} gets" if self._reads else f"the array of {producer.name} ends with"
        return f"{what} {wording.elements(data, names)}"


class ToHost:
    """The producer writes on its stream and exports to the host. The elements are read as soon as the call returns.

    ``numpy`` is the adapter whose ``from_dlpack`` makes the request. With ``None``, the suite makes the same request itself.
    """

    def __init__(self, setting: Setting, keywords: dict[str, Any], numpy: Adapter | None) -> None:
        self.setting = setting
        self.libraries = setting.libraries
        self._keywords = keywords
        self._numpy = numpy
        self._write_on = stream_of(setting.producer, "producer", setting.device)
        self.writer = self.reader = setting.producer.handle(self._write_on)
        self.array = filled(setting.producer, OLD, setting.device)
        self.offer = DLPackOffer(setting.producer.exporter(self.array, Protocol.DLPACK))
        self._seen = b""

    def before(self) -> None:
        """Queue the producer's write."""
        self.setting.producer.fill(self.array, NEW, self._write_on)

    def exchange(self) -> None:
        """Export to the host and read the elements."""
        with self.setting.producer.using(self._write_on):
            self._seen = self._by_call() if self._numpy is None else self._by_numpy(self._numpy)

    def in_order(self) -> bool:
        """Return whether all elements had the new value."""
        return self._seen == elements(NEW)

    def told(self) -> str:
        """Describe the values that were there instead."""
        return f"the copy on the host has {wording.elements(self._seen, TOLD)}"

    def _by_call(self) -> bytes:
        asked = {"stream": None, "max_version": NEWEST, "dl_device": (1, 0), **self._keywords}
        memory = HostMemory()
        taken = Importer(memory).take_capsule(self.offer.__dlpack__(**asked))
        if taken.device[0] not in CPU_TYPES:
            raise BufferError(f"exported to {taken.device}")
        return memory.read(taken.address, len(elements(NEW)))

    def _by_numpy(self, numpy: Adapter) -> bytes:
        array = numpy.module().from_dlpack(self.offer, device="cpu", **self._keywords)
        return bytes(array.tobytes())


class Held(str, Enum):
    """The stream that is held while a producer copies for a named stream."""

    NAMED = "the stream that was named"
    OWN = "the producer's own stream"
    OTHER = "a stream that has no part in it"


class Copying:
    """The producer copies for a named stream. Another stream, which nothing holds, then reads the copy.

    The result is in order if the copy does not exist yet, because the named stream is held.
    """

    def __init__(self, setting: Setting, held: Held) -> None:
        self.setting = setting
        self.libraries = setting.libraries
        self._held = held
        self._value = next(_values)
        self._write_on = stream_of(setting.producer, "producer", setting.device)
        self._own = setting.producer.handle(self._write_on)
        named = setting.consumer.handle(stream_of(setting.consumer, "consumer", setting.device))
        self.reader = setting.consumer.handle(stream_of(setting.consumer, "elsewhere", setting.device))
        self.writer = self._own if held is Held.OWN else named
        self._asked = self.reader if held is Held.OTHER else named
        self.array = filled(setting.producer, 0, setting.device)
        setting.producer.fill(self.array, self._value, self._write_on)
        setting.streams.synchronize_device()
        self._into = Target(setting.device)

    def before(self) -> None:
        """Queue nothing: the latch alone holds the stream."""

    def exchange(self) -> None:
        """Export and read the copy, after the producer's own stream unless that one is held."""
        offer = DLPackOffer(self.setting.producer.exporter(self.array, Protocol.DLPACK))
        with self.setting.producer.using(self._write_on):
            exported = offer.__dlpack__(stream=self._asked, max_version=NEWEST, copy=True)
        self._taken = Importer(self._into.memory, self.reader).take_capsule(exported)
        if self._held is not Held.OWN:
            self.setting.streams.wait(self.reader, self._own)
        self._into.copy(self._taken.address, self.reader)

    def in_order(self) -> bool:
        """Return whether the copy did not exist yet."""
        return not self._into.holds(self._value)
