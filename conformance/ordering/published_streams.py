"""Observed operations that compare the stream that a producer publishes with its real work, for the family ``stream``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conformance.adapters.base import Adapter, Device, Protocol
from conformance.checks.exchange import collect
from conformance.checks.outcomes import Inconclusive
from conformance.protocols.strided import Step
from conformance.reference.streams import PER_THREAD, Streams

from . import blocking
from .blocking import Called
from .handover import NEW, OLD, REFERENCE, SHAPE, CAIWithout, Target, filled, found, holds, stream_of
from .observation import ATTEMPTS, BURNT_NANOSECONDS, LIMIT_SECONDS, nothing_freed

NEW_STREAMS = 64
"""The number of streams that are made to see whether the driver reuses the handle of a destroyed one."""
_TRIES = 4
"""The number of stream objects that are dropped to see whether the stream is destroyed with them."""


class Published:
    """The producer writes on ``write_on``, its dictionary is read while ``current`` is its current stream, and the suite reads the array.

    The suite waits for the stream that the dictionary names and for nothing else. A control does not read the dictionary, and waits for the
    stream ``instead``, or for none if that is 0. With a ``step``, the dictionary belongs to a view of the array that is made after the write.
    """

    def __init__(
        self, producer: Adapter, device: Device, write_on: Any, current: Any, *, instead: int | None = None, step: Step | None = None
    ) -> None:  # fmt: skip
        self._producer = producer
        self._step = step
        self._write_on = write_on
        self._current = current
        self._instead = instead
        self._into = Target(device)
        self._streams = self._into.memory.streams()
        self.libraries: tuple[Adapter, ...] = (producer,)
        self.writer = producer.handle(write_on)
        self.current = producer.handle(current)
        self.reader = REFERENCE.handle(stream_of(REFERENCE, "consumer", device))
        self.array = filled(producer, OLD, device)
        self._address = producer.describe(self.array).address

    def before(self) -> None:
        """Queue the producer's write."""
        self._producer.fill(self.array, NEW, self._write_on)

    def described(self) -> dict[str, Any]:
        """Return the dictionary. The offer is kept as long as the array, because the stream may be bound to either (CAI-28)."""
        with self._producer.using(self._current):
            given = self.array if self._step is None else self._producer.view(self.array, self._step)
            self._offer = self._producer.offer(given, Protocol.CAI)
            described: dict[str, Any] = self._offer.__cuda_array_interface__  # type: ignore[union-attr]
        return described

    def exchange(self) -> None:
        """Read the dictionary, wait for its stream, and queue the suite's copy."""
        stream = named(self.described()) if self._instead is None else self._instead
        if stream:
            self._streams.wait(self.reader, stream)
        self._into.copy(self._address, self.reader)

    def in_order(self) -> bool:
        """Return whether the suite read the new values."""
        return self._into.holds(NEW)

    def told(self) -> str:
        """Describe the values that the suite read instead."""
        return f"the reference reads {self._into.found()}"


class Dropped(Published):
    """:class:`Published` on a stream whose object is dropped once the dictionary has been read.

    The dictionary is read while that stream is current.
    """

    def __init__(self, producer: Adapter, device: Device, *, instead: int | None = None) -> None:
        own = producer.stream(device)
        super().__init__(producer, device, own, own, instead=instead)

    def described(self) -> dict[str, Any]:
        """Return the dictionary, and drop the stream's object."""
        described = self.read()
        self.let_go()
        return described

    def read(self) -> dict[str, Any]:
        """Return the dictionary, and keep the stream's object."""
        return super().described()

    def let_go(self) -> None:
        """Drop the stream's object."""
        self._write_on = self._current = None


class OnImported:
    """A kernel of the suite writes on the producer's stream, and the consumer reads on the stream that it imported from that object.

    With ``elsewhere``, the consumer reads on another stream of its own.
    """

    def __init__(
        self, consumer: Adapter, device: Device, offered: Any, handle: int, *, elsewhere: bool = False
    ) -> None:
        self.libraries: tuple[Adapter, ...] = (consumer,)
        self._consumer, self._device = consumer, device
        self._streams = REFERENCE.memory(device).streams()
        self._on = stream_of(consumer, "elsewhere", device) if elsewhere else consumer.import_stream(offered, device)
        self.writer = handle
        self.reader = consumer.handle(self._on)
        self._source = filled(REFERENCE, OLD, device)
        self._address = REFERENCE.describe(self._source).address
        self._into = filled(consumer, 0, device)
        with consumer.using(self._on):
            self._taken = consumer.take_operand(CAIWithout(self._source, None), Protocol.CAI, device)

    def before(self) -> None:
        """Queue the suite's write."""
        self._streams.fill(self._address, SHAPE[1], NEW, self.writer)

    def exchange(self) -> None:
        """Queue the consumer's read."""
        self._consumer.copy(self._into, self._taken, self._on)

    def in_order(self) -> bool:
        """Return whether the consumer read the new values."""
        return holds(self._consumer, self._into, NEW, self._device)

    def told(self) -> str:
        """Describe the values that the consumer read instead."""
        return f"{self._consumer.name} reads {found(self._consumer, self._into, self._device)}"


def named(described: dict[str, Any]) -> Any:
    """Return the stream that a dictionary names. Before version 3 the key has no meaning (CAI-30)."""
    return described.get("stream") if described.get("version", 0) >= 3 else None


def described_while_pending(streams: Streams, make: Callable[[], Published]) -> dict[str, Any] | None:
    """Return the dictionary, read while the producer's write provably had not begun, or ``None`` if reading it waits for the write."""
    warm = make()
    with nothing_freed(warm.libraries):
        warm.before()
        warm.described()
        for _ in range(ATTEMPTS):
            queued, called, held = _read_under_latch(streams, make())
            if held:
                described: dict[str, Any] = called.value
                return described
            if queued.ended:
                raise Inconclusive("the write cannot be queued: the call blocks while its stream is held")
            if called.ended and not (called.held_gil and called.nanoseconds < BURNT_NANOSECONDS):
                return None
    raise Inconclusive(f"the latch expired before the dictionary was read, {ATTEMPTS} times")


def _read_under_latch(streams: Streams, made: Published) -> tuple[Called, Called, bool]:
    """Return the results of the write and of the reading, and whether the latch held to the end. Their exceptions propagate."""
    streams.synchronize_device()
    latch = streams.hold(made.writer, LIMIT_SECONDS)
    try:
        queued = blocking.call(made.before, (latch,))
        called = blocking.call(made.described, (latch,))
        held = latch.held
    finally:
        latch.release()
        streams.synchronize_device()
        latch.close()
    for each in (queued, called):
        if each.error:
            raise each.error
    return queued, called, held


def is_given_out_again(streams: Streams, handle: int) -> bool:
    """Return whether the driver gives a handle to a new stream, which proves that the old stream was destroyed. The handle itself is not used.

    Raise :class:`Inconclusive` if the driver does not reuse the handle of a stream either that is destroyed here as a control.
    """
    control = streams.create()
    streams.destroy(control)
    made: list[int] = [control]
    try:
        while handle not in made and len(made) <= NEW_STREAMS:
            made.append(streams.create())
    finally:
        for each in made[1:]:
            streams.destroy(each)
    if handle in made:
        return True
    if control not in made[1:]:
        raise Inconclusive(
            f"it is not known whether stream {handle:#x} was destroyed: the driver did not give the handle of a destroyed "
            f"stream to any of {NEW_STREAMS} new ones"
        )
    return False


class Gone:
    """A check that a published stream outlives its object while the array lives. It is made more than once, because another allocation may take the place of a destroyed stream.

    ``described`` is the newest dictionary. ``control`` describes the handles of streams that were certainly destroyed.
    """

    def __init__(self, streams: Streams, make: Callable[[], Dropped]) -> None:
        self._streams = streams
        self._make = make
        self.described: dict[str, Any] = {}
        self.is_destroyed = False
        self.control = ""

    def look(self) -> None:
        """Repeat the check until a stream is destroyed, or until the attempts are used up."""
        for _ in range(_TRIES):
            made = self._make()
            made.before()
            self.described = made.read()
            self._streams.synchronize_device()
            stream = named(self.described)
            made.let_go()
            if not isinstance(stream, int) or stream <= PER_THREAD:
                self.control = "a default stream is never destroyed"
                return
            self.is_destroyed = is_given_out_again(self._streams, stream)
            if not self.is_destroyed:
                collect()
                self.is_destroyed = is_given_out_again(self._streams, stream)
            if self.is_destroyed:
                return
        self.control = f"the driver gives the handle of a destroyed stream to a new one, each of {2 * _TRIES} times"
