"""Assign candidates to cells before a run starts. The plan of the run records the result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from conformance.exits import UserError
from conformance.matrix import lockfile
from conformance.suggestions import meant

from .. import here
from ..model import Candidate, Cell
from . import wheels
from .index import File
from .requests import Asked, same

Find = Callable[[str, str], File | str]
"""Takes a requirement and a Python version. Returns the wheel in the package index, or the reason why there is none."""


def held(cell: Cell) -> dict[str, str]:
    """Return the versions in a cell by distribution, from its lock file or from the current environment; empty if it cannot run."""
    if cell.problem:
        return {}
    if not cell.lock:
        return here.installed()
    return {pin.name: pin.version for pin in lockfile.read(Path(cell.lock))}


@dataclass
class Placing:
    """Assigns candidates to cells. The package index is queried once for each distribution and Python version."""

    asked: Sequence[Asked]
    find: Find
    mistakes: list[str] = field(default_factory=list)
    _found: dict[tuple[str, str], File | str] = field(default_factory=dict)

    def all(self, cells: Sequence[Cell], *, only: bool = False) -> tuple[Cell, ...]:
        """Return the cells with their candidates. ``only`` excludes the cells that no candidate fits.

        Raises:
            UserError: a candidate fits no cell. The text lists all mistakes.
        """
        holdings = {cell.name: held(cell) for cell in cells}
        places = {cell.name: self._places(cell, holdings[cell.name]) for cell in cells}
        self.mistakes += self._homeless({name for found in holdings.values() for name in found})
        if self.mistakes:
            raise UserError("\n".join(dict.fromkeys(self.mistakes)))
        chosen = [cell for cell in cells if not only or any(_can(cell, one) for one in places[cell.name].values())]
        if not chosen:
            raise UserError(
                "--only-candidate: no candidate supports the Python of any of these cells; choose other cells"
            )
        return tuple(self._with(cell, places[cell.name], holdings[cell.name]) for cell in chosen)

    def _homeless(self, known: Collection[str]) -> list[str]:
        """Return a sentence for each candidate whose distribution is in no cell."""
        found: list[str] = []
        for one in (one for one in self.asked if not any(_is(one, name) for name in known)):
            hint = meant(one.name, known, "choose cells that contain it, or correct the name")
            found.append(f"--candidate {one.text}: no cell contains {one.name}{hint}")
        return found

    def _places(self, cell: Cell, holding: Mapping[str, str]) -> dict[str, Asked]:
        """Return the requested candidates by the distribution of this cell that they replace."""
        found: dict[str, Asked] = {}
        for one in self.asked:
            exact = [name for name in holding if name == one.name]
            names = exact or [name for name in holding if _is(one, name)]
            if len(names) > 1:
                self.mistakes.append(
                    f"--candidate {one.text}: in {cell.title} this name fits {' and '.join(names)}; name one of them"
                )
            for name in names:
                if name in found:
                    self.mistakes.append(f"--candidate {one.text}: in {cell.title} it replaces {name}, and so does {found[name].text}; give one of them")  # fmt: skip
                found[name] = one
        return found

    def _with(self, cell: Cell, places: Mapping[str, Asked], holding: Mapping[str, str]) -> Cell:
        candidates: list[Candidate] = []
        unfit: list[str] = []
        for name, one in places.items():
            made = self._candidate(name, one, cell.python)
            if isinstance(made, str):
                unfit.append(made)
                continue
            candidates.append(replace(made, instead_of=holding[name]))
            unfit += filter(None, [wheels.misfit(made.file, cell.python)])
        return replace(cell, candidates=tuple(candidates), unfit="; ".join(unfit))

    def _candidate(self, name: str, one: Asked, python: str) -> Candidate | str:
        if one.wheel is not None:
            return Candidate(name, one.wheel.version, one.wheel.file, one.wheel.sha256, str(one.wheel.path))
        wanted = f"{name}{one.versions}"
        if (wanted, python) not in self._found:
            self._found[wanted, python] = self.find(wanted, python)
        found = self._found[wanted, python]
        return found if isinstance(found, str) else Candidate(name, found.version, found.file, found.sha256, wanted)


def _is(one: Asked, name: str) -> bool:
    """Return whether a request names this distribution. A wheel contains its exact name."""
    return name == one.name if one.wheel is not None else same(one.name, name)


def _can(cell: Cell, one: Asked) -> bool:
    """Return whether a candidate may support the Python of a cell. For a requirement this is not known yet."""
    return one.wheel is None or not wheels.misfit(one.wheel.file, cell.python)
