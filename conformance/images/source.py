"""Read recipes from matrix.yaml and its lock files, or from a plan file."""

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
    """Return the recipes of a tier's cells, or of the cells with these names. Unresolvable cells are left out.

    Raises UserError for unknown names, and for missing or stale lock files.
    """
    plan = matrix.plan(path, tier, cells)
    names = [cell.name for cell in plan.cells]
    found = [cell for cell in plan.cells if not cells or cell.name in cells or cell.alias in cells]
    unknown = set(cells) - {word for cell in found for word in (cell.name, cell.alias)}
    if unknown:
        raise UserError(f"--cells: there is no cell {', '.join(sorted(unknown))}; the cells are {', '.join(names)}")
    bad = [cell.name for cell in found if plan.standings[cell.name].state in (State.STALE, State.MISSING)]
    if bad:
        raise UserError(f"the lock files of {', '.join(bad)} are missing or stale; `nox -s lock` creates them")
    locked = [cell for cell in found if plan.standings[cell.name].state is State.LOCKED]
    return [
        Recipe(cell=cell.name, python=cell[PYTHON_AXIS], cuda=cell.major, lock=plan.folder / f"{cell.name}.txt")
        for cell in locked
    ]


def from_file(path: Path) -> list[Recipe]:
    """Return the recipes in a JSON list of objects with ``cell``, ``python``, ``cuda``, ``lock``, and optionally ``base`` and ``tools``.

    Paths of lock files are relative to the file. Raises UserError with all mistakes in the file.
    """
    try:
        entries = documents.read(path, shapes.ANYTHING)
    except files.Unreadable as error:
        raise UserError(f"--plan: {error}; give a list of cells as JSON") from error
    if not isinstance(entries, list):
        raise UserError(f"--plan: {path} is not a list of cells")
    mistakes = [f"{path}: cell {n}: {what}" for n, entry in enumerate(entries, 1) for what in _mistakes(entry)]
    if mistakes:
        raise UserError("\n".join(mistakes))
    return [Recipe(**{**entry, "lock": path.parent / entry["lock"]}) for entry in entries]


def _mistakes(entry: Any) -> Iterable[str]:
    if not isinstance(entry, dict):
        yield "is not an object"
        return
    yield from (f"has no {name}" for name in NEEDED if name not in entry)
    yield from (
        f"has the unknown key {name!r}; the known keys are {', '.join(KNOWN)}" for name in entry if name not in KNOWN
    )
    yield from (f"{name} is not a string" for name in KNOWN if not isinstance(entry.get(name, ""), str))


def chosen(recipes: Sequence[Recipe], cells: Sequence[str]) -> list[Recipe]:
    """Return the recipes of these cells, or all. Raises UserError for an unknown name."""
    names = [recipe.cell for recipe in recipes]
    unknown = [cell for cell in cells if cell not in names]
    if unknown:
        raise UserError(f"--cells: there is no cell {', '.join(unknown)}; the cells are {', '.join(names)}")
    return [recipe for recipe in recipes if not cells or recipe.cell in cells]
