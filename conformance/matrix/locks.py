"""Lock files of cells: find the missing and stale ones, and create them with uv."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path

from conformance.exits import UserError
from conformance.files import Unreadable, is_there, make_folder, remove
from conformance.files import write as write_file

from . import uv
from .lockfile import LOCKED, UNRESOLVABLE, Lock, Locked, NoLock, Pin, Unresolvable, Wanted, parse, pins, strangers
from .lockfile import unmet as unmet_requirements
from .lockfile import versions as versions_of
from .model import PYTHON_AXIS, Cell, Matrix

SUFFIXES = (LOCKED, UNRESOLVABLE)


class State(Enum):
    """State of a cell's lock file. The value is the word in tables."""

    LOCKED = "locked"
    UNRESOLVABLE = "unresolvable"
    STALE = "stale"
    MISSING = "missing"


@dataclass(frozen=True)
class Standing:
    """State of one cell's lock file, and the reason if it is not locked."""

    cell: Cell
    state: State
    why: str = ""


def wanted(matrix: Matrix, cell: Cell, as_of: date) -> Wanted:
    """Return the input that the lock file of a cell must have."""
    return Wanted(cell.name, matrix.requirements(cell), matrix.suite, as_of)


def newest_date(folder: Path) -> date | None:
    """Return the newest date of the existing lock files; ``None`` if there are none."""
    return max((lock.wanted.as_of for lock in map(_readable, files(folder)) if lock), default=None)


def files(folder: Path) -> list[Path]:
    """Return the paths of all lock files in a folder."""
    return sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES)


def _readable(path: Path) -> Lock | None:
    try:
        return parse(path)
    except (NoLock, Unreadable):
        return None


def orphans(folder: Path, cells: Iterable[Cell]) -> list[Path]:
    """Return the lock files that no cell uses."""
    names = {cell.name for cell in cells}
    return [path for path in files(folder) if path.name.removesuffix(path.suffix) not in names]


def standing(matrix: Matrix, cell: Cell, folder: Path, as_of: date | None) -> Standing:
    """Return whether the lock file of a cell exists and fits the current matrix.yaml."""
    found = [path for suffix in SUFFIXES if is_there(path := folder / f"{cell.name}{suffix}")]
    if not found or as_of is None:
        return Standing(cell, State.MISSING, "it has no lock file")
    if len(found) > 1:
        return Standing(cell, State.STALE, "it has both a lock file and an .unresolvable file")
    try:
        lock = parse(found[0])
    except NoLock as error:
        return Standing(cell, State.STALE, f"{found[0].name}: {error}")
    except Unreadable as error:
        return Standing(cell, State.STALE, error.brief)
    why = _differs(lock, wanted(matrix, cell, as_of), cell)
    if why:
        return Standing(cell, State.STALE, why)
    if isinstance(lock, Unresolvable):
        return Standing(cell, State.UNRESOLVABLE, lock.sentence)
    return Standing(cell, State.LOCKED)


def _differs(lock: Lock, now: Wanted, cell: Cell) -> str:
    """Return why a lock file does not fit the current input, or an empty text."""
    if lock.wanted.as_of != now.as_of:
        return f"it is as of {lock.wanted.as_of}, but others are as of {now.as_of}"
    if lock.wanted != now:
        before, after = {*lock.wanted.requires, *lock.wanted.suite}, {*now.requires, *now.suite}
        return f"it is for {', '.join(sorted(before - after)) or 'fewer requirements'}, not for {', '.join(sorted(after - before))}"
    return _broken(lock, cell) if isinstance(lock, Locked) else ""


def _broken(lock: Locked, cell: Cell) -> str:
    """Return what a manual edit has broken in a lock file, or an empty text."""
    missing = unmet_requirements(lock.wanted.requires, versions_of(lock.pins))
    missing += unmet_requirements(lock.wanted.suite, versions_of((*lock.pins, *lock.suite)))
    if missing:
        return f"its packages do not meet {', '.join(missing)}"
    return f"it has {others}" if (others := ", ".join(strangers(cell.major, lock.pins))) else ""


@dataclass(frozen=True)
class Resolver:
    """uv, with the options that are the same for every cell."""

    binary: str
    source_only: tuple[str, ...]
    tell: Callable[[str], None]
    """Receives every command before it runs."""

    def lock(self, asked: Wanted, cell: Cell) -> Lock:
        """Resolve the cell, then the cell with the suite, which must not change any version.

        Raises:
            UserError: uv failed for another reason than a conflict.
        """
        answer = self._resolve(asked.requires, cell, asked.as_of)
        if isinstance(answer, str):
            return Unresolvable(asked, answer)
        others = strangers(cell.major, answer)
        if others:
            return Unresolvable(
                asked, f"It would contain packages for another major version of CUDA: {', '.join(others)}"
            )
        with_suite = self._with_suite(asked, cell, answer)
        if isinstance(with_suite, str):
            return Unresolvable(asked, f"The suite cannot be added without changing a version: {with_suite}")
        return Locked(asked, answer, added(answer, with_suite))

    def _with_suite(self, asked: Wanted, cell: Cell, under_test: Sequence[Pin]) -> tuple[Pin, ...] | str:
        with tempfile.TemporaryDirectory() as scratch:
            constraints = Path(scratch, f"{cell.name}.constraints")
            constraints.write_text("".join(f"{pin.name}=={pin.version}\n" for pin in under_test), encoding="utf-8")
            return self._resolve((*asked.requires, *asked.suite), cell, asked.as_of, constraints)

    def _resolve(
        self, requirements: Sequence[str], cell: Cell, as_of: date, constraints: Path | None = None
    ) -> tuple[Pin, ...] | str:
        """Return the packages, or the reason why there is no solution."""
        command = uv.compile_command(self.binary, cell[PYTHON_AXIS], as_of, self.source_only, constraints)
        self.tell(uv.shown(command, requirements))
        done = subprocess.run(
            command, input="\n".join(requirements), capture_output=True, text=True, check=False,
            env=uv.environment(os.environ), cwd=uv.NEUTRAL,
        )  # fmt: skip
        why = uv.verdict(done.returncode, done.stderr)
        return why if why is not None else pins(done.stdout)


def added(under_test: Sequence[Pin], together: Sequence[Pin]) -> tuple[Pin, ...]:
    """Return the packages that the suite adds to a cell.

    Raises:
        AssertionError: the suite changed a version under test, although the constraints forbid it.
    """
    names = versions_of(under_test)
    kept = tuple(pin for pin in together if pin.name in names)
    if kept != tuple(under_test):
        moved = sorted({pin.name for pin in {*kept} ^ {*under_test}})
        raise AssertionError(f"the suite changes the version of {', '.join(moved)}")
    return tuple(pin for pin in together if pin.name not in names)


def find_uv() -> str:
    """Return the uv that was installed with the runner, or else the one in ``PATH``."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise UserError(
            f"uv, which creates lock files, is not installed; install it with `{sys.executable} -m pip install uv`"
        )
    return found


def write(lock: Lock, folder: Path) -> Path:
    """Write a lock file, and remove the other kind of file of this cell."""
    make_folder(folder)
    for suffix in SUFFIXES:
        if suffix != lock.suffix:
            remove(folder / f"{lock.wanted.cell}{suffix}")
    path = folder / f"{lock.wanted.cell}{lock.suffix}"
    write_file(path, lock.text)
    return path
