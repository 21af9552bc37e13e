"""Search for memory leaks: memory that grows with each of many exchanges, unlike filling caches and late releases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import heap
from .exchange import Exchange
from .offers import happens

LEAST = 16
"""Size of the smallest allocation of a C heap, in bytes."""
LONG_ROUND = 1024
"""Number of exchanges of a long round, which decides."""
LONG_ROUNDS = 5
"""Number of long rounds that must grow. A cache that is full before the last of them is not a leak."""
_MISSING = 1
"""Minimum number of exchanges of a round that may leave no growth."""
_QUIET = 2
"""Number of rounds without growth that prove that there is no leak."""


@dataclass(frozen=True)
class Look:
    """The sizes of the rounds before the long rounds.

    ``warm_up``, ``round`` and ``middle`` are the numbers of exchanges before the rounds, in a short round and in a middle round. ``rounds``
    rounds of each kind must grow. ``quiet`` rounds without growth end the search.
    """

    warm_up: int
    round: int
    middle: int
    rounds: int
    quiet: int


THOROUGH = Look(warm_up=32, round=64, middle=128, rounds=3, quiet=2)
"""The search in a case that looks for leaks only."""
QUICK = Look(warm_up=2, round=6, middle=64, rounds=3, quiet=1)
"""The search as one of many repeated checks in a case."""


@dataclass(frozen=True)
class Growth:
    """The minimum growth of memory over several rounds of exchanges."""

    exchanges: int
    heap: int
    """The growth of the C heap in bytes."""
    blocks: int
    """The growth in blocks of Python's allocator."""

    @property
    def grows(self) -> bool:
        """True if the growth is at least one smallest allocation, or one block of Python's allocator, for each exchange.

        A few exchanges may be missing, because other code frees memory as well.
        """
        enough = self.exchanges - max(_MISSING, self.exchanges // 16)
        return self.heap >= enough * LEAST or self.blocks >= enough

    @property
    def told(self) -> str:
        """The growth in words."""
        enough = 15 * self.exchanges // 16
        per = [f"{self.heap / self.exchanges:.0f} bytes of the C heap"] if self.heap >= enough * LEAST else []
        per += [f"{self.blocks / self.exchanges:.1f} blocks of Python's memory"] if self.blocks >= enough else []
        return f"{' and '.join(per)} for each exchange, in each of {LONG_ROUNDS} rounds"


def growth(exchange: Exchange, once: Callable[[], object], look: Look) -> Growth | None:
    """Return the memory that each long round leaks, or ``None`` if there is no leak.

    The short rounds do not wait for late releases. The middle and the long rounds do, and the long rounds decide.
    """
    for _ in range(look.warm_up):
        once()
    if _rounds(lambda: _at_once(once, look.round), look.rounds, look.quiet) is None:
        return None
    if _lasting_rounds(exchange, once, look.middle, look.rounds, look.quiet) is None:
        return None
    found = _lasting_rounds(exchange, once, LONG_ROUND, LONG_ROUNDS, _QUIET)
    if found is None:
        return None
    least = Growth(LONG_ROUND, min(each.heap for each in found), min(each.blocks for each in found))
    return least if least.grows else None


def _rounds(grown: Callable[[], Growth], needed: int, allowed: int) -> list[Growth] | None:
    """Return ``needed`` rounds that grow, or ``None`` after ``allowed`` rounds that do not.

    A round of a real leak may not grow if another object is freed in it.
    """
    found: list[Growth] = []
    quiet = 0
    while len(found) < needed:
        round_ = grown()
        if round_.grows:
            found.append(round_)
        else:
            quiet += 1
        if quiet == allowed:
            return None
    return found


def _at_once(once: Callable[[], object], count: int) -> Growth:
    """Return the growth by these exchanges, without waiting for late releases."""
    before = heap.held()
    for _ in range(count):
        once()
    return _since(before, count)


def _lasting_rounds(
    exchange: Exchange, once: Callable[[], object], count: int, needed: int, allowed: int
) -> list[Growth] | None:
    """Return rounds that still grow after the patience, and after both libraries have emptied their caches.

    The wait comes once after all rounds, because a leak uses up the whole patience. Memory that is released by then does not count as growth.
    """

    def round_() -> Growth:
        before = heap.held()
        _make(exchange, once, count)
        return _since(before, count)

    found = _rounds(round_, needed, allowed)
    if found is None:
        return None
    mean = _lasting_mean(found, count)
    if not mean.grows:
        return None
    return [Growth(count, min(each.heap, mean.heap), min(each.blocks, mean.blocks)) for each in found]


def _make(exchange: Exchange, once: Callable[[], object], count: int) -> None:
    """Run the exchanges, and ask both libraries to empty their caches."""
    for _ in range(count):
        once()
    for name in {exchange.case.producer, exchange.case.consumer}:
        exchange.library(name).let_go()


def _since(before: heap.Held, count: int) -> Growth:
    """Return the growth by ``count`` exchanges since the earlier count."""
    since = heap.held().since(before)
    return Growth(count, since.heap or 0, since.blocks)


def _lasting_mean(rounds: list[Growth], count: int) -> Growth:
    """Return the mean growth of these rounds, without the memory that is released within the patience."""
    behind = heap.held()
    heap_, blocks = sum(each.heap for each in rounds), sum(each.blocks for each in rounds)
    found = Growth(count, 0, 0)

    def is_released() -> bool:
        nonlocal found
        since = heap.held().since(behind)
        found = Growth(count, (heap_ + (since.heap or 0)) // len(rounds), (blocks + since.blocks) // len(rounds))
        return not found.grows

    happens(is_released)
    return found
