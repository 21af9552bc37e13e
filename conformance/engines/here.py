"""The environment that the runner is in."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.utils import canonicalize_name

from conformance.matrix import lockfile

from . import direct
from .model import Cell, Ending, Lifecycle, Prepared


class Here(direct.Direct):
    """This interpreter, with whatever is installed. A cell of the matrix only where its lock is what is installed."""

    name = "here"

    def available(self) -> str | None:
        """Always."""
        return None

    def facts(self) -> dict[str, str]:
        """The interpreter's version and the GPUs."""
        return {**direct.facts(self.name, self.gpus), "version": sys.version.split()[0]}

    def prepare(self, cells: Sequence[Cell]) -> dict[str, Prepared | Ending]:
        """Nothing is made; a named cell has to be what is here."""
        return {cell.name: _prepared(cell) for cell in cells}


def _prepared(cell: Cell) -> Prepared | Ending:
    different = differences(wanted(cell), installed(), cell.python) if cell.lock else []
    if different:
        told = "; ".join(different[:3]) + (f"; and {len(different) - 3} more" if len(different) > 3 else "")
        return Ending(Lifecycle.NOT_RUN, f"what is installed here is not this cell: {told}")
    return Prepared(cell, sys.executable, {"python": sys.executable})


def wanted(cell: Cell) -> dict[str, str]:
    """Versions by name, of the cell's lock."""
    return {pin.name: pin.version for pin in lockfile.read(Path(cell.lock))}


def installed() -> dict[str, str]:
    """Versions by name, of this environment."""
    found = ((d.metadata["Name"], d) for d in importlib.metadata.distributions())
    return {canonicalize_name(name): d.version for name, d in found if name}  # pip can leave a folder without metadata


def differences(lock: Mapping[str, str], here: Mapping[str, str], python: str) -> list[str]:
    """What of the lock is missing here or is another version; what is here besides does not matter."""
    now = ".".join(map(str, sys.version_info[:2]))
    other = [f"Python {now} instead of {python}"] if python and python != now else []
    return other + [
        f"{name} {here.get(name, 'is missing')} instead of {version}" if name in here else f"{name} is missing"
        for name, version in lock.items()
        if here.get(name) != version
    ]
