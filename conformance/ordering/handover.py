"""Handing an array over between two streams: the pieces of work that the ordering checks observe."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from conformance.adapters.base import Adapter, CAIOffer, Device, DLPackOffer, Offer, Protocol, Trait, peek, poke
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.libraries import Library, Pair
from conformance.protocols.dtypes import DType, dtype
from conformance.reference.importer import Importer
from conformance.reference.streams import LEGACY, PER_THREAD, Streams, WorkStream

from . import wording
from .histories import History, Maker, with_past

REFERENCE = ReferenceAdapter()
"""Flawless, whatever stands in the reference's place in a case."""
SHAPE = (1, 256, 1)
KIND = dtype("int32")
OLD, NEW = 0x00AAAA, 0x005555
"""What the elements are before and after the producer's pending write: below 2**24, which every operation keeps exactly."""
TOLD = {OLD: "the old value", NEW: "the new value", 0: "zero"}
"""What a report calls them."""


class How(str, Enum):
    """Where the producer stands when it is asked for its array."""

    INSIDE = "inside"
    """The stream that it wrote on is its current one."""
    OUTSIDE = "outside"
    """Its current stream is another, as it is after a ``with`` block."""


class Call(str, Enum):
    """By what a consumer gets at the array."""

    IMPORT = "import"
    """It makes an array of its own of it, by its documented call or as its users do."""
    KERNEL = "kernel"
    """One of its kernels is given the object itself, and reads the array interface when it is launched."""


class Without(str, Enum):
    """How the wait is taken out of an exchange, for a control."""

    MINUS_ONE = "stream=-1"
    NO_STREAM = "a dictionary without stream"
    OPT_OUT = "the consumer's documented opt-out"
    ALIAS = "an import from before the write"


S = TypeVar("S", bound="Setting")


@dataclass(frozen=True)
class Setting:
    """Who hands over to whom, and how.

    ``reader`` says on which stream the consumer works: ``stream`` for one of its own, or a role of :func:`stream_of`. ``call`` says by
    what it gets at the array.
    """

    producer: Adapter
    consumer: Adapter
    protocol: Protocol
    device: Device
    how: How = How.INSIDE
    reader: str = "stream"
    without: Without | None = None
    call: Call = Call.IMPORT
    count: int = SHAPE[1]
    """How many elements the arrays have."""
    history: History = History.FRESH
    """The past of the producer's array. A new one is new only if its library was made to let go of older ones before."""

    @property
    def streams(self) -> Streams:
        """The streams of the device."""
        return REFERENCE.memory(self.device).streams()

    @property
    def libraries(self) -> tuple[Adapter, ...]:
        """Both sides."""
        return self.producer, self.consumer

    def without_stream(self, exporter: Any) -> CAIWithout:
        """The dictionary that a control shows: without its stream, or with the consumer's opt-out in its place."""
        return CAIWithout(exporter, self.consumer.opt_out if self.without is Without.OPT_OUT else None)

    def but(self: S, **changes: Any) -> S:
        """The same with something changed."""
        return replace(self, **changes)


def takes_arguments(pair: Pair) -> bool:
    """Whether the consumer has kernels that take the array interface; the reference shows only that a fault of it would be seen."""
    own = pair.consumer.name != REFERENCE.name or pair.producer.name == REFERENCE.name
    return own and pair.consumer.has(Trait.KERNEL_ARGUMENTS)


def can_be_inside(producer: Library | Adapter, consumer: Library | Adapter, protocol: Protocol) -> bool:
    """A library without a current stream cannot be inside one; neither can two that are the same library, by DLPack."""
    same = producer.name == consumer.name and protocol is Protocol.DLPACK
    return Trait.CURRENT_STREAM in producer.traits and not same


def hows(pair: Pair) -> tuple[str, ...]:
    """Where a producer can stand, as values of a parameter, inside first."""
    inside = can_be_inside(pair.producer, pair.consumer, pair.protocol)
    return (How.INSIDE.value, How.OUTSIDE.value) if inside else (How.OUTSIDE.value,)


def first_how(pair: Pair) -> tuple[str, ...]:
    """Inside where the producer can be."""
    return hows(pair)[:1]


@cache
def stream_of(library: Adapter, role: str, device: Device) -> Any:
    """A stream of the library's own, made once: few streams keep clear of each other on the device.

    ``per-thread`` is its object for that default stream, ``foreign`` its object for a stream of ours.
    """
    if role == "default":
        return library.default_stream(device)
    if role == "per-thread":
        return library.per_thread_stream(device)
    if role == "foreign":
        return library.foreign_stream(somebody_elses(device).handle, device)
    return library.stream(device)


@cache
def somebody_elses(device: Device) -> WorkStream:
    """A stream of ours, for libraries to work on as one that they have not made."""
    return REFERENCE.stream(device)


class DLPackWithoutWait(DLPackOffer):
    """Asks the producer not to synchronise, whatever the consumer asked for (DLP-32)."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__dlpack__(*args, **{**kwargs, "stream": -1})


class CAIWithout(CAIOffer):
    """Shows the dictionary without its stream, or with another one."""

    def __init__(self, source: Any, stream: int | None) -> None:
        super().__init__(source)
        self._stream = stream

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        described = {k: v for k, v in super().__cuda_array_interface__.items() if k != "stream"}
        return described if self._stream is None else {**described, "version": 3, "stream": self._stream}


class Recorded:
    """Shows a dictionary as it was when it was read."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self.__cuda_array_interface__ = offer.__cuda_array_interface__  # type: ignore[union-attr]


class Forward:
    """The producer writes on its stream, the one of this role, the array is handed over, the consumer reads on its own."""

    def __init__(self, setting: Setting, role: str = "producer") -> None:
        self.setting = setting
        self.libraries = setting.libraries
        self._write_on = stream_of(setting.producer, role, setting.device)
        self._read_on = stream_of(setting.consumer, _role(setting.reader), setting.device)
        self.writer = setting.producer.handle(self._write_on)
        self.reader = setting.consumer.handle(self._read_on)
        self.array = offered(setting)
        self.into = filled(setting.consumer, 0, setting.device, setting.count)
        self.taken: Any = None
        if setting.without is Without.ALIAS:
            self._take()

    def before(self) -> None:
        """The producer's own write."""
        self.setting.producer.fill(self.array, NEW, self._write_on)

    def exchange(self) -> None:
        """The import and the consumer's own read."""
        if self.setting.without is not Without.ALIAS:
            self._take()
        self.setting.consumer.copy(self.into, self.taken, self._read_on)

    def in_order(self) -> bool:
        """The consumer read what the producer wrote."""
        return holds(self.setting.consumer, self.into, NEW, self.setting.device, self.setting.count)

    def told(self) -> str:
        """What the consumer read instead."""
        name = self.setting.consumer.name
        return f"{name} reads {found(self.setting.consumer, self.into, self.setting.device, self.setting.count)}"

    def _take(self) -> None:
        offer = self.offer()
        with ExitStack() as current:
            if self.setting.how is How.INSIDE and self.setting.producer is not self.setting.consumer:
                current.enter_context(self.setting.producer.using(self._write_on))
            current.enter_context(self.setting.consumer.using(self._read_on))
            self.taken = self._taken_from(offer)

    def _taken_from(self, offer: Any) -> Any:
        consumer, device = self.setting.consumer, self.setting.device
        if self.setting.call is Call.KERNEL:
            return consumer.take_argument(offer, device)
        return consumer.take_operand(offer, self.setting.protocol, device)

    def offer(self) -> Any:
        """The array as the consumer gets to see it."""
        producer, without = self.setting.producer, self.setting.without
        if self.setting.protocol is Protocol.DLPACK:
            exporter = producer.exporter(self.array, Protocol.DLPACK)
            return DLPackWithoutWait(exporter) if without is Without.MINUS_ONE else DLPackOffer(exporter)
        if without in (Without.NO_STREAM, Without.OPT_OUT):
            return self.setting.without_stream(producer.exporter(self.array, Protocol.CAI))
        if self.setting.how is How.OUTSIDE:
            return producer.offer(self.array, Protocol.CAI)
        with producer.using(self._write_on):
            return Recorded(producer.offer(self.array, Protocol.CAI))


class DefaultWaits(Forward):
    """What becomes of the default stream when the array is handed over: it has no part in it."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.reader = LEGACY

    def in_order(self) -> bool:
        """Nothing is read on it."""
        return True


class WaitsForDefault(Forward):
    """Whether the consumer's stream waits for work that is pending on the default stream, where the array was not written."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.writer = LEGACY


class Target:
    """A block of ours, all zeros, that the elements of an operand are copied into."""

    def __init__(self, device: Device) -> None:
        self.memory = REFERENCE.memory(device)
        self._nbytes = len(elements(0))
        self._block = self.memory.allocate(self._nbytes)
        self.memory.write(self._block.address, elements(0))

    def copy(self, source: int, stream: int) -> None:
        """Queue a copy of what is at this address."""
        self.memory.streams().copy(self._block.address, source, self._nbytes, stream)

    def holds(self, value: int) -> bool:
        """Whether every element is ``value``, once all is done."""
        return self.memory.read(self._block.address, self._nbytes) == elements(value)

    def found(self) -> str:
        """Which values the elements have, in words."""
        return wording.elements(self.memory.read(self._block.address, self._nbytes), TOLD)


class Export:
    """The producer writes on its stream and exports for a stream that it is told; the reference reads on that one.

    ``name`` is that of the stream; ``asked`` is told in its place.
    """

    def __init__(self, setting: Setting, name: str, *, asked: int | None = None) -> None:
        self.setting = setting
        self.libraries = setting.libraries
        own = stream_of(setting.consumer, "consumer", setting.device)
        self._write_on = stream_of(setting.producer, "producer", setting.device)
        self.writer = setting.producer.handle(self._write_on)
        self.reader = {"legacy": LEGACY, "none": LEGACY, "per-thread": PER_THREAD}.get(
            name, setting.consumer.handle(own)
        )
        named = {"none": None, "minus-one": -1}.get(name, self.reader)
        self._asked = named if asked is None else asked
        self.array = offered(setting)
        self._into = Target(setting.device)

    def before(self) -> None:
        """The producer's own write."""
        self.setting.producer.fill(self.array, NEW, self._write_on)

    def exchange(self) -> None:
        """The export, and a read of the reference's."""
        offer = DLPackOffer(self.setting.producer.exporter(self.array, Protocol.DLPACK))
        with self.setting.producer.using(self._write_on):
            exported = offer.__dlpack__(stream=self._asked)
        self._taken = Importer(self._into.memory, self.reader).take_capsule(exported)
        self._into.copy(self._taken.address, self.reader)

    def in_order(self) -> bool:
        """The reference read what the producer wrote."""
        return self._into.holds(NEW)

    def told(self) -> str:
        """What the reference read instead."""
        return f"on {wording.stream(self.reader)} the reference reads {self._into.found()}"


class Backward:
    """The consumer reads on its stream what it took before; then the producer writes again on its own.

    With ``elsewhere`` it writes on a stream that the exchange never heard of: nobody can hold that back.
    """

    def __init__(self, setting: Setting, *, elsewhere: bool = False) -> None:
        self.setting = setting
        self.libraries = setting.libraries
        role = "elsewhere" if elsewhere else "producer"
        self._published_on = stream_of(setting.producer, "producer", setting.device)
        self._write_on = stream_of(setting.producer, role, setting.device)
        self._read_on = stream_of(setting.consumer, _role(setting.reader), setting.device)
        self.writer = setting.consumer.handle(self._read_on)
        self.reader = setting.producer.handle(self._write_on)
        first = Forward(setting)
        first.before()
        first.exchange()
        setting.streams.synchronize_device()
        self._first = first
        self._into = filled(setting.consumer, 0, setting.device)

    def before(self) -> None:
        """The consumer's own read."""
        self.setting.consumer.copy(self._into, self._first.taken, self._read_on)

    def exchange(self) -> None:
        """The producer's next write."""
        self.setting.producer.fill(self._first.array, OLD, self._write_on)

    def in_order(self) -> bool:
        """The consumer read what was there before."""
        return holds(self.setting.consumer, self._into, NEW, self.setting.device)

    def told(self) -> str:
        """What the consumer read instead."""
        names = {NEW: "the value from before the write", OLD: "the value of the next write"}
        data = peek(self.setting.consumer.describe(self._into).address, len(elements(0)), self.setting.device)
        return f"{self.setting.consumer.name} reads {wording.elements(data, names)}"


class DefaultHeldBack(Backward):
    """What becomes of the default stream when the consumer reads: it has no part in it."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.reader = LEGACY

    def in_order(self) -> bool:
        """Nothing is written on it."""
        return True


def offered(setting: Setting) -> Any:
    """The producer's array with the past that a setting names; every element is the old value."""
    if setting.history is History.FRESH or setting.producer is REFERENCE:  # the past is that of the library in the case
        return filled(setting.producer, OLD, setting.device, setting.count)
    array = past_operand(setting.producer, KIND, setting.device, setting.history)
    poke(setting.producer.describe(array).address, elements(OLD), setting.device)
    return array


def past_operand(library: Adapter, kind: DType, device: Device, history: History) -> Any:
    """An operand of a library with this past. It is imported and written on the streams that the checks of order use."""
    write_on, elsewhere = stream_of(library, "producer", device), stream_of(library, "elsewhere", device)

    def lend(protocol: Protocol) -> tuple[Any, int]:
        lent = REFERENCE.operand(kind, SHAPE, device)
        return REFERENCE.offer(lent, protocol), lent.element0()

    def take(offer: Any, protocol: Protocol) -> Any:
        with library.using(write_on):
            return library.take_operand(offer, protocol, device)

    def write(array: Any) -> None:
        library.fill(array, OLD, elsewhere)
        REFERENCE.memory(device).streams().synchronize_device()
        library.read(array)

    return with_past(Maker(library, lambda: library.operand(kind, SHAPE, device), lend, take, write), history)


def filled(library: Adapter, value: int, device: Device, count: int = SHAPE[1]) -> Any:
    """An operand of a library with ``count`` elements, every one ``value``, written by our own instruments."""
    array = library.operand(KIND, (1, count, 1), device)
    poke(library.describe(array).address, elements(value, count), device)
    return array


def holds(library: Adapter, array: Any, value: int, device: Device, count: int = SHAPE[1]) -> bool:
    """Whether every element of an operand is ``value``, read by our own instruments once all is done."""
    data = elements(value, count)
    return peek(library.describe(array).address, len(data), device) == data


def found(library: Adapter, array: Any, device: Device, count: int = SHAPE[1]) -> str:
    """Which values the elements of an operand have, in words, read by our own instruments once all is done."""
    return wording.elements(peek(library.describe(array).address, len(elements(0, count)), device), TOLD)


@cache
def elements(value: int, count: int = SHAPE[1]) -> bytes:
    """The bytes of an operand of which every element has this value."""
    return value.to_bytes(4, "little") * count


def _role(reader: str) -> str:
    return "consumer" if reader == "stream" else reader
