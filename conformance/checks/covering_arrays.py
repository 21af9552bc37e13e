"""Covering arrays of strength 2: few points that together contain every permitted pair of levels (pairwise testing)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

Level = tuple[str, str]
"""A factor and one of its levels."""
Pair = frozenset[Level]
"""Two levels of two factors."""


@dataclass(frozen=True)
class Space:
    """Factors with their levels, the default first, and the pairs of levels that are excluded.

    An excluded pair must not contain a default. So every permitted pair can be completed to a point by defaults.

    Raises:
        ValueError: an excluded pair contains a default.
    """

    factors: tuple[tuple[str, tuple[str, ...]], ...]
    apart: frozenset[Pair] = frozenset()

    def __post_init__(self) -> None:
        defaults = set(self.default.items())
        for pair in self.apart:
            if pair & defaults:
                raise ValueError(f"the excluded pair {sorted(pair)} contains a default level")

    @property
    def default(self) -> dict[str, str]:
        """The point with the default level of each factor."""
        return {name: levels[0] for name, levels in self.factors}

    def singles(self) -> Iterator[dict[str, str]]:
        """Yield the default, then each point that differs from it in one level."""
        yield self.default
        for name, levels in self.factors:
            for level in levels[1:]:
                yield {**self.default, name: level}

    def pairs(self) -> Iterator[Pair]:
        """Yield every pair of levels, including the excluded pairs."""
        for (one, these), (other, those) in combinations(self.factors, 2):
            for a in these:
                for b in those:
                    yield frozenset({(one, a), (other, b)})


def covering(space: Space) -> list[dict[str, str]]:
    """Return points that contain every permitted pair: first the singles, then the points of a greedy search.

    The result is deterministic.
    """
    found = list(space.singles())
    search = _Search(space)
    for point in found:
        search.cover(point)
    while search.left:
        point = search.best()
        search.cover(point)
        found.append(point)
    return found


def uncovered(space: Space, points: Sequence[Mapping[str, str]]) -> list[Pair]:
    """Return the permitted pairs that no point contains. This function verifies the search, so it shares no code with it."""
    had = {frozenset(pair) for point in points for pair in combinations(point.items(), 2)}
    return [pair for pair in space.pairs() if pair not in space.apart and pair not in had]


class _Search:
    """The pairs that are not covered yet. Levels are numbers, and a set of levels is a bit mask in an integer."""

    def __init__(self, space: Space) -> None:
        self._names = [(name, level) for name, levels in space.factors for level in levels]
        number = {name: n for n, name in enumerate(self._names)}
        self._number = number
        self._of_factor = [[number[name, level] for level in levels] for name, levels in space.factors]
        self._factor_of = {n: f for f, numbers in enumerate(self._of_factor) for n in numbers}
        self._apart = [0] * len(number)
        for pair in space.apart:
            levels = [number[level] for level in pair if level in number]
            if len(levels) == 2:
                self._apart[levels[0]] |= 1 << levels[1]
                self._apart[levels[1]] |= 1 << levels[0]
        every = (1 << len(number)) - 1
        own = [sum(1 << n for n in numbers) for numbers in self._of_factor]
        self._open = [every & ~own[self._factor_of[n]] & ~self._apart[n] for n in range(len(number))]

    @property
    def left(self) -> bool:
        """True if a pair is not covered yet."""
        return any(self._open)

    def cover(self, point: Mapping[str, str]) -> None:
        """Remove the pairs of this point from the pairs that are left."""
        numbers = [self._number[level] for level in point.items()]
        mask = sum(1 << n for n in numbers)
        for n in numbers:
            self._open[n] &= ~mask

    def best(self) -> dict[str, str]:
        """Return the next point: a pair with the most uncovered pairs, then, for each other factor, the level that covers most.

        A default is compatible with every level, so each factor has at least one candidate.
        """
        weight = [mask.bit_count() for mask in self._open]
        first = max(range(len(weight)), key=weight.__getitem__)
        second = max(_bits(self._open[first]), key=weight.__getitem__)
        chosen = {self._factor_of[first]: first, self._factor_of[second]: second}
        mask, apart = 1 << first | 1 << second, self._apart[first] | self._apart[second]
        rest = [f for f in range(len(self._of_factor)) if f not in chosen]
        for factor in sorted(rest, key=lambda f: -max(weight[n] for n in self._of_factor[f])):
            free = [n for n in self._of_factor[factor] if not apart >> n & 1]
            taken = max(free, key=lambda n: ((self._open[n] & mask).bit_count(), weight[n]))
            chosen[factor] = taken
            mask, apart = mask | 1 << taken, apart | self._apart[taken]
        return dict(self._names[chosen[factor]] for factor in sorted(chosen))


def _bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
