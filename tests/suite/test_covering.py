"""Covering arrays: complete, the same every time, and without forbidden pairs."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from conformance.checks.covering_arrays import Space, covering, uncovered


def drawn(seed: int) -> Space:
    """A space with up to seven factors, and pairs of levels that are kept apart, none of them a default."""
    dice = random.Random(seed)
    factors = tuple(
        (f"f{n}", tuple(f"{n}-{level}" for level in range(dice.randint(1, 7)))) for n in range(dice.randint(2, 7))
    )
    others = [(name, level) for name, levels in factors for level in levels[1:]]
    pairs = [frozenset(pair) for pair in combinations(others, 2) if pair[0][0] != pair[1][0]]
    return Space(factors, frozenset(dice.sample(pairs, len(pairs) // 4)))


@pytest.mark.parametrize("seed", range(30))
def test_every_pair_that_can_be_is_covered(seed: int) -> None:
    """And no point has a forbidden pair."""
    space = drawn(seed)
    points = covering(space)
    assert not uncovered(space, points)
    assert not [p for p in points if any(frozenset(pair) in space.apart for pair in combinations(p.items(), 2))]
    assert points == covering(space)


def test_the_default_and_its_neighbours_come_first() -> None:
    """They are the quick tier."""
    space = Space((("a", ("1", "2")), ("b", ("x", "y"))))
    assert covering(space) == [
        {"a": "1", "b": "x"}, {"a": "2", "b": "x"}, {"a": "1", "b": "y"}, {"a": "2", "b": "y"},
    ]  # fmt: skip


def test_each_missing_level_has_a_reason() -> None:
    """The check of completeness is independent: it reads points alone."""
    space = Space((("a", ("1", "2")), ("b", ("x", "y"))), frozenset({frozenset({("a", "2"), ("b", "y")})}))
    assert uncovered(space, [{"a": "1", "b": "x"}, {"a": "2", "b": "x"}]) == [frozenset({("a", "1"), ("b", "y")})]


def test_a_level_that_does_not_go_with_a_default_is_a_mistake() -> None:
    """Otherwise a pair could be allowed, and in no point."""
    with pytest.raises(ValueError, match="default"):
        Space((("a", ("1", "2")), ("b", ("x", "y"))), frozenset({frozenset({("a", "1"), ("b", "y")})}))


def test_few_points_more_than_the_two_largest_factors_need() -> None:
    """Otherwise a run would take much longer than it has to."""
    space = Space(
        tuple((name, tuple(f"{name}{n}" for n in range(count))) for name, count in zip("abcdef", (12, 9, 6, 5, 3, 2)))
    )
    assert len(covering(space)) <= 12 * 9 + len(list(space.singles()))
