"""Select the cells of a tier: a library computes a covering array, and a separate check counts the coverage."""

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
    """Coverage of a tier: demanded combinations that its cells contain."""

    covered: int
    excused: int
    allowed: int

    @property
    def missing(self) -> int:
        """Number of combinations that are allowed but neither covered nor excused. Any number but 0 is a bug in this program."""
        return self.allowed - self.covered - self.excused


@dataclass(frozen=True)
class Selection:
    """Cells of a tier, in order: those of the extended tier, those named in the file, and those selected for coverage."""

    tier: Tier
    cells: tuple[Cell, ...]
    coverage: Coverage | None
    """Coverage of the tier's own demand."""


def selections(matrix: Matrix, last: str | None = None) -> Iterator[Selection]:
    """Yield each tier in the order of the file, or only ``last`` and the tiers that it extends. The same file always gives the same cells.

    A covering array takes seconds, so each tier is computed only when the caller needs it.
    """
    done: dict[str, Selection] = {}
    for tier in matrix.tiers if last is None else matrix.upto(last):
        done[tier.name] = _select(matrix, tier, done[tier.extends].cells if tier.extends else ())
        yield done[tier.name]


def select(matrix: Matrix, name: str) -> Selection:
    """Return the cells of one tier."""
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
    """Return the cells that a user names, by name or by alias, in the user's order.

    Raises:
        UserError: a cell does not exist.
    """
    known = {word: cell for tier in all_tiers for cell in tier.cells for word in (cell.alias, cell.name) if word}
    wanted = tuple(words)
    for word in (word for word in wanted if word not in known):
        close = get_close_matches(word, known, 1)
        hint = f"did you mean {close[0]}?" if close else "`matrix --names` prints the names"
        raise UserError(f"there is no cell {word}; {hint}")
    return tuple(dict.fromkeys(known[word] for word in wanted))


def cover(
    space: Space, demand: Demand, present: Sequence[Choice], excuses: Iterable[Excuse] = ()
) -> list[dict[str, str]]:
    """Return choices that cover the demand together with the present ones: those of the library, then any that it missed."""
    excused = [excuse.values for excuse in excuses]
    wanted = [c for c in space.allowed_combinations(demand.strength, demand.over) if not any_fits(excused, c)]
    sparing = Space(space.axes, (*space.clauses, *excused))
    candidates = [row for row in _covering_array(sparing, demand, present) if space.allows(row)]
    return _needed(space, wanted, present, candidates)


def _needed(
    space: Space, wanted: Iterable[Choice], present: Iterable[Choice], candidates: Iterable[dict[str, str]]
) -> list[dict[str, str]]:
    """Return the candidates that cover something new, best first. For combinations that remain, return the first allowed choice."""
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
    """Return whether a choice has all values of another."""
    return all(choice[axis] == value for axis, value in part.items())


def any_fits(clauses: Iterable[Clause], choice: Choice) -> bool:
    """Return whether a choice fits one of the clauses."""
    return any(fits(clause, choice) for clause in clauses)


def coverage(space: Space, demand: Demand, chosen: Sequence[Choice], excuses: Iterable[Excuse] = ()) -> Coverage:
    """Count the coverage independently of how the cells were selected."""
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
