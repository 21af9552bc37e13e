"""Select cells from matrix.yaml and its lock files for the engines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from conformance.exits import UserError
from conformance.matrix import commands as matrix
from conformance.matrix.locks import Standing, State
from conformance.matrix.mistakes import nearest
from conformance.matrix.model import Matrix

from .model import Cell

HERE = Cell("here")
"""The cell that stands for the current environment, with its installed packages."""


def planned(path: Path, tier: str | None, names: Sequence[str]) -> tuple[Cell, ...]:
    """Return the cells of a tier, or the cells with these names or aliases, of any tier.

    Raises UserError for unknown names.
    """
    found = matrix.plan(path, None if names else tier, names)
    cells = found.shown[-1].cells if not names else found.cells
    known = {word: cell for cell in cells for word in (cell.name, cell.alias) if word}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(
            f"--cells: there is no cell {', '.join(unknown)}{nearest(unknown[0], known)}; `matrix` lists the cells"
        )
    chosen = dict.fromkeys(known[name] for name in names) if names else cells
    return tuple(_cell(found.matrix, found.standings[cell.name], found.folder) for cell in chosen)


def _cell(written: Matrix, standing: Standing, folder: Path) -> Cell:
    cell, locked = standing.cell, standing.state is State.LOCKED
    problem = "" if locked else f"{standing.why}; `nox -s lock` creates its lock file"
    unresolvable = standing.state is State.UNRESOLVABLE
    return Cell(
        cell.name, cell.alias, cell["python"], cell.major, str(folder / f"{cell.name}.txt") if locked else "",
        standing.why if unresolvable else problem, unresolvable,
        axes=written.versions(cell), holds=written.libraries(cell),
    )  # fmt: skip


def only(chosen: Iterable[Cell], arguments: Sequence[str]) -> tuple[Cell, ...]:
    """Restrict the libraries of the cells to those that ``check`` tests with these arguments: ``--between`` can exclude some."""
    words = [word for argument in arguments for word in argument.split("=", 1)]
    lists = [words[n + 1] for n, word in enumerate(words[:-1]) if len(word) > 2 and "--between".startswith(word)]
    if not lists:
        return tuple(chosen)
    names = {name.strip() for name in lists[-1].split(",")}
    return tuple(replace(c, holds={name: axis for name, axis in c.holds.items() if name in names}) for c in chosen)


def titles(cells: Iterable[Cell]) -> str:
    """Return the display names of the cells, separated by commas."""
    return ", ".join(cell.title for cell in cells)
