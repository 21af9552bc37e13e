"""Which cells a tier has: a covering array by a library, and our own check that nothing allowed is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import covertable

from conformance.exits import UserError

from .model import Cell, Demand, Excuse, Matrix, Tier
from .space import Choice, Clause, Space, fits


@dataclass(frozen=True)
class Coverage:
    """How much of what a tier demands its cells cover."""

    covered: int
    excused: int
    allowed: int

    @property
    def missing(self) -> int:
        """Allowed, not covered, and not excused. Not 0 is a mistake in this program."""
        return self.allowed - self.covered - self.excused


@dataclass(frozen=True)
class Selection:
    """The cells of a tier, in order: those of the tier it extends, those named in the file, those chosen."""

    tier: Tier
    cells: tuple[Cell, ...]
    coverage: Coverage | None
    """Of what the tier itself demands."""


def selections(matrix: Matrix, last: str | None = None) -> Iterator[Selection]:
    """Each tier in the order of the file, or ``last`` and those that it extends. The same file always gives the same cells.

    A cover costs seconds, so a tier is made only when it is asked for.
    """
    done: dict[str, Selection] = {}
    for tier in matrix.tiers if last is None else matrix.upto(last):
        done[tier.name] = _select(matrix, tier, done[tier.extends].cells if tier.extends else ())
        yield done[tier.name]


def select(matrix: Matrix, name: str) -> Selection:
    """The cells of one tier."""
    return tuple(selections(matrix, name))[-1]


def _select(matrix: Matrix, tier: Tier, inherited: tuple[Cell, ...]) -> Selection:
    space = matrix.space
    named = [cell for alias in tier.cells for cell in matrix.cells if cell.alias == alias]
    chosen = [cell.choice for cell in dict.fromkeys((*inherited, *named))]
    if tier.cover:
        chosen += cover(space, tier.cover, chosen, tier.excuses)
    found = coverage(space, tier.cover, chosen, tier.excuses) if tier.cover else None
    assert not (found and found.missing), f"tier {tier.name} leaves {found} uncovered"
    return Selection(tier, tuple(matrix.cell(choice) for choice in chosen), found)


def named(all_tiers: Iterable[Selection], words: Iterable[str]) -> tuple[Cell, ...]:
    """The cells that a user names, by name or by alias, in the user's order.

    Raises:
        UserError: there is no such cell.
    """
    known = {word: cell for tier in all_tiers for cell in tier.cells for word in (cell.alias, cell.name) if word}
    wanted = tuple(words)
    for word in (word for word in wanted if word not in known):
        close = get_close_matches(word, known, 1)
        hint = f"did you mean {close[0]}?" if close else "`matrix --names` prints those there are"
        raise UserError(f"there is no cell {word}; {hint}")
    return tuple(dict.fromkeys(known[word] for word in wanted))


def cover(
    space: Space, demand: Demand, present: Sequence[Choice], excuses: Iterable[Excuse] = ()
) -> list[dict[str, str]]:
    """Choices that, beside those present, cover what is demanded: the library's, then what it missed."""
    excused = [excuse.values for excuse in excuses]
    wanted = [c for c in space.allowed_combinations(demand.strength, demand.over) if not any_fits(excused, c)]
    sparing = Space(space.axes, (*space.clauses, *excused))
    candidates = [row for row in _covering_array(sparing, demand, present) if space.allows(row)]
    return _needed(space, wanted, present, candidates)


def _needed(
    space: Space, wanted: Iterable[Choice], present: Iterable[Choice], candidates: Iterable[dict[str, str]]
) -> list[dict[str, str]]:
    """Candidates that cover something new, best first; then a choice of our own for whatever is left."""
    left = [w for w in wanted if not any(contains(choice, w) for choice in present)]
    pool, chosen = list(candidates), []
    while left:
        best = max(pool, key=lambda choice: sum(contains(choice, w) for w in left), default=None)
        if best is None or not any(contains(best, w) for w in left):
            best = space.complete(left[0])
            assert best is not None, "an allowed combination is in some cell"
        pool = [choice for choice in pool if choice is not best]
        chosen.append(best)
        left = [w for w in left if not contains(best, w)]
    return chosen


def contains(choice: Choice, part: Choice) -> bool:
    """Whether a choice has all values of another."""
    return all(choice[axis] == value for axis, value in part.items())


def any_fits(clauses: Iterable[Clause], choice: Choice) -> bool:
    """Whether one of the clauses fits a choice."""
    return any(fits(clause, choice) for clause in clauses)


def coverage(space: Space, demand: Demand, chosen: Sequence[Choice], excuses: Iterable[Excuse] = ()) -> Coverage:
    """Our own count, which knows nothing of how the cells were chosen."""
    allowed = space.allowed_combinations(demand.strength, demand.over)
    covered = [c for c in allowed if any(contains(choice, c) for choice in chosen)]
    uncovered = [c for c in allowed if c not in covered]
    excused = [c for c in uncovered if any_fits((excuse.values for excuse in excuses), c)]
    return Coverage(len(covered), len(excused), len(allowed))


def _covering_array(space: Space, demand: Demand, present: Sequence[Choice]) -> list[dict[str, str]]:
    options: dict[str, Any] = {"strength": demand.strength}
    if set(demand.over) != set(space.axes):
        options = {"strength": 1, "sub_models": [{"fields": list(demand.over), "strength": demand.strength}]}
    rows: list[dict[str, str]] = covertable.make(
        {axis: list(values) for axis, values in space.axes.items()},
        presets=[dict(choice) for choice in present],
        constraints=[_constraint(clause) for clause in space.clauses],
        **options,
    )
    return rows


def _constraint(clause: Clause) -> dict[str, Any]:
    return {"operator": "fn", "requires": list(clause), "evaluate": _not_fitting(clause)}


def _not_fitting(clause: Clause) -> Callable[[Choice], bool]:
    return lambda choice: not fits(clause, choice)
