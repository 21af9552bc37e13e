"""Which cells: from matrix.yaml and its locks to what the engines are given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from conformance.exits import UserError
from conformance.matrix import commands as matrix
from conformance.matrix.locks import Standing, State
from conformance.matrix.mistakes import nearest

from .model import Cell

HERE = Cell("here")
"""What is installed where the runner is, whatever that may be."""


def planned(path: Path, tier: str | None, names: Sequence[str]) -> tuple[Cell, ...]:
    """The cells of a tier, or those with these names or aliases, of any tier.

    Raises UserError for names that there are none of.
    """
    found = matrix.plan(path, None if names else tier)
    cells = found.shown[-1].cells if not names else found.cells
    known = {word: cell for cell in cells for word in (cell.name, cell.alias) if word}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(
            f"--cells: there is no cell {', '.join(unknown)}{nearest(unknown[0], known)}; `matrix` shows what there is"
        )
    chosen = dict.fromkeys(known[name] for name in names) if names else cells
    return tuple(_cell(found.standings[cell.name], found.folder) for cell in chosen)


def _cell(standing: Standing, folder: Path) -> Cell:
    cell, locked = standing.cell, standing.state is State.LOCKED
    problem = "" if locked else f"{standing.why}; `nox -s lock` makes its lock"
    unresolvable = standing.state is State.UNRESOLVABLE
    return Cell(
        cell.name, cell.alias, cell["python"], cell.major, str(folder / f"{cell.name}.txt") if locked else "",
        standing.why if unresolvable else problem, unresolvable,
    )  # fmt: skip


def titles(cells: Iterable[Cell]) -> str:
    """The cells as a person calls them."""
    return ", ".join(cell.title for cell in cells)
