"""Exchanges on two GPUs: the GPU that holds the array, and the GPU that is current during the exchange."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from conformance.adapters.base import Adapter, Device, Protocol, Trait, View, peek, poke
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.exchange import Exchange, Source, brief
from conformance.checks.libraries import Environment, Pair
from conformance.checks.outcomes import Inconclusive
from conformance.cuda import context, pointers
from conformance.reference import gpus, memory
from conformance.reference.gpus import Gpus
from conformance.reference.importer import Importer
from conformance.reference.memory import Block
from conformance.reference.streams import Streams, WorkStream

from . import wording
from .handover import (
    KIND,
    NEW,
    OLD,
    SHAPE,
    TOLD,
    CAIWithout,
    DLPackWithoutWait,
    How,
    Recorded,
    Setting,
    Without,
    elements,
    found,
    holds,
)

GPUS = (0, 1)
"""The GPUs that the cases use. Further GPUs are not used."""
ON = (Device.CUDA, Device.SIMULATED)
_NOWHERE = -1


@dataclass(frozen=True)
class Place:
    """``home`` is the GPU that holds the array, ``current`` the GPU that is current during the exchange."""

    home: int
    current: int

    @property
    def name(self) -> str:
        """The value of the case's parameter ``where``."""
        return f"on-{self.home}-current-{self.current}"

    @property
    def other(self) -> int:
        """The GPU that does not hold the array."""
        return 1 - self.home

    @property
    def at_home(self) -> bool:
        """Whether the array's own GPU is the current one."""
        return self.home == self.current


PLACES = {place.name: place for place in (Place(1, 0), Place(1, 1), Place(0, 1))}
"""All combinations except array and current GPU 0, which every other family covers."""


def place_of(exchange: Exchange) -> Place:
    """Return the place of the case."""
    return PLACES[exchange.option("where")]


def on_two(env: Environment, pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Yield the pairs that can run on two GPUs here. The simulated device always has two."""
    for pair in pairs:
        enough = pair.device is Device.SIMULATED or (pair.device is Device.CUDA and env.gpus >= len(GPUS))
        if enough and pair.producer.has(Trait.GPUS) and pair.consumer.has(Trait.GPUS):
            yield pair


def wake(device: Device) -> None:
    """Make the primary context of both GPUs, and make one current. PyTorch only records its choice of a GPU that has no context yet."""
    if device is Device.CUDA:
        for ordinal in GPUS:
            context.primary(ordinal)
        if not context.current():
            context.set_current(context.primary())


def gpus_of(device: Device) -> Gpus:
    """Return the GPUs of a device."""
    return gpus.of(device is Device.CUDA)


def gpu_of(address: int, device: Device) -> int | None:
    """Return the GPU of an address, as the driver reports it, or ``None`` for an address that the driver does not know."""
    if device is Device.CUDA:
        return pointers.ordinal_of(address)
    ordinal = memory.simulated(_NOWHERE).device_of(address)[1]
    return None if ordinal == _NOWHERE else ordinal


@contextmanager
def current(exchange: Exchange, ordinal: int) -> Iterator[None]:
    """Make this GPU current inside the block."""
    with gpus_of(exchange.device).using(ordinal):
        yield


def make_on(exchange: Exchange, ordinal: int, *, seed: int = 0) -> Source:
    """Return the producer's own array on this GPU. Raise :class:`Inconclusive` if the array is on another GPU."""
    producer = exchange.producer
    wake(exchange.device)
    producer.let_go()  # a cache may hold memory of the other GPU, which `devices.made` covers
    with producer.on_gpu(ordinal, exchange.device):
        source = exchange.source(seed=seed)
    if source.view.size:
        _expect_there(producer, "array", gpu_of(source.address, exchange.device), ordinal)
    return source


def _expect_there(library: Adapter, what: str, seen: int | None, ordinal: int) -> None:
    if seen != ordinal:
        raise Inconclusive(f"{library.name} made its {what} on GPU {seen}, though GPU {ordinal} was current")


def take_on(exchange: Exchange, source: Source, place: Place) -> Any:
    """Import the array with the consumer, which leaves it on its GPU. A refusal ends the case.

    No clause requires an export or an import while another GPU than the array's is current.
    """
    with current(exchange, place.current):
        offer = exchange.offer(source)
        action = partial(exchange.consumer.take_on, offer, exchange.protocol, exchange.device, place.home)
        return exchange.accepting(action, offer, promised=None if place.at_home else "")


def read(exchange: Exchange, taken: Any, view: View, place: Place) -> bytes:
    """Return the elements, read while the same GPU is current. For a library that knows no devices, the user has to select the GPU."""
    with ExitStack() as stack:
        if view.device is None:
            stack.enter_context(exchange.consumer.on_gpu(place.home, exchange.device))
        else:
            stack.enter_context(current(exchange, place.current))
        return exchange.read(taken)


# -- streams


@cache
def stream_on(library: Adapter, role: str, device: Device, ordinal: int) -> Any:
    """Return the library's own stream with this role on this GPU. It is made once."""
    wake(device)
    with library.on_gpu(ordinal, device):
        made = library.stream(device)
    seen = streams_of(device, ordinal).gpu_of(library.handle(made))
    _expect_there(library, f"{role}'s stream", seen, ordinal)
    return made


def streams_of(device: Device, ordinal: int) -> Streams:
    """Return the streams of a GPU."""
    return memory_of(device, ordinal).streams()


def memory_of(device: Device, ordinal: int) -> memory.Memory:
    """Return the memory of a GPU."""
    return memory.CudaMemory(ordinal=ordinal) if device is Device.CUDA else memory.simulated(ordinal)


@dataclass(frozen=True)
class Meeting(Setting):
    """A hand-over on one of two GPUs."""

    place: Place = Place(0, 0)

    @property
    def streams(self) -> Streams:
        """The streams of the array's GPU."""
        return streams_of(self.device, self.place.home)

    def current(self) -> AbstractContextManager[None]:
        """Make the GPU of ``place.current`` current, as it has to be during the exchange."""
        return gpus_of(self.device).using(self.place.current)

    def at_home(self, library: Adapter) -> AbstractContextManager[Any]:
        """Make the array's GPU current in the library."""
        return library.on_gpu(self.place.home, self.device)

    def operand(self, library: Adapter, value: int) -> Any:
        """Return an operand of a library on the array's GPU with this value in every element. The suite writes them, not the library."""
        with self.at_home(library):
            made = library.operand(KIND, SHAPE, self.device)
            if gpu_of(library.describe(made).address, self.device) != self.place.home:
                library.let_go()  # a cache may hold memory of the other GPU
                made = library.operand(KIND, SHAPE, self.device)
        address = library.describe(made).address
        _expect_there(library, "array", gpu_of(address, self.device), self.place.home)
        poke(address, elements(value), self.device)
        return made

    def write(self, array: Any, stream: Any) -> None:
        """Queue the producer's write. Raise :class:`Inconclusive` if the producer cannot work on this GPU at all."""
        try:
            with self.at_home(self.producer):
                self.producer.fill(array, NEW, stream)
        except Exception as error:
            raise Inconclusive(f"{self.producer.name} cannot write on GPU {self.place.home}: {brief(error)}") from error


class Handed:
    """The producer writes on its stream, the array is handed over, and the consumer reads on its own stream, both on the array's GPU."""

    def __init__(self, meeting: Meeting) -> None:
        self.meeting = meeting
        self.libraries = meeting.libraries
        home = meeting.place.home
        self._write_on = stream_on(meeting.producer, "producer", meeting.device, home)
        self._read_on = stream_on(meeting.consumer, "consumer", meeting.device, home)
        self.writer = meeting.producer.handle(self._write_on)
        self.reader = meeting.consumer.handle(self._read_on)
        self.array = meeting.operand(meeting.producer, OLD)
        self.into = meeting.operand(meeting.consumer, 0)
        self.taken: Any = None
        if meeting.without is Without.ALIAS:
            self._take()

    def before(self) -> None:
        """Queue the producer's write."""
        self.meeting.write(self.array, self._write_on)

    def exchange(self) -> None:
        """Import the array and queue the consumer's read."""
        if self.meeting.without is not Without.ALIAS:
            self._take()
        with self.meeting.at_home(self.meeting.consumer):
            self.meeting.consumer.copy(self.into, self.taken, self._read_on)

    def in_order(self) -> bool:
        """Return whether the consumer read the new values."""
        return holds(self.meeting.consumer, self.into, NEW, self.meeting.device)

    def told(self) -> str:
        """Describe the values that the consumer read instead."""
        return f"{self.meeting.consumer.name} reads {found(self.meeting.consumer, self.into, self.meeting.device)}"

    def offer(self) -> Any:
        """Return the array in the form that the consumer gets. A dictionary is read while the case's GPU is current."""
        meeting = self.meeting
        with self._producing(), meeting.current():
            exporter = meeting.producer.exporter(self.array, meeting.protocol)
            if meeting.protocol is Protocol.DLPACK:
                minus_one = meeting.without is Without.MINUS_ONE
                return DLPackWithoutWait(exporter) if minus_one else meeting.producer.offer(self.array, Protocol.DLPACK)
            if meeting.without in (Without.NO_STREAM, Without.OPT_OUT):
                return meeting.without_stream(exporter)
            return Recorded(meeting.producer.offer(self.array, Protocol.CAI))

    @contextmanager
    def _producing(self) -> Iterator[None]:
        """Make the array's GPU current in the producer, and its stream as well where the case asks for that."""
        meeting = self.meeting
        with ExitStack() as stack:
            stack.enter_context(meeting.at_home(meeting.producer))
            if meeting.how is How.INSIDE:
                stack.enter_context(meeting.producer.using(self._write_on))
            yield

    def _take(self) -> None:
        meeting, offer = self.meeting, self.offer()
        with ExitStack() as stack:
            if meeting.producer is not meeting.consumer:
                stack.enter_context(self._producing())
            stack.enter_context(meeting.at_home(meeting.consumer))
            stack.enter_context(meeting.consumer.using(self._read_on))
            stack.enter_context(meeting.current())
            self.taken = meeting.consumer.take_on(offer, meeting.protocol, meeting.device, meeting.place.home)


class Published:
    """The reference's array has a copy pending on a stream of the other GPU, and its dictionary names that stream."""

    def __init__(self, meeting: Meeting, *, told: bool = True) -> None:
        reference = _exporting(meeting)
        self.meeting = meeting
        self.libraries: tuple[Adapter, ...] = (reference, meeting.consumer)
        self._told = told
        self._write_on: WorkStream = stream_on(reference, "producer", meeting.device, meeting.place.other)
        self._read_on = stream_on(meeting.consumer, "consumer", meeting.device, meeting.place.home)
        self.writer = self._write_on.handle
        self.reader = meeting.consumer.handle(self._read_on)
        self._array = meeting.operand(reference, OLD)
        self._array.writer = self._write_on
        self._staged = _block(meeting.device, meeting.place.other, NEW)
        self._into = meeting.operand(meeting.consumer, 0)
        self._taken: Any = None

    def before(self) -> None:
        """Queue a copy from the other GPU, on a stream of that GPU."""
        new = elements(NEW)
        target = self._array.element0()
        streams_of(self.meeting.device, self.meeting.place.other).copy(
            target, self._staged.address, len(new), self.writer
        )

    def exchange(self) -> None:
        """Import the array and queue the consumer's read, on the array's GPU."""
        meeting, reference = self.meeting, self.libraries[0]
        offer = reference.offer(self._array, Protocol.CAI) if self._told else CAIWithout(self._array, None)
        with meeting.at_home(meeting.consumer):
            with meeting.consumer.using(self._read_on):
                self._taken = meeting.consumer.take_on(offer, Protocol.CAI, meeting.device, meeting.place.home)
            meeting.consumer.copy(self._into, self._taken, self._read_on)

    def in_order(self) -> bool:
        """Return whether the consumer read the copied values."""
        return holds(self.meeting.consumer, self._into, NEW, self.meeting.device)

    def told(self) -> str:
        """Describe the values that the consumer read instead."""
        return f"{self.meeting.consumer.name} reads {found(self.meeting.consumer, self._into, self.meeting.device)}"


class Asked:
    """The producer exports for a stream of the other GPU, and the reference reads the array on that stream."""

    def __init__(self, meeting: Meeting, *, asked: int | None = None) -> None:
        reference = ReferenceAdapter()
        self.meeting = meeting
        self.libraries: tuple[Adapter, ...] = (meeting.producer,)
        self._write_on = stream_on(meeting.producer, "producer", meeting.device, meeting.place.home)
        self._read_on: WorkStream = _reading_on(meeting.device, meeting.place.other)
        self.writer = meeting.producer.handle(self._write_on)
        self.reader = reference.handle(self._read_on)
        self._asked = self.reader if asked is None else asked
        self._array = meeting.operand(meeting.producer, OLD)
        self._into = _block(meeting.device, meeting.place.other, 0)
        self._taken: Any = None

    def before(self) -> None:
        """Queue the producer's write."""
        self.meeting.write(self._array, self._write_on)

    def exchange(self) -> None:
        """Export the array and queue the reference's read."""
        meeting = self.meeting
        offer: Any = meeting.producer.offer(self._array, Protocol.DLPACK)
        with meeting.at_home(meeting.producer), meeting.producer.using(self._write_on):
            exported = offer.__dlpack__(stream=self._asked)
        self._taken = Importer(memory_of(meeting.device, meeting.place.home), self.reader).take_capsule(exported)
        there = streams_of(meeting.device, meeting.place.other)
        there.copy(self._into.address, self._taken.address, len(elements(NEW)), self.reader)

    def in_order(self) -> bool:
        """Return whether the reference read the new values."""
        return self._read() == elements(NEW)

    def told(self) -> str:
        """Describe the values that the reference read instead."""
        return f"on {wording.stream(self.reader)} the reference reads {wording.elements(self._read(), TOLD)}"

    def _read(self) -> bytes:
        return peek(self._into.address, len(elements(NEW)), self.meeting.device)


@cache
def _reading_on(device: Device, ordinal: int) -> WorkStream:
    """Return the suite's stream on a GPU, on which imports are read."""
    with gpus_of(device).using(ordinal):
        return WorkStream(streams_of(device, ordinal))


def _block(device: Device, ordinal: int, value: int) -> Block:
    """Return memory of the suite on a GPU, with this value in every element of an operand."""
    where = memory_of(device, ordinal)
    block = where.allocate(len(elements(value)))
    where.write(block.address, elements(value))
    return block


def _exporting(meeting: Meeting) -> ReferenceAdapter:
    assert isinstance(meeting.producer, ReferenceAdapter)
    return meeting.producer
