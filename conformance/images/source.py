"""Where recipes come from: matrix.yaml and its locks, or a plan as a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from conformance import documents, files, shapes
from conformance.exits import UserError
from conformance.matrix import commands as matrix
from conformance.matrix.locks import State
from conformance.matrix.model import PYTHON_AXIS

from .model import Recipe

NEEDED = ("cell", "python", "cuda", "lock")
KNOWN = (*NEEDED, "base", "tools")


def from_matrix(path: Path, tier: str | None, cells: Sequence[str] = ()) -> list[Recipe]:
    """The recipes of a tier's cells, or of those with these names, whose locks can be used.

    Raises UserError for names that there are none of, and for locks that are missing or stale.
    """
    plan = matrix.plan(path, tier, cells)
    names = [cell.name for cell in plan.cells]
    found = [cell for cell in plan.cells if not cells or cell.name in cells or cell.alias in cells]
    unknown = set(cells) - {word for cell in found for word in (cell.name, cell.alias)}
    if unknown:
        raise UserError(f"--cells: there is no cell {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    bad = [cell.name for cell in found if plan.standings[cell.name].state in (State.STALE, State.MISSING)]
    if bad:
        raise UserError(f"no lock fits {', '.join(bad)}; `nox -s lock` makes what is missing or stale")
    locked = [cell for cell in found if plan.standings[cell.name].state is State.LOCKED]
    return [
        Recipe(cell=cell.name, python=cell[PYTHON_AXIS], cuda=cell.major, lock=plan.folder / f"{cell.name}.txt")
        for cell in locked
    ]


def from_file(path: Path) -> list[Recipe]:
    """The recipes of a JSON list of objects with ``cell``, ``python``, ``cuda``, ``lock``, perhaps ``base`` and ``tools``.

    Locks are relative to the file. Raises UserError with all that is wrong in it.
    """
    try:
        entries = documents.read(path, shapes.ANYTHING)
    except files.Unreadable as error:
        raise UserError(f"--plan: {error}; give a list of cells as JSON") from error
    if not isinstance(entries, list):
        raise UserError(f"--plan: {path} is no list of cells")
    mistakes = [f"{path}: cell {n}: {what}" for n, entry in enumerate(entries, 1) for what in _mistakes(entry)]
    if mistakes:
        raise UserError("\n".join(mistakes))
    return [Recipe(**{**entry, "lock": path.parent / entry["lock"]}) for entry in entries]


def _mistakes(entry: Any) -> Iterable[str]:
    if not isinstance(entry, dict):
        yield "is not an object"
        return
    yield from (f"has no {name}" for name in NEEDED if name not in entry)
    yield from (f"has the unknown key {name!r}; known are {', '.join(KNOWN)}" for name in entry if name not in KNOWN)
    yield from (f"{name} is no text" for name in KNOWN if not isinstance(entry.get(name, ""), str))


def chosen(recipes: Sequence[Recipe], cells: Sequence[str]) -> list[Recipe]:
    """The recipes of these cells, or all. Raises UserError for a name that there is none of."""
    names = [recipe.cell for recipe in recipes]
    unknown = [cell for cell in cells if cell not in names]
    if unknown:
        raise UserError(f"--cells: there is no cell {', '.join(unknown)}; there are {', '.join(names)}")
    return [recipe for recipe in recipes if not cells or recipe.cell in cells]
