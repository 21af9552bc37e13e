"""Stream order between PyCUDA in a private context and another library in the primary context, over the CUDA Array Interface.

``pycuda.autoinit`` makes the private context. A program that also works with the other library makes the primary context current, as this
module does. No stream of one context is ordered with a stream of the other (CUD-05), and an event belongs to one context (CUD-06).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from conformance.adapters import registry
from conformance.adapters.base import Adapter, CAIOffer, Device, Protocol
from conformance.adapters.pycuda import PycudaAdapter
from conformance.checks.exchange import brief
from conformance.cuda import context, driver, kernels
from conformance.cuda import streams as cuda_streams
from conformance.reference.streams import CudaStreams

from . import wording
from .handover import KIND, NEW, OLD, SHAPE, TOLD, CAIWithout, Recorded, elements
from .observation import Seen, observe

_NBYTES = 4 * SHAPE[1]
_ROUNDS = 4
_SECONDS = 0.1


@dataclass(frozen=True)
class Side:
    """A library, its CUDA context, and its stream in that context."""

    adapter: Adapter
    context: int
    stream: Any

    @contextmanager
    def at_work(self) -> Iterator[Adapter]:
        """Make its context current inside the block."""
        with context.using(self.context):
            yield self.adapter

    def filled(self, value: int) -> Any:
        """Return an operand with this value in every element, written while its context is current."""
        with self.at_work() as library:
            array = library.operand(KIND, SHAPE, Device.CUDA)
            data = elements(value)
            address = ctypes.c_void_p(library.describe(array).address)
            driver.call("cuMemcpyHtoD_v2", address, data, ctypes.c_size_t(_NBYTES))
            context.synchronize()
            return array

    def read(self, array: Any) -> bytes:
        """Return the elements of an operand, after all work is done."""
        buffer = ctypes.create_string_buffer(_NBYTES)
        with self.at_work() as library:
            context.synchronize()
            address = ctypes.c_void_p(library.describe(array).address)
            driver.call("cuMemcpyDtoH_v2", buffer, address, ctypes.c_size_t(_NBYTES))
        return buffer.raw


class BothContexts(CudaStreams):
    """The streams of two CUDA contexts."""

    def __init__(self, other: int) -> None:
        super().__init__()
        self._other = other
        with context.using(other):
            self._witness_there = cuda_streams.Stream().handle
            self._word_there = ctypes.c_void_p()
            driver.call("cuMemAlloc_v2", ctypes.byref(self._word_there), ctypes.c_size_t(4))

    def round_trip(self) -> None:
        """Make a round trip to the device in both contexts."""
        super().round_trip()
        kernels.fill_words(self._word_there.value or 0, 1, 0, self._witness_there)
        while not cuda_streams.is_done(self._witness_there):
            pass

    def synchronize_device(self) -> None:
        """Synchronize both contexts."""
        super().synchronize_device()
        with context.using(self._other):
            context.synchronize()


class Handover:
    """The producer writes on its stream; the consumer imports and reads on its own. Each works in its context.

    ``published`` selects the dictionary: ``as-it-is``, with the producer's ``stream``, or with ``nothing``.
    """

    accepted = False
    """Whether an import has succeeded. A later exception is then no refusal."""
    described: ClassVar[Mapping[str, Any]] = {}
    """The newest dictionary."""

    def __init__(self, giver: Side, taker: Side, published: str) -> None:
        self.libraries: tuple[Adapter, ...] = (giver.adapter, taker.adapter)
        self._giver, self._taker, self._published = giver, taker, published
        self.writer = giver.adapter.handle(giver.stream)
        self.reader = taker.adapter.handle(taker.stream)
        self._array = giver.filled(OLD)
        self._into = taker.filled(0)

    def before(self) -> None:
        """Queue the producer's write."""
        with self._giver.at_work() as giver:
            giver.fill(self._array, NEW, self._giver.stream)

    def exchange(self) -> None:
        """Read the dictionary, import the array and queue the consumer's read."""
        with self._giver.at_work() as giver, giver.using(self._giver.stream):
            offer = Recorded(self._offer(giver))
            Handover.described = offer.__cuda_array_interface__
        with self._taker.at_work() as taker, taker.using(self._taker.stream):
            self._taken = taker.take_operand(offer, Protocol.CAI, Device.CUDA)
            Handover.accepted = True
            taker.copy(self._into, self._taken, self._taker.stream)

    def in_order(self) -> bool:
        """Return whether the consumer read the new values."""
        return self._taker.read(self._into) == elements(NEW)

    def told(self) -> str:
        """Describe the values that the consumer read instead."""
        return f"{self._taker.adapter.name} reads {wording.elements(self._taker.read(self._into), TOLD)}"

    def _offer(self, giver: Adapter) -> CAIOffer:
        exporter = giver.exporter(self._array, Protocol.CAI)
        if self._published == "as-it-is":
            return CAIOffer(exporter)
        return CAIWithout(exporter, self.writer if self._published == "stream" else None)


@dataclass(frozen=True)
class Across:
    """The result of an exchange across two contexts, and of its control, whose dictionary names no stream.

    ``seen`` is ``None`` if nothing was exchanged; ``told`` then gives the reason. ``accepted`` is true if an import succeeded.
    ``described`` is the newest dictionary.
    """

    seen: Seen | None
    told: str
    accepted: bool = False
    control: str = ""
    overtakes: bool = False
    described: Mapping[str, Any] = field(default_factory=dict)


def look(producer: str, consumer: str, published: str) -> Across:
    """Start the other library in the primary context, then PyCUDA in its own, and make the exchange and its control."""
    try:
        sides = _sides(producer, consumer)
        streams = BothContexts(next(s.context for s in sides.values() if s.adapter.name == "pycuda"))
        giver, taker = sides[producer], sides[consumer]
        Handover(giver, taker, published)
    except Exception as error:
        return Across(None, f"nothing to exchange: {brief(error)}")
    try:
        seen = _observe(streams, giver, taker, published)
    except Exception as error:
        return Across(None, brief(error), Handover.accepted)
    described = Handover.described
    control, overtakes = _control(streams, giver, taker)
    return Across(seen, str(seen), True, control, overtakes, described)


def _observe(streams: CudaStreams, giver: Side, taker: Side, published: str) -> Seen:
    """Observe the hand-over with a longer latch: two contexts take turns on a device, so a round trip through both takes longer."""
    return observe(streams, lambda: Handover(giver, taker, published), rounds=_ROUNDS, seconds=_SECONDS)


def _control(streams: CudaStreams, giver: Side, taker: Side) -> tuple[str, bool]:
    """Observe the same hand-over with a dictionary that names no stream."""
    try:
        control = _observe(streams, giver, taker, "nothing")
    except Exception as error:
        return brief(error), False
    return str(control), control.overtakes


def _sides(producer: str, consumer: str) -> dict[str, Side]:
    other = consumer if producer == "pycuda" else producer
    home = context.primary()
    context.set_current(home)
    return {other: _side(other, home), "pycuda": _side("pycuda", 0)}


def _side(name: str, home: int) -> Side:
    """Return a library that has been used once in its context. PyCUDA makes its own context, which is not current afterwards."""
    adapter = registry.create(name)
    if isinstance(adapter, PycudaAdapter):
        adapter.context_module = "pycuda.autoinit"
    adapter.load()
    where = home or context.current()
    with context.using(where):
        adapter.operand(KIND, SHAPE, Device.CUDA)
        stream = adapter.stream(Device.CUDA)
    return Side(adapter, where, stream)
