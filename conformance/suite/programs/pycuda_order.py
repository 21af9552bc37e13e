"""Order between PyCUDA in a context of its own and another library in the primary one, over the array interface.

``pycuda.autoinit`` makes the context; whoever works with the other library then makes the primary one current, as here. No
stream of one context is ordered with any of the other (CUD-05), and an event belongs to one of them (CUD-06).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from conformance.adapters import registry
from conformance.adapters.base import Adapter, CAIOffer, Device, Protocol
from conformance.adapters.pycuda import PycudaAdapter
from conformance.cuda import context, driver
from conformance.reference.streams import CudaStreams
from conformance.suite.exchange import brief
from conformance.suite.handover import KIND, NEW, OLD, SHAPE, CAIWithout, Recorded
from conformance.suite.ordering import Wait, observe

from . import tell

_NBYTES = 4 * SHAPE[1]


@dataclass(frozen=True)
class Side:
    """A library, the context that it works in, and its stream there."""

    adapter: Adapter
    context: int
    stream: Any

    @contextmanager
    def at_work(self) -> Iterator[Adapter]:
        """Its context is current."""
        with context.using(self.context):
            yield self.adapter

    def filled(self, value: int) -> Any:
        """An operand with every element ``value``, written with its own context current."""
        with self.at_work() as library:
            array = library.operand(KIND, SHAPE, Device.CUDA)
            data = value.to_bytes(4, "little") * SHAPE[1]
            address = ctypes.c_void_p(library.describe(array).address)
            driver.call("cuMemcpyHtoD_v2", address, data, ctypes.c_size_t(_NBYTES))
            context.synchronize()
            return array

    def words(self, array: Any) -> set[int]:
        """The different elements of an operand."""
        buffer = ctypes.create_string_buffer(_NBYTES)
        with self.at_work() as library:
            context.synchronize()
            address = ctypes.c_void_p(library.describe(array).address)
            driver.call("cuMemcpyDtoH_v2", buffer, address, ctypes.c_size_t(_NBYTES))
        return {int.from_bytes(buffer.raw[i : i + 4], "little") for i in range(0, _NBYTES, 4)}


class BothContexts(CudaStreams):
    """Streams of two contexts."""

    def __init__(self, other: int) -> None:
        super().__init__()
        self._other = other

    def synchronize_device(self) -> None:
        """Both contexts."""
        super().synchronize_device()
        with context.using(self._other):
            context.synchronize()


class Handover:
    """The giver writes on its stream, the taker imports and reads on its own; each in its context.

    ``published`` says whether the dictionary names the giver's stream, as it is or as its user can make it.
    """

    accepted = False
    """Whether any import has been made: what fails afterwards is no refusal."""

    def __init__(self, giver: Side, taker: Side, published: str) -> None:
        self.libraries: tuple[Adapter, ...] = (giver.adapter, taker.adapter)
        self._giver, self._taker, self._published = giver, taker, published
        self.writer = giver.adapter.handle(giver.stream)
        self.reader = taker.adapter.handle(taker.stream)
        self._array = giver.filled(OLD)
        self._into = taker.filled(0)

    def before(self) -> None:
        """The giver's own write."""
        with self._giver.at_work() as giver:
            giver.fill(self._array, NEW, self._giver.stream)

    def exchange(self) -> None:
        """The dictionary, the import and the taker's own read."""
        with self._giver.at_work() as giver, giver.using(self._giver.stream):
            offer = Recorded(self._offer(giver))
        with self._taker.at_work() as taker, taker.using(self._taker.stream):
            self._taken = taker.take_operand(offer, Protocol.CAI, Device.CUDA)
            Handover.accepted = True
            taker.copy(self._into, self._taken, self._taker.stream)

    def in_order(self) -> bool:
        """The taker read what the giver wrote."""
        return self._taker.words(self._into) == {NEW}

    def _offer(self, giver: Adapter) -> CAIOffer:
        exporter = giver.exporter(self._array, Protocol.CAI)
        if self._published == "as-it-is":
            return CAIOffer(exporter)
        return CAIWithout(exporter, self.writer if self._published == "stream" else None)


def main(producer: str, consumer: str, published: str) -> None:
    """The other library first, in the primary context; then PyCUDA in its own; then the exchange, and its control."""
    try:
        sides = _sides(producer, consumer)
        streams = BothContexts(next(s.context for s in sides.values() if s.adapter.name == "pycuda"))
        giver, taker = sides[producer], sides[consumer]
        tell(step="arrays of both")
        Handover(giver, taker, published)
    except Exception as error:
        tell(outcome="refused", seen=f"nothing to exchange: {brief(error)}")
        return
    tell(step="the exchange")
    try:
        seen = observe(streams, lambda: Handover(giver, taker, published))
    except Exception as error:
        tell(outcome="unusable" if Handover.accepted else "refused", seen=brief(error))
        return
    tell(step="its control")
    waited = seen.wait is not Wait.NONE
    tell(outcome="seen", seen=str(seen), in_order=seen.in_order, waited=waited, **_control(streams, giver, taker))
    tell(step="interpreter exit")


def _control(streams: CudaStreams, giver: Side, taker: Side) -> dict[str, object]:
    """The same with a dictionary that names no stream."""
    try:
        control = observe(streams, lambda: Handover(giver, taker, "nothing"))
    except Exception as error:
        return {"control": brief(error), "overtakes": False}
    return {"control": str(control), "overtakes": control.overtakes}


def _sides(producer: str, consumer: str) -> dict[str, Side]:
    other = consumer if producer == "pycuda" else producer
    home = context.primary()
    context.set_current(home)
    return {other: _side(other, home), "pycuda": _side("pycuda", 0)}


def _side(name: str, home: int) -> Side:
    """A library that has been used once in its context; PyCUDA makes its own, which is then taken off the thread."""
    tell(step=f"import of {name}")
    adapter = registry.create(name)
    if isinstance(adapter, PycudaAdapter):
        adapter.context_module = "pycuda.autoinit"
    adapter.load()
    where = home or context.current()
    with context.using(where):
        adapter.operand(KIND, SHAPE, Device.CUDA)
        stream = adapter.stream(Device.CUDA)
    return Side(adapter, where, stream)


if __name__ == "__main__":
    main(*sys.argv[1:4])
