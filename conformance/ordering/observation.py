"""How an exchange orders the producer's stream and the consumer's: seen by latches, never by a duration.

The producer's stream is held, and the producer's own operation that writes the sentinel is queued behind the latch. Then the
exchange and the consumer's own operation that reads are run on the consumer's stream, and only that stream is
waited for. A second latch holds a stream that has nothing to do with it: who waits for that one waits for the whole device.
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
"""How long the latch on the producer's stream holds by itself: what blocks the host with the GIL held ends only so."""
LONGER_SECONDS = 0.005
"""How much longer the one on the unrelated stream does, so that a wait for the first alone returns while this one holds."""
BURNT_NANOSECONDS = LIMIT_SECONDS * 1e9 / 4
"""Processor time of this process in a call that held the GIL until a latch's time was up: less, and it was not the call."""
ROUNDS = 16
"""Round trips of the device that the consumer's work gets to finish in, if it waits for nothing."""
ATTEMPTS = 4
"""How often an observation is tried that something from outside disturbed."""


class Wait(str, Enum):
    """What an exchange makes wait for the producer's work. The order is that of their cost."""

    NONE = "none"
    """Nothing."""
    EVENT = "event-wait"
    """The consumer's stream."""
    HOST = "host-sync"
    """The calling thread."""
    DEVICE = "device-sync"
    """Everything: work that has nothing to do with the array is waited for too."""


@dataclass(frozen=True)
class Seen:
    """One observation: what waited, and whether what came second saw what came first.

    ``held_gil``: the host was blocked with the GIL held. ``rounds``: round trips of the device after which the second side was
    done while the first was still held; all that it was given, if it was not. ``writer`` is the stream that was held; ``told`` says in
    words what came out wrong, where the work can tell.
    """

    wait: Wait
    in_order: bool
    held_gil: bool = False
    rounds: int = 0
    writer: int = field(default=0, compare=False)
    told: str = field(default="", compare=False)

    @property
    def overtakes(self) -> bool:
        """What came second was seen to finish first, and the data show it."""
        return self.wait is Wait.NONE and not self.in_order

    def __str__(self) -> str:
        gil = " with the GIL held" if self.held_gil else ""
        return f"{self.wait.value}{gil}, {'in' if self.in_order else 'out of'} order"


class Work(Protocol):
    """Two pieces of work of two libraries, ready to be run once. It is made while the device is idle.

    One that has a method ``told`` says with it, once all is done, which elements came out wrong, in words.
    """

    libraries: tuple[Adapter, ...]
    """Those that take part."""
    writer: int
    """Handle of the stream that :meth:`before` queues on."""
    reader: int
    """Handle of the stream that :meth:`exchange` leaves its last work on."""

    def before(self) -> None:
        """Queue what has to come first."""

    def exchange(self) -> None:
        """What is looked at: lets the library's own exception out."""

    def in_order(self) -> bool:
        """Whether, now that all is done, what came second saw what came first, or left alone what came first."""


class Disturbed(Exception):
    """The observation did not come off, by nobody's fault: a latch let go too early."""


def observe(
    streams: Streams, make: Callable[[], Work], *, rounds: int = ROUNDS, seconds: float = LIMIT_SECONDS
) -> Seen:
    """Warm up with one piece of work, then observe another; :class:`Inconclusive` if it is always disturbed.

    ``rounds`` are the round trips of the device that the second side gets, ``seconds`` the time that the latch holds by itself.

    Exceptions of the exchange come out as they are.
    """
    warm = make()
    with nothing_freed(warm.libraries):
        usual = _warm_up(streams, warm)
        seen = _undisturbed(streams, make, usual, rounds, seconds)
        if seen.wait in (Wait.HOST, Wait.DEVICE) and not seen.held_gil:
            # A call that returns is proof that it need not wait; one that does not is only evidence, so it has to show twice.
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
    """No memory of earlier cases is freed inside: freeing waits for the device, and would look like the exchange's doing."""
    for library in libraries:
        library.let_go()
    with uncollected():
        yield


def _warm_up(streams: Streams, work: Work) -> int:
    """Everything that will be used is used once, with a latch that lets go at once; nanoseconds that the exchange took."""
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
        raise Disturbed("a latch's time was up before what comes first had been queued")
    called = blocking.call(work.exchange, (latch, other), usual)
    if called.error:
        raise called.error
    if called.ended:
        if called.held_gil and called.nanoseconds < BURNT_NANOSECONDS:
            raise Disturbed("a latch's time was up before the call returned, though it did not wait")
        wait = Wait.HOST if other.held else Wait.DEVICE
        streams.synchronize(work.reader)
        return wait, called.held_gil, 0
    rounds = _rounds_until_done(streams, work.reader, most)
    if not latch.held:
        raise Disturbed("a latch's time was up before the second side's stream had been looked at")
    if rounds is not None:
        return Wait.NONE, False, rounds
    latch.release()
    while not streams.done(work.reader) and not other.expired:
        pass
    return (Wait.EVENT if other.held else Wait.DEVICE), False, most


def _rounds_until_done(streams: Streams, stream: int, most: int) -> int | None:
    """After how many round trips a stream was done; ``None`` if it never was."""
    for rounds in range(most):
        if streams.done(stream):
            return rounds
        streams.round_trip()
    return None


_unrelated_streams: WeakKeyDictionary[Streams, int] = WeakKeyDictionary()


def _unrelated(streams: Streams) -> int:
    """A stream of ours that nobody else knows."""
    if streams not in _unrelated_streams:
        _unrelated_streams[streams] = streams.create()
    return _unrelated_streams[streams]
