"""Hand-over of an array between two streams: the operations that the ordering checks observe."""

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
"""The correct reference. A case may have a broken one in its place, but the checks use this one."""
SHAPE = (1, 256, 1)
KIND = dtype("int32")
OLD, NEW = 0x00AAAA, 0x005555
"""The values of the elements before and after the producer's pending write. They are below 2**24, so float32 operations keep them exactly."""
TOLD = {OLD: "the old value", NEW: "the new value", 0: "zero"}
"""Names of these values in reports."""


class How(str, Enum):
    """The producer's current stream during the export."""

    INSIDE = "inside"
    """The stream that the producer wrote on is its current one."""
    OUTSIDE = "outside"
    """Another stream is current, as it is after a ``with`` block."""


class Call(str, Enum):
    """The way in which a consumer reads the array."""

    IMPORT = "import"
    """The consumer imports the array, by its documented call or in the way of its users."""
    KERNEL = "kernel"
    """A kernel of the consumer gets the object itself, and reads the CUDA Array Interface at launch."""


class Without(str, Enum):
    """The ways in which a control removes the wait from an exchange."""

    MINUS_ONE = "stream=-1"
    NO_STREAM = "a dictionary without stream"
    OPT_OUT = "the consumer's documented opt-out"
    ALIAS = "an import from before the write"


S = TypeVar("S", bound="Setting")


@dataclass(frozen=True)
class Setting:
    """The two libraries of a hand-over, and its conditions.

    ``reader`` selects the consumer's stream: ``stream`` for one of its own, or a role of :func:`stream_of`. ``call`` is the way in which the consumer
    reads the array.
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
    """The number of elements of each array."""
    history: History = History.FRESH
    """The history of the producer's array. An array is only new if its library emptied its caches before."""

    @property
    def streams(self) -> Streams:
        """The streams of the device."""
        return REFERENCE.memory(self.device).streams()

    @property
    def libraries(self) -> tuple[Adapter, ...]:
        """The producer and the consumer."""
        return self.producer, self.consumer

    def without_stream(self, exporter: Any) -> CAIWithout:
        """Return the dictionary of a control: without its stream, or with the consumer's opt-out in its place."""
        return CAIWithout(exporter, self.consumer.opt_out if self.without is Without.OPT_OUT else None)

    def but(self: S, **changes: Any) -> S:
        """Return a copy of the setting with these fields changed."""
        return replace(self, **changes)


def takes_arguments(pair: Pair) -> bool:
    """Return whether the consumer has kernels that take the CUDA Array Interface.

    The reference is such a consumer only for itself, where it shows that the check detects its faults.
    """
    own = pair.consumer.name != REFERENCE.name or pair.producer.name == REFERENCE.name
    return own and pair.consumer.has(Trait.KERNEL_ARGUMENTS)


def can_be_inside(producer: Library | Adapter, consumer: Library | Adapter, protocol: Protocol) -> bool:
    """Return whether the producer's stream can be its current one during the exchange.

    A library without a current stream has none, and by DLPack a library that exchanges with itself needs it for its consumer side.
    """
    same = producer.name == consumer.name and protocol is Protocol.DLPACK
    return Trait.CURRENT_STREAM in producer.traits and not same


def hows(pair: Pair) -> tuple[str, ...]:
    """Return the possible values of :class:`How`, ``inside`` first."""
    inside = can_be_inside(pair.producer, pair.consumer, pair.protocol)
    return (How.INSIDE.value, How.OUTSIDE.value) if inside else (How.OUTSIDE.value,)


def first_how(pair: Pair) -> tuple[str, ...]:
    """Return ``inside`` where that is possible, else ``outside``."""
    return hows(pair)[:1]


@cache
def stream_of(library: Adapter, role: str, device: Device) -> Any:
    """Return the library's stream with this role. It is made once, because few streams run on hardware queues of their own.

    ``per-thread`` is the library's object for that default stream, ``foreign`` its object for a stream of the suite.
    """
    if role == "default":
        return library.default_stream(device)
    if role == "per-thread":
        return library.per_thread_stream(device)
    if role == "foreign":
        return library.foreign_stream(external_stream(device).handle, device)
    return library.stream(device)


@cache
def external_stream(device: Device) -> WorkStream:
    """Return a stream of the suite, on which libraries work as on an external stream."""
    return REFERENCE.stream(device)


class DLPackWithoutWait(DLPackOffer):
    """An offer that always passes ``stream=-1`` to the producer, which then must not synchronize (DLP-32)."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__dlpack__(*args, **{**kwargs, "stream": -1})


class CAIWithout(CAIOffer):
    """An offer whose dictionary has no stream, or another one."""

    def __init__(self, source: Any, stream: int | None) -> None:
        super().__init__(source)
        self._stream = stream

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        described = {k: v for k, v in super().__cuda_array_interface__.items() if k != "stream"}
        return described if self._stream is None else {**described, "version": 3, "stream": self._stream}


class Recorded:
    """An object that keeps a dictionary that was read earlier."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self.__cuda_array_interface__ = offer.__cuda_array_interface__  # type: ignore[union-attr]


class Forward:
    """The producer writes on its stream with this role, the array is handed over, and the consumer reads on its own stream."""

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
        """Queue the producer's write."""
        self.setting.producer.fill(self.array, NEW, self._write_on)

    def exchange(self) -> None:
        """Import the array and queue the consumer's read."""
        if self.setting.without is not Without.ALIAS:
            self._take()
        self.setting.consumer.copy(self.into, self.taken, self._read_on)

    def in_order(self) -> bool:
        """Return whether the consumer read the new values."""
        return holds(self.setting.consumer, self.into, NEW, self.setting.device, self.setting.count)

    def told(self) -> str:
        """Describe the values that the consumer read instead."""
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
        """Return the array in the form that the consumer gets."""
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
    """A hand-over that observes whether the unrelated default stream waits for the producer."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.reader = LEGACY

    def in_order(self) -> bool:
        """Return true: nothing is read on the default stream."""
        return True


class WaitsForDefault(Forward):
    """A hand-over that observes whether the consumer's stream waits for the default stream, on which the array was not written."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.writer = LEGACY


class Target:
    """A block of the suite's memory, filled with zeros, into which the elements of an operand are copied."""

    def __init__(self, device: Device) -> None:
        self.memory = REFERENCE.memory(device)
        self._nbytes = len(elements(0))
        self._block = self.memory.allocate(self._nbytes)
        self.memory.write(self._block.address, elements(0))

    def copy(self, source: int, stream: int) -> None:
        """Queue a copy of the elements at address ``source``."""
        self.memory.streams().copy(self._block.address, source, self._nbytes, stream)

    def holds(self, value: int) -> bool:
        """Return whether every element is ``value``. All work is done by then."""
        return self.memory.read(self._block.address, self._nbytes) == elements(value)

    def found(self) -> str:
        """Describe the values of the elements."""
        return wording.elements(self.memory.read(self._block.address, self._nbytes), TOLD)


class Export:
    """The producer writes on its stream and exports for a named stream. The reference reads on the named stream.

    ``name`` selects the stream. A control passes ``asked`` to the producer instead.
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
        """Export the array and queue the reference's read."""
        offer = DLPackOffer(self.setting.producer.exporter(self.array, Protocol.DLPACK))
        with self.setting.producer.using(self._write_on):
            exported = offer.__dlpack__(stream=self._asked)
        self._taken = Importer(self._into.memory, self.reader).take_capsule(exported)
        self._into.copy(self._taken.address, self.reader)

    def in_order(self) -> bool:
        """Return whether the reference read the new values."""
        return self._into.holds(NEW)

    def told(self) -> str:
        """Describe the values that the reference read instead."""
        return f"on {wording.stream(self.reader)} the reference reads {self._into.found()}"


class Backward:
    """The consumer reads an earlier import on its stream; then the producer writes again on its own stream.

    With ``elsewhere``, the producer writes on a stream that took no part in the exchange, so no library can order that write.
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
        """Queue the consumer's read."""
        self.setting.consumer.copy(self._into, self._first.taken, self._read_on)

    def exchange(self) -> None:
        """Queue the producer's next write."""
        self.setting.producer.fill(self._first.array, OLD, self._write_on)

    def in_order(self) -> bool:
        """Return whether the consumer read the values from before that write."""
        return holds(self.setting.consumer, self._into, NEW, self.setting.device)

    def told(self) -> str:
        """Describe the values that the consumer read instead."""
        names = {NEW: "the value from before the write", OLD: "the value of the next write"}
        data = peek(self.setting.consumer.describe(self._into).address, len(elements(0)), self.setting.device)
        return f"{self.setting.consumer.name} reads {wording.elements(data, names)}"


class DefaultHeldBack(Backward):
    """A next write that observes whether the unrelated default stream waits for the consumer's read."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.reader = LEGACY

    def in_order(self) -> bool:
        """Return true: nothing is written on the default stream."""
        return True


def offered(setting: Setting) -> Any:
    """Return the producer's array with the history of the setting. Every element has the old value."""
    if (
        setting.history is History.FRESH or setting.producer is REFERENCE
    ):  # the history belongs to the library of the case
        return filled(setting.producer, OLD, setting.device, setting.count)
    array = past_operand(setting.producer, KIND, setting.device, setting.history)
    poke(setting.producer.describe(array).address, elements(OLD), setting.device)
    return array


def past_operand(library: Adapter, kind: DType, device: Device, history: History) -> Any:
    """Return an operand of a library with this history. The library imports and writes it on the streams of the ordering checks."""
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
    """Return an operand of a library with ``count`` elements of this value. The suite writes them, not the library."""
    array = library.operand(KIND, (1, count, 1), device)
    poke(library.describe(array).address, elements(value, count), device)
    return array


def holds(library: Adapter, array: Any, value: int, device: Device, count: int = SHAPE[1]) -> bool:
    """Return whether every element of an operand is ``value``. The suite reads them, once all work is done."""
    data = elements(value, count)
    return peek(library.describe(array).address, len(data), device) == data


def found(library: Adapter, array: Any, device: Device, count: int = SHAPE[1]) -> str:
    """Describe the values of the elements of an operand. The suite reads them, once all work is done."""
    return wording.elements(peek(library.describe(array).address, len(elements(0, count)), device), TOLD)


@cache
def elements(value: int, count: int = SHAPE[1]) -> bytes:
    """Return the bytes of an operand with this value in every element."""
    return value.to_bytes(4, "little") * count


def _role(reader: str) -> str:
    return "consumer" if reader == "stream" else reader
