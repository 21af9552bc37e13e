"""One lock a cell: which are missing or stale, and how they are made."""

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
    """How a cell stands with its lock; the value is how a table says it."""

    LOCKED = "locked"
    UNRESOLVABLE = "unresolvable"
    STALE = "stale"
    MISSING = "missing"


@dataclass(frozen=True)
class Standing:
    """The state of one cell, and why it is not locked."""

    cell: Cell
    state: State
    why: str = ""


def wanted(matrix: Matrix, cell: Cell, as_of: date) -> Wanted:
    """What the lock of a cell has to answer."""
    return Wanted(cell.name, matrix.requirements(cell), matrix.suite, as_of)


def newest_date(folder: Path) -> date | None:
    """The date of the locks that are there; ``None`` where there are none."""
    return max((lock.wanted.as_of for lock in map(_readable, files(folder)) if lock), default=None)


def files(folder: Path) -> list[Path]:
    """Every lock in a folder."""
    return sorted(path for path in folder.glob("*") if path.suffix in SUFFIXES)


def _readable(path: Path) -> Lock | None:
    try:
        return parse(path)
    except (NoLock, Unreadable):
        return None


def orphans(folder: Path, cells: Iterable[Cell]) -> list[Path]:
    """Locks that no cell has any more."""
    names = {cell.name for cell in cells}
    return [path for path in files(folder) if path.name.removesuffix(path.suffix) not in names]


def standing(matrix: Matrix, cell: Cell, folder: Path, as_of: date | None) -> Standing:
    """Whether the lock of a cell is there and answers what matrix.yaml asks now."""
    found = [path for suffix in SUFFIXES if is_there(path := folder / f"{cell.name}{suffix}")]
    if not found or as_of is None:
        return Standing(cell, State.MISSING, "it has no lock")
    if len(found) > 1:
        return Standing(cell, State.STALE, "it has a lock and is unresolvable too")
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
    """Why a lock does not answer what is asked now."""
    if lock.wanted.as_of != now.as_of:
        return f"it is as of {lock.wanted.as_of}, others as of {now.as_of}"
    if lock.wanted != now:
        before, after = {*lock.wanted.requires, *lock.wanted.suite}, {*now.requires, *now.suite}
        return f"it answers {', '.join(sorted(before - after)) or 'less'}, not {', '.join(sorted(after - before))}"
    return _broken(lock, cell) if isinstance(lock, Locked) else ""


def _broken(lock: Locked, cell: Cell) -> str:
    """What a hand may have changed in a lock."""
    missing = unmet_requirements(lock.wanted.requires, versions_of(lock.pins))
    missing += unmet_requirements(lock.wanted.suite, versions_of((*lock.pins, *lock.suite)))
    if missing:
        return f"its packages do not meet {', '.join(missing)}"
    return f"it has {others}" if (others := ", ".join(strangers(cell.major, lock.pins))) else ""


@dataclass(frozen=True)
class Resolver:
    """uv, with what is the same for every cell."""

    binary: str
    source_only: tuple[str, ...]
    tell: Callable[[str], None]
    """Takes every command before it runs."""

    def lock(self, asked: Wanted, cell: Cell) -> Lock:
        """Resolve the cell, then the cell with the suite, which may move nothing.

        Raises:
            UserError: uv could not find out.
        """
        answer = self._resolve(asked.requires, cell, asked.as_of)
        if isinstance(answer, str):
            return Unresolvable(asked, answer)
        others = strangers(cell.major, answer)
        if others:
            return Unresolvable(asked, f"It would have packages of another CUDA line: {', '.join(others)}")
        with_suite = self._with_suite(asked, cell, answer)
        if isinstance(with_suite, str):
            return Unresolvable(asked, f"The suite cannot join it without moving a version: {with_suite}")
        return Locked(asked, answer, added(answer, with_suite))

    def _with_suite(self, asked: Wanted, cell: Cell, under_test: Sequence[Pin]) -> tuple[Pin, ...] | str:
        with tempfile.TemporaryDirectory() as scratch:
            constraints = Path(scratch, f"{cell.name}.constraints")
            constraints.write_text("".join(f"{pin.name}=={pin.version}\n" for pin in under_test), encoding="utf-8")
            return self._resolve((*asked.requires, *asked.suite), cell, asked.as_of, constraints)

    def _resolve(
        self, requirements: Sequence[str], cell: Cell, as_of: date, constraints: Path | None = None
    ) -> tuple[Pin, ...] | str:
        """The packages, or why there is no solution."""
        command = uv.compile_command(self.binary, cell[PYTHON_AXIS], as_of, self.source_only, constraints)
        self.tell(uv.shown(command, requirements))
        done = subprocess.run(
            command, input="\n".join(requirements), capture_output=True, text=True, check=False,
            env=uv.environment(os.environ), cwd=uv.NEUTRAL,
        )  # fmt: skip
        why = uv.verdict(done.returncode, done.stderr)
        return why if why is not None else pins(done.stdout)


def added(under_test: Sequence[Pin], together: Sequence[Pin]) -> tuple[Pin, ...]:
    """What the suite adds to a cell.

    Raises:
        AssertionError: it moved what is under test; the constraints do not allow that.
    """
    names = versions_of(under_test)
    kept = tuple(pin for pin in together if pin.name in names)
    if kept != tuple(under_test):
        moved = sorted({pin.name for pin in {*kept} ^ {*under_test}})
        raise AssertionError(f"the suite moves {', '.join(moved)}")
    return tuple(pin for pin in together if pin.name not in names)


def find_uv() -> str:
    """The uv that was installed with the runner, else the one on the path."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise UserError(
            f"there is no uv here, which makes the locks; install it with `{sys.executable} -m pip install uv`"
        )
    return found


def write(lock: Lock, folder: Path) -> Path:
    """Put a lock into its file; the other kind of file, if there is one, goes."""
    make_folder(folder)
    for suffix in SUFFIXES:
        if suffix != lock.suffix:
            remove(folder / f"{lock.wanted.cell}{suffix}")
    path = folder / f"{lock.wanted.cell}{lock.suffix}"
    write_file(path, lock.text)
    return path
