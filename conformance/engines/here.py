"""The engine that runs a cell in the environment of the runner."""

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
    """This interpreter and its installed packages. A cell of the matrix can run here only if the installed versions match its lock file."""

    name = "here"

    def available(self) -> str | None:
        """Return ``None``: the engine is always available."""
        return None

    def facts(self) -> dict[str, str]:
        """Return the version of the interpreter and the GPUs."""
        return {**direct.facts(self.name, self.gpus), "version": sys.version.split()[0]}

    def prepare(self, cells: Sequence[Cell]) -> dict[str, Prepared | Ending]:
        """Compare the installed versions with the lock files of the cells. Nothing is installed."""
        return {cell.name: _prepared(cell) for cell in cells}


def _prepared(cell: Cell) -> Prepared | Ending:
    different = differences(wanted(cell), installed(), cell.python) if cell.lock else []
    if different:
        listed = "; ".join(different[:3]) + (f"; and {len(different) - 3} more" if len(different) > 3 else "")
        return Ending(Lifecycle.NOT_RUN, f"the installed versions differ from the lock file of this cell: {listed}")
    return Prepared(cell, sys.executable, {"python": sys.executable})


def wanted(cell: Cell) -> dict[str, str]:
    """Return the versions in the cell's lock file, by distribution."""
    return {pin.name: pin.version for pin in lockfile.read(Path(cell.lock))}


def installed() -> dict[str, str]:
    """Return the versions that are installed in this environment, by distribution."""
    found = ((d.metadata["Name"], d) for d in importlib.metadata.distributions())
    return {canonicalize_name(name): d.version for name, d in found if name}  # pip can leave a folder without metadata


def differences(lock: Mapping[str, str], here: Mapping[str, str], python: str) -> list[str]:
    """Return the differences between a lock file and the installed versions. Additional installed packages do not count."""
    now = ".".join(map(str, sys.version_info[:2]))
    other = [f"Python {now} instead of {python}"] if python and python != now else []
    return other + [
        f"{name} {here.get(name, 'is missing')} instead of {version}" if name in here else f"{name} is missing"
        for name, version in lock.items()
        if here.get(name) != version
    ]
