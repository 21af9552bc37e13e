"""Rounds of exchanges: those that show a leak, and those that do not, by memory that only counts."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from conformance.checks import heap, leaks
from conformance.checks.leaks import LEAST, LONG_ROUND, LONG_ROUNDS, QUICK, THOROUGH, Growth, Look, growth

LOOKS = pytest.mark.parametrize("look", [QUICK, THOROUGH], ids=["quick", "thorough"])


class Memory:
    """Bytes and blocks in use after a number of exchanges, and after the libraries have let go."""

    def __init__(self, after: Callable[[int], int], *, blocks: bool = False, late: int = 0) -> None:
        self.exchanges = 0
        self.kept_for_later = 0
        self._after = after
        self._late = late
        self._blocks = blocks

    def once(self) -> None:
        """Make an exchange."""
        self.exchanges += 1
        self.kept_for_later += self._late

    def let_go(self) -> None:
        """Release what is kept for later."""
        self.kept_for_later = 0

    def held(self) -> heap.Held:
        """The count."""
        amount = self._after(self.exchanges) + self.kept_for_later
        return heap.Held(0, amount) if self._blocks else heap.Held(amount, 0)


@pytest.fixture
def grown(monkeypatch: pytest.MonkeyPatch) -> Callable[[Memory, Look], Growth | None]:
    """Return the growth that a look finds in this memory."""

    def look_at(memory: Memory, look: Look) -> Growth | None:
        monkeypatch.setattr(heap, "held", memory.held)
        case = SimpleNamespace(producer="a", consumer="b")
        exchange: Any = SimpleNamespace(case=case, library=lambda _: memory)
        return growth(exchange, memory.once, look)

    return look_at


@LOOKS
@pytest.mark.parametrize("each", [LEAST, 100])
def test_what_each_exchange_leaves_is_a_leak(each: int, look: Look, grown: Any) -> None:
    """From the smallest allocation on."""
    assert grown(Memory(lambda n: n * each), look) == Growth(LONG_ROUND, LONG_ROUND * each, 0)
    assert grown(Memory(lambda n: n, blocks=True), look) == Growth(LONG_ROUND, 0, LONG_ROUND)


@LOOKS
def test_less_than_the_smallest_allocation_is_no_leak(look: Look, grown: Any) -> None:
    """Something else has taken it: half of it for each exchange is far from a leak."""
    memory = Memory(lambda n: n * (LEAST // 2))
    assert grown(memory, look) is None
    assert memory.exchanges == look.warm_up + look.round * look.quiet


@LOOKS
def test_memory_that_is_released_late_is_no_leak(look: Look, grown: Any) -> None:
    """The short rounds see it grow; the middle ones wait until the libraries let go."""
    memory = Memory(lambda n: 0, late=100)
    assert grown(memory, look) is None
    assert memory.exchanges == look.warm_up + look.round * look.rounds + look.middle * look.quiet


def test_a_quick_look_waits_behind_all_rounds_of_a_length(grown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not behind each. What comes back by then is no leak, though each round has left more behind."""
    waits: list[bool] = []
    memory = Memory(lambda n: n * 100 - back)
    back = 0

    def comes_back(event: Callable[[], bool]) -> bool:
        nonlocal back
        back = memory.exchanges * 100
        waits.append(event())
        return waits[-1]

    monkeypatch.setattr(leaks, "happens", comes_back)
    assert grown(memory, QUICK) is None
    assert memory.exchanges == QUICK.warm_up + QUICK.rounds * (QUICK.round + QUICK.middle)
    assert waits == [True]


@LOOKS
@pytest.mark.parametrize("room", [1, 40, 250, LONG_ROUND, (LONG_ROUNDS - 1) * LONG_ROUND])
def test_a_cache_of_bounded_room_is_no_leak(room: int, look: Look, grown: Any) -> None:
    """However large its entries are, it is full before the last long round."""
    assert grown(Memory(lambda n: min(n, room) * 1000), look) is None


@pytest.mark.parametrize(("look", "every"), [(QUICK, 6), (THOROUGH, 6), (THOROUGH, 64)])
def test_a_leak_that_comes_with_every_so_many_exchanges_is_one(look: Look, every: int, grown: Any) -> None:
    """As long as each short round has one; the bytes for each exchange are the mean."""
    found = grown(Memory(lambda n: n // every * every * 2 * LEAST), look)
    assert found is not None
    assert found.heap == pytest.approx(LONG_ROUND * 2 * LEAST, abs=every * 2 * LEAST)


def test_a_round_in_which_something_else_is_freed_hides_no_leak(grown: Any) -> None:
    """Two of the long rounds would."""
    in_second_round = THOROUGH.warm_up + 3 * THOROUGH.round + 3 * THOROUGH.middle + LONG_ROUND + 1
    freed = 1 << 30
    memory = Memory(lambda n: freed + n * 100 - (freed if n >= in_second_round else 0))
    assert grown(memory, THOROUGH) == Growth(LONG_ROUND, LONG_ROUND * 100, 0)
    twice = Memory(
        lambda n: freed + n * 100 - freed // 2 * ((n >= in_second_round) + (n >= in_second_round + LONG_ROUND))
    )
    assert grown(twice, THOROUGH) is None


def test_a_growth_is_told_for_each_exchange() -> None:
    """In bytes and in blocks, where they are too many."""
    assert Growth(100, 1600, 50).told == "16 bytes of the C heap for each exchange, in each of 5 rounds"
    both = Growth(100, 1600, 150)
    assert (
        both.told == "16 bytes of the C heap and 1.5 blocks of Python's memory for each exchange, in each of 5 rounds"
    )
    assert Growth(100, 1504, 0).grows  # of 16 exchanges one need not show
    assert not Growth(100, 1503, 93).grows
    assert leaks.LONG_ROUNDS == 5
