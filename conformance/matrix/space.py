"""What can be combined: axes with values, and clauses that no combination may fit. Pure, and exact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from math import prod

Choice = Mapping[str, str]
"""A value for each axis, or for some of them."""
Clause = Mapping[str, frozenset[str]]
"""Fits a choice that has, on every axis named here, one of these values."""


def fits(clause: Clause, choice: Choice) -> bool:
    """Whether a choice has a value of every set; one that leaves an axis of the clause open does not fit yet."""
    return all(choice.get(axis) in values for axis, values in clause.items())


@dataclass(frozen=True)
class Space:
    """All choices that fit no clause."""

    axes: Mapping[str, tuple[str, ...]]
    clauses: tuple[Clause, ...] = ()

    @property
    def product(self) -> int:
        """How many combinations there would be without clauses."""
        return prod(len(values) for values in self.axes.values())

    def allows(self, choice: Choice) -> bool:
        """Whether a choice, complete or not, fits no clause so far."""
        return not any(fits(clause, choice) for clause in self.clauses)

    def complete(self, choice: Choice) -> dict[str, str] | None:
        """The first full choice, by the order of the values, that has these values; ``None`` where there is none."""
        if not self.allows(choice):
            return None
        axis = next((name for name in self.axes if name not in choice), None)
        if axis is None:
            return {name: choice[name] for name in self.axes}
        found = (self.complete({**choice, axis: value}) for value in self.axes[axis])
        return next((full for full in found if full is not None), None)

    def count(self) -> int:
        """How many choices are allowed."""
        names = tuple(self.axes)

        @cache
        def below(depth: int, alive: frozenset[int]) -> int:
            """Full choices from this axis on; ``alive`` are the clauses that fit all values chosen so far."""
            if depth == len(names):
                return 1
            return sum(
                below(depth + 1, still)
                for value in self.axes[names[depth]]
                if (still := self._still_fitting(alive, names, depth, value)) is not None
            )

        return below(0, frozenset(range(len(self.clauses))))

    def _still_fitting(
        self, alive: Iterable[int], names: tuple[str, ...], depth: int, value: str
    ) -> frozenset[int] | None:
        """The clauses that may still fit after this value; ``None`` where one fits completely."""
        axis, open_axes = names[depth], set(names[depth + 1 :])
        still = frozenset(n for n in alive if value in self.clauses[n].get(axis, (value,)))
        return None if any(open_axes.isdisjoint(self.clauses[n]) for n in still) else still

    def combinations(self, strength: int, over: Iterable[str]) -> Iterator[dict[str, str]]:
        """Every way to choose values for ``strength`` of these axes, allowed or not."""
        for names in combinations(over, strength):
            for values in product(*(self.axes[name] for name in names)):
                yield dict(zip(names, values))

    def allowed_combinations(self, strength: int, over: Iterable[str]) -> list[dict[str, str]]:
        """Those of them that are in at least one allowed choice."""
        return [choice for choice in self.combinations(strength, over) if self.complete(choice) is not None]
