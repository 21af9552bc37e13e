"""Which candidate stands in which cell: decided before the run, and written into its plan."""

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
"""Asks an index for a requirement and a Python: the wheel, or why there is none."""


def held(cell: Cell) -> dict[str, str]:
    """Versions by distribution: of its lock, or of this environment where it is taken as it is. Nothing where it cannot be run."""
    if cell.problem:
        return {}
    if not cell.lock:
        return here.installed()
    return {pin.name: pin.version for pin in lockfile.read(Path(cell.lock))}


@dataclass
class Placing:
    """Puts candidates into cells. What an index says is asked once for each distribution and Python."""

    asked: Sequence[Asked]
    find: Find
    mistakes: list[str] = field(default_factory=list)
    _found: dict[tuple[str, str], File | str] = field(default_factory=dict)

    def all(self, cells: Sequence[Cell], *, only: bool = False) -> tuple[Cell, ...]:
        """The cells with what stands in them; with ``only`` none that no candidate can go into.

        Raises:
            UserError: something that was asked for has no place, with all that is wrong.
        """
        holdings = {cell.name: held(cell) for cell in cells}
        places = {cell.name: self._places(cell, holdings[cell.name]) for cell in cells}
        self.mistakes += self._homeless({name for found in holdings.values() for name in found})
        if self.mistakes:
            raise UserError("\n".join(dict.fromkeys(self.mistakes)))
        chosen = [cell for cell in cells if not only or any(_can(cell, one) for one in places[cell.name].values())]
        if not chosen:
            raise UserError("--only-candidate: none of these cells has a Python that a candidate is for; choose others")
        return tuple(self._with(cell, places[cell.name], holdings[cell.name]) for cell in chosen)

    def _homeless(self, known: Collection[str]) -> list[str]:
        """A sentence for each candidate whose distribution is in no cell."""
        found: list[str] = []
        for one in (one for one in self.asked if not any(_is(one, name) for name in known)):
            hint = meant(one.name, known, "choose cells that hold it, or mend the name")
            found.append(f"--candidate {one.text}: no cell holds {one.name}{hint}")
        return found

    def _places(self, cell: Cell, holding: Mapping[str, str]) -> dict[str, Asked]:
        """What was asked for, by the distribution of this cell that it replaces."""
        found: dict[str, Asked] = {}
        for one in self.asked:
            exact = [name for name in holding if name == one.name]
            names = exact or [name for name in holding if _is(one, name)]
            if len(names) > 1:
                self.mistakes.append(f"--candidate {one.text}: in {cell.title} that is {' and '.join(names)}; name one")
            for name in names:
                if name in found:
                    self.mistakes.append(f"--candidate {one.text}: in {cell.title} that is {name}, and so is {found[name].text}; give one of them")  # fmt: skip
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
    """Whether a distribution is what was asked for; a wheel says itself which it is of."""
    return name == one.name if one.wheel is not None else same(one.name, name)


def _can(cell: Cell, one: Asked) -> bool:
    """Whether it has a Python for it; what an index has for a Python is not known yet."""
    return one.wheel is None or not wheels.misfit(one.wheel.file, cell.python)
