"""Pieces of work on memory that is given up, written or copied while something else with it is still in flight."""

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
"""Of arrays that are dropped: of a size that nobody else asks for, so that what is free is handed out first."""
TRIES = 6
"""Arrays of the same size that are made to see whether memory is handed out again."""
_AGAIN = 2
_values = count(0x010000)
"""What elements are filled with where memory that was used before could otherwise pass for a copy."""
LAST = 0x003333
"""What the elements are after the consumer's own write."""


class Drops(str, Enum):
    """What is let go of while the consumer's read is pending."""

    ARRAY = "the producer's array"
    BOTH = "the producer's array and the consumer's import"


class Dropped:
    """The consumer reads on its stream; what it reads is dropped; then the producer makes more arrays and writes them.

    All of the producer's arrays are made with its stream current, because many an allocator keeps memory by stream.
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
        """Whether the import is the producer's own memory."""
        self._more: list[Any] = []
        self.handed_out = False
        """Whether an array that was made afterwards lies where the dropped one did."""

    def before(self) -> None:
        """The consumer's own read."""
        self.setting.consumer.copy(self._into, self._first.taken, self._read_on)

    def exchange(self) -> None:
        """What is dropped, and the producer's new arrays."""
        self._first.array = None
        if self._drops is Drops.BOTH:
            self._first.taken = None
        self.handed_out = self.make_more()

    def in_order(self) -> bool:
        """The consumer read what was there when it was handed over."""
        return holds(self.setting.consumer, self._into, NEW, self.setting.device, self.setting.count)

    def told(self) -> str:
        """What the consumer read instead."""
        names = {
            NEW: "the value that was handed over",
            OLD: f"the value of another array of {self.setting.producer.name}",
        }
        into = self.setting.consumer.describe(self._into).address
        data = peek(into, len(elements(0, self.setting.count)), self.setting.device)
        return f"{self.setting.consumer.name} reads {wording.elements(data, names)}"

    def make_more(self) -> bool:
        """Make arrays and queue a write of each, until one lies where the dropped one did; whether one does."""
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
        """Whether the memory is handed out again once nothing is pending and nobody has it any more.

        Some libraries let go of what they have imported only when they import the next time, or when a thread of the driver's
        has told them that their work is done, so that is done first, and more than once.
        """
        self._first.taken = None
        if any(self._handed_out_again() for _ in range(_AGAIN)):
            return True
        collect()  # costs a tenth of a second where large libraries are loaded, so not before it has to
        return any(self._handed_out_again() for _ in range(_AGAIN))

    def _handed_out_again(self) -> bool:
        self.setting.streams.synchronize_device()
        with self.setting.producer.using(self._write_on):
            again = Forward(self.setting)
        again.before()
        again.exchange()
        self.setting.streams.synchronize_device()
        if self.setting.consumer is not self.setting.producer:  # whose own cache is where the memory is to come from
            self.setting.consumer.let_go()
        return self._overlaps(again.array) or self.make_more()


class Overwriting(Forward):
    """The producer still reads or writes the array on its stream when the consumer, on its own, overwrites it."""

    def __init__(self, setting: Setting, pending: str) -> None:
        super().__init__(setting)
        self._reads = pending == "read"
        self._kept = filled(setting.producer, 0, setting.device)

    def before(self) -> None:
        """The producer's own read or write."""
        if self._reads:
            self.setting.producer.copy(self._kept, self.array, self._write_on)
        else:
            super().before()

    def exchange(self) -> None:
        """The import and the consumer's own write."""
        if self.taken is None:
            self._take()
        self.setting.consumer.fill(self.taken, LAST, self._read_on)

    def in_order(self) -> bool:
        """The producer read what was there before; or the consumer's write is the last one."""
        if self._reads:
            return holds(self.setting.producer, self._kept, OLD, self.setting.device)
        return holds(self.setting.producer, self.array, LAST, self.setting.device)

    def told(self) -> str:
        """Which of the two came last in how many elements."""
        producer, consumer = self.setting.producer, self.setting.consumer
        names = {OLD: "the old value", NEW: f"what {producer.name} wrote", LAST: f"what {consumer.name} wrote"}
        array = self._kept if self._reads else self.array
        data = peek(producer.describe(array).address, len(elements(0)), self.setting.device)
        what = f"the pending read of {producer.name} gets" if self._reads else f"the array of {producer.name} ends with"
        return f"{what} {wording.elements(data, names)}"


class ToHost:
    """The producer writes on its stream and exports to the host; what is there when the call returns is looked at.

    ``numpy`` is the adapter whose ``from_dlpack`` asks for it, ``None`` to ask as it does.
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
        """The producer's own write."""
        self.setting.producer.fill(self.array, NEW, self._write_on)

    def exchange(self) -> None:
        """The export, and a look at the elements."""
        with self.setting.producer.using(self._write_on):
            self._seen = self._by_call() if self._numpy is None else self._by_numpy(self._numpy)

    def in_order(self) -> bool:
        """All was there."""
        return self._seen == elements(NEW)

    def told(self) -> str:
        """What was there instead."""
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
    """Which stream is held while a copy is made for a stream that is named."""

    NAMED = "the stream that was named"
    OWN = "the producer's own stream"
    OTHER = "a stream that has no part in it"


class Copying:
    """The producer makes a copy for a stream that is named; then the copy is looked at on another, which nothing holds.

    In order is a copy that is not there yet.
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
        """Nothing is pending but what holds the stream."""

    def exchange(self) -> None:
        """The export, and a look: once the producer's own stream is done, if that is not the one that is held."""
        offer = DLPackOffer(self.setting.producer.exporter(self.array, Protocol.DLPACK))
        with self.setting.producer.using(self._write_on):
            exported = offer.__dlpack__(stream=self._asked, max_version=NEWEST, copy=True)
        self._taken = Importer(self._into.memory, self.reader).take_capsule(exported)
        if self._held is not Held.OWN:
            self.setting.streams.wait(self.reader, self._own)
        self._into.copy(self._taken.address, self.reader)

    def in_order(self) -> bool:
        """The copy was not there yet."""
        return not self._into.holds(self._value)
