"""Leaks: memory that stays behind after many exchanges, in contrast to caches that fill and to late releases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import heap
from .exchange import Exchange
from .offers import happens

LEAST = 16
"""Bytes that the smallest allocation of a C heap takes."""
LONG_ROUND = 1024
"""Exchanges of a round that decides."""
LONG_ROUNDS = 5
"""So many long rounds have to grow: a cache that is full before the last of them is no leak."""
_MISSING = 1
"""Exchanges of a round that need not show, at least."""
_QUIET = 2
"""Rounds without growth that show that there is no leak."""


@dataclass(frozen=True)
class Look:
    """The rounds before the long ones.

    ``warm_up``, ``round`` and ``middle`` count the exchanges before the rounds, of a short round and of a middle one. ``rounds`` rounds of each
    kind have to grow, and ``quiet`` rounds without growth end the search.
    """

    warm_up: int
    round: int
    middle: int
    rounds: int
    quiet: int


THOROUGH = Look(warm_up=32, round=64, middle=128, rounds=3, quiet=2)
"""For a case of its own."""
QUICK = Look(warm_up=2, round=6, middle=64, rounds=3, quiet=1)
"""For one of many checks."""


@dataclass(frozen=True)
class Growth:
    """The memory that each of several rounds of exchanges has left behind, at least."""

    exchanges: int
    heap: int
    """Bytes of the C heap."""
    blocks: int
    """Blocks of Python's memory."""

    @property
    def grows(self) -> bool:
        """Whether it is as much as the smallest allocation for each exchange, or a block of Python's. A few may miss: others free memory too."""
        enough = self.exchanges - max(_MISSING, self.exchanges // 16)
        return self.heap >= enough * LEAST or self.blocks >= enough

    @property
    def told(self) -> str:
        """Return the growth in words."""
        enough = 15 * self.exchanges // 16
        per = [f"{self.heap / self.exchanges:.0f} bytes of the C heap"] if self.heap >= enough * LEAST else []
        per += [f"{self.blocks / self.exchanges:.1f} blocks of Python's memory"] if self.blocks >= enough else []
        return f"{' and '.join(per)} for each exchange, in each of {LONG_ROUNDS} rounds"


def growth(exchange: Exchange, once: Callable[[], object], look: Look) -> Growth | None:
    """Return the memory that each of many long rounds leaves behind; ``None`` if some rounds leave nothing.

    The short rounds do not wait for late releases, the middle ones do. The long rounds decide.
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
    """Return ``needed`` rounds that grow; ``None`` once ``allowed`` rounds do not. Another object may be freed in one round."""
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
    """Return the growth by these exchanges, without patience."""
    before = heap.held()
    for _ in range(count):
        once()
    return _since(before, count)


def _lasting_rounds(
    exchange: Exchange, once: Callable[[], object], count: int, needed: int, allowed: int
) -> list[Growth] | None:
    """Return rounds that grow even after the patience and after both libraries have emptied their caches.

    The patience comes behind all rounds, because a library with a leak uses up all of it. What is released by then has grown in no round.
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
    """Make these exchanges, and have both libraries empty their caches."""
    for _ in range(count):
        once()
    for name in {exchange.case.producer, exchange.case.consumer}:
        exchange.library(name).let_go()


def _since(before: heap.Held, count: int) -> Growth:
    """Return the growth by so many exchanges."""
    since = heap.held().since(before)
    return Growth(count, since.heap or 0, since.blocks)


def _lasting_mean(rounds: list[Growth], count: int) -> Growth:
    """Return the mean growth of these rounds, less what is released within the patience."""
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
