"""Observe how an exchange orders the producer's and the consumer's streams. Latches give the answer, never a duration.

A latch holds the producer's stream, and the producer's write is queued behind it. Then the exchange and the consumer's read run
on the consumer's stream, and the check waits for that stream only. A second latch holds an unrelated stream: an exchange that waits
for this one synchronizes the whole device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol
from weakref import WeakKeyDictionary

from conformance.adapters.base import Adapter
from conformance.checks.garbage import uncollected
from conformance.checks.outcomes import Inconclusive
from conformance.reference.streams import Latch, Streams

from . import blocking

LIMIT_SECONDS = 0.015
"""Time limit of the latch on the producer's stream. Only this limit ends a call that blocks the host with the GIL held."""
LONGER_SECONDS = 0.005
"""Extra time limit of the latch on the unrelated stream, so that a wait for the producer's stream alone returns while it still holds."""
BURNT_NANOSECONDS = LIMIT_SECONDS * 1e9 / 4
"""Least processor time of a call that held the GIL until a latch expired. With less, something else delayed the call."""
ROUNDS = 16
"""Round trips to the device within which the consumer's work must finish, if it waits for nothing."""
ATTEMPTS = 4
"""Attempts at an observation that something outside of it disturbs."""


class Wait(str, Enum):
    """The kind of wait that an exchange causes for the producer's work, in the order of cost."""

    NONE = "none"
    """No wait."""
    EVENT = "event-wait"
    """A stream-ordered wait: the consumer's stream waits."""
    HOST = "host-sync"
    """The calling thread blocks."""
    DEVICE = "device-sync"
    """A device-wide synchronization: unrelated work is waited for too."""


@dataclass(frozen=True)
class Seen:
    """One observation: the kind of wait, and whether the second operation saw the result of the first.

    ``held_gil`` is true if the host was blocked with the GIL held. ``rounds`` counts the round trips to the device until the second operation
    was done while the first was still held. If it was not done, ``rounds`` is the allowed number. ``writer`` is the held stream. ``told``
    describes the wrong data, where the work can describe them.
    """

    wait: Wait
    in_order: bool
    held_gil: bool = False
    rounds: int = 0
    writer: int = field(default=0, compare=False)
    told: str = field(default="", compare=False)

    @property
    def overtakes(self) -> bool:
        """Whether the second operation finished first, and the data show it."""
        return self.wait is Wait.NONE and not self.in_order

    def __str__(self) -> str:
        gil = " with the GIL held" if self.held_gil else ""
        return f"{self.wait.value}{gil}, {'in' if self.in_order else 'out of'} order"


class Work(Protocol):
    """Two operations of two libraries, prepared while the device is idle and run once.

    An optional method ``told`` describes the wrong elements, once all work is done.
    """

    libraries: tuple[Adapter, ...]
    """The libraries that take part."""
    writer: int
    """Handle of the stream that :meth:`before` queues on."""
    reader: int
    """Handle of the stream that :meth:`exchange` leaves its last work on."""

    def before(self) -> None:
        """Queue the operation that has to come first."""

    def exchange(self) -> None:
        """Run the observed exchange. Exceptions of the library propagate."""

    def in_order(self) -> bool:
        """Return whether the second operation saw the result of the first, or did not disturb it. All work is done by then."""


class Disturbed(Exception):
    """The observation is void, and no library caused that: a latch released its stream too early."""


def observe(
    streams: Streams, make: Callable[[], Work], *, rounds: int = ROUNDS, seconds: float = LIMIT_SECONDS
) -> Seen:
    """Warm up with one piece of work, then observe another. Raise :class:`Inconclusive` if every attempt is disturbed.

    ``rounds`` is the number of round trips to the device that the second operation gets. ``seconds`` is the time limit of the latch.

    Exceptions of the exchange propagate unchanged.
    """
    warm = make()
    with nothing_freed(warm.libraries):
        usual = _warm_up(streams, warm)
        seen = _undisturbed(streams, make, usual, rounds, seconds)
        if seen.wait in (Wait.HOST, Wait.DEVICE) and not seen.held_gil:
            # A call that returns under the latch proves that it need not wait. One that blocks is only evidence, so it has to block twice.
            seen = _undisturbed(streams, make, usual, rounds, seconds)
        return seen


def _undisturbed(streams: Streams, make: Callable[[], Work], usual: int, rounds: int, seconds: float) -> Seen:
    for _ in range(ATTEMPTS):
        try:
            return _observe(streams, make(), usual, rounds, seconds)
        except Disturbed as disturbed:
            last = disturbed
    raise Inconclusive(f"{last}, {ATTEMPTS} times") from last


@contextmanager
def nothing_freed(libraries: tuple[Adapter, ...]) -> Iterator[None]:
    """Keep memory of earlier cases from being freed inside the block. Freeing waits for the device, and would count as a wait of the exchange."""
    for library in libraries:
        library.let_go()
    with uncollected():
        yield


def _warm_up(streams: Streams, work: Work) -> int:
    """Run the work once with latches that are released at once, and return the nanoseconds of the exchange.

    First allocations, module loads and stream creations wait for the device. Without the warm-up they would hide a race.
    """
    latch = streams.hold(work.writer, LIMIT_SECONDS)
    other = streams.hold(_unrelated(streams), LIMIT_SECONDS)
    latch.release()
    other.release()
    work.before()
    before = time.thread_time_ns()
    work.exchange()
    usual = time.thread_time_ns() - before
    streams.synchronize_device()
    latch.close()
    other.close()
    return usual


def _observe(streams: Streams, work: Work, usual: int, most: int, seconds: float) -> Seen:
    streams.synchronize_device()
    latch = streams.hold(work.writer, seconds)
    other = streams.hold(_unrelated(streams), seconds + LONGER_SECONDS)
    try:
        wait, held_gil, rounds = _classify(streams, work, latch, other, usual, most)
    finally:
        latch.release()
        other.release()
        streams.synchronize_device()
        latch.close()
        other.close()
    in_order = work.in_order()
    told: Callable[[], str] | None = getattr(work, "told", None)
    return Seen(wait, in_order, held_gil, rounds, work.writer, told() if told and not in_order else "")


def _classify(
    streams: Streams, work: Work, latch: Latch, other: Latch, usual: int, most: int
) -> tuple[Wait, bool, int]:
    work.before()
    if not latch.held:
        raise Disturbed("a latch expired before the first operation was queued")
    called = blocking.call(work.exchange, (latch, other), usual)
    if called.error:
        raise called.error
    if called.ended:
        if called.held_gil and called.nanoseconds < BURNT_NANOSECONDS:
            raise Disturbed("a latch expired before the call returned, though the call did not wait")
        wait = Wait.HOST if other.held else Wait.DEVICE
        streams.synchronize(work.reader)
        return wait, called.held_gil, 0
    rounds = _rounds_until_done(streams, work.reader, most)
    if not latch.held:
        raise Disturbed("a latch expired before the second stream was checked")
    if rounds is not None:
        return Wait.NONE, False, rounds
    latch.release()
    while not streams.done(work.reader) and not other.expired:
        pass
    return (Wait.EVENT if other.held else Wait.DEVICE), False, most


def _rounds_until_done(streams: Streams, stream: int, most: int) -> int | None:
    """Return the number of round trips after which a stream was done, or ``None`` if it was not."""
    for rounds in range(most):
        if streams.done(stream):
            return rounds
        streams.round_trip()
    return None


_unrelated_streams: WeakKeyDictionary[Streams, int] = WeakKeyDictionary()


def _unrelated(streams: Streams) -> int:
    """Return a stream of the suite that no library knows."""
    if streams not in _unrelated_streams:
        _unrelated_streams[streams] = streams.create()
    return _unrelated_streams[streams]
