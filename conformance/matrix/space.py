"""Space of combinations: axes with values, and clauses that forbid combinations. Pure functions with exact counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from math import prod

Choice = Mapping[str, str]
"""A value for each axis, or for some axes."""
Clause = Mapping[str, frozenset[str]]
"""A set of values for some axes. A choice fits if it has one of these values on each of the axes."""


def fits(clause: Clause, choice: Choice) -> bool:
    """Return whether a choice has a value of every set. A choice without a value for an axis of the clause does not fit."""
    return all(choice.get(axis) in values for axis, values in clause.items())


@dataclass(frozen=True)
class Space:
    """All choices that fit no clause."""

    axes: Mapping[str, tuple[str, ...]]
    clauses: tuple[Clause, ...] = ()

    @property
    def product(self) -> int:
        """Number of combinations without the clauses."""
        return prod(len(values) for values in self.axes.values())

    def allows(self, choice: Choice) -> bool:
        """Return whether a complete or partial choice fits no clause."""
        return not any(fits(clause, choice) for clause in self.clauses)

    def complete(self, choice: Choice) -> dict[str, str] | None:
        """Return the first allowed complete choice with these values, in the order of the values; ``None`` if there is none."""
        if not self.allows(choice):
            return None
        axis = next((name for name in self.axes if name not in choice), None)
        if axis is None:
            return {name: choice[name] for name in self.axes}
        found = (self.complete({**choice, axis: value}) for value in self.axes[axis])
        return next((full for full in found if full is not None), None)

    def count(self) -> int:
        """Return the number of allowed complete choices."""
        names = tuple(self.axes)

        @cache
        def below(depth: int, alive: frozenset[int]) -> int:
            """Count complete choices from this axis on. ``alive`` are the clauses that the values so far fit."""
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
        """Return the clauses that can still fit after this value; ``None`` if a clause fits completely."""
        axis, open_axes = names[depth], set(names[depth + 1 :])
        still = frozenset(n for n in alive if value in self.clauses[n].get(axis, (value,)))
        return None if any(open_axes.isdisjoint(self.clauses[n]) for n in still) else still

    def combinations(self, strength: int, over: Iterable[str]) -> Iterator[dict[str, str]]:
        """Yield every combination of values of ``strength`` of these axes, allowed or not."""
        for names in combinations(over, strength):
            for values in product(*(self.axes[name] for name in names)):
                yield dict(zip(names, values))

    def allowed_combinations(self, strength: int, over: Iterable[str]) -> list[dict[str, str]]:
        """Return the combinations that are part of at least one allowed choice."""
        return [choice for choice in self.combinations(strength, over) if self.complete(choice) is not None]
