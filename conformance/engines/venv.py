"""The engine that runs cells in virtual environments. uv creates them from lock files, and they are kept by the digest of the lock file.

The interpreters run as this user, so no other user may be able to replace them (:mod:`conformance.kept`).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from conformance import files, kept, links
from conformance.exits import UserError
from conformance.images import groups, output
from conformance.images.commands import Command
from conformance.images.groups import Group
from conformance.images.process import Shell
from conformance.images.stages import digest
from conformance.matrix import lockfile
from conformance.matrix.lockfile import Pin
from conformance.matrix.locks import find_uv

from . import direct, exit_states, venv_commands
from .model import Cell, Ending, Prepared

WORK = "venvs"
READY = "ready"
"""Name of the file that marks a complete environment."""


class Venv(direct.Direct):
    """Virtual environments that uv creates. Cells with PyCUDA also need a C++ compiler on the machine."""

    name = "venv"

    def __init__(self, asked_gpus: str, shell: Shell, work: Path | None = None, limit: float = 3600.0) -> None:
        super().__init__(asked_gpus)
        self._shell = shell
        self._given = work
        self._work = Path()
        self._limit = limit
        self._uv = self._version = ""

    def available(self) -> str | None:
        """Return why uv or a safe folder is missing, or ``None``. uv installs Python itself."""
        self._uv = find_uv()
        answer = self._shell.ask(venv_commands.version(self._uv))
        self._version = answer.stdout.strip()
        if not answer.ok:
            return f"uv does not respond: {answer.complaint}"
        try:
            self._work = kept.place(WORK, self._shell.say, self._given)
        except UserError as error:
            return str(error)
        return None

    def facts(self) -> dict[str, str]:
        """Return the version of uv and the GPUs."""
        return {**direct.facts(self.name, self.gpus), "version": self._version}

    def prepare(self, cells: Sequence[Cell]) -> dict[str, Prepared | Ending]:
        """Create the environments one after the other, because each one uses all cores or the network."""
        return {cell.name: self._prepared(cell) for cell in cells}

    def _prepared(self, cell: Cell) -> Prepared | Ending:
        pins = lockfile.read(Path(cell.lock))
        folder = (self._work / f"{cell.name}-{digest(groups.requirements(pins))[:12]}").absolute()
        python = folder / "bin" / "python"
        trouble = next(filter(None, map(links.exchange, (folder, python.parent))), None)
        if trouble:
            return exit_states.build_failed(f"{trouble}, so it is not run; remove {folder}")
        if not files.is_there(folder / READY):
            try:
                failed = self._make(cell, pins, folder)
            except OSError as error:
                failed = f"{error.filename or folder}: {error.strerror}"
            except UserError as error:
                failed = str(error)
            if failed:
                return exit_states.build_failed(failed)
        return Prepared(cell, os.fspath(python), {"python": os.fspath(python)})

    def _make(self, cell: Cell, pins: Sequence[Pin], folder: Path) -> str:
        """Create the environment. Return the reason of a failure, or an empty text."""
        parted = groups.parted(pins)
        build = folder.with_name(f"{folder.name}.build")
        pycuda = parted[Group.PYCUDA]
        if pycuda and not shutil.which("g++"):
            return (
                f"{pycuda[0].name} {pycuda[0].version} is available only as source, and no g++ is installed to build it; install a C++ "
                "compiler, or use a container engine (--on docker, --on podman)"
            )
        if not self._shell.dry_run:
            kept.make(self._work)
            shutil.rmtree(build, ignore_errors=True)
            build.mkdir()
            files.write_own(build / "wheels.txt", groups.requirements(p for p in pins if p not in pycuda))
            files.write_own(build / "pycuda.txt", groups.requirements(pycuda))
        steps = venv_commands.make(self._uv, cell, folder, build)
        if pycuda:
            steps += venv_commands.pycuda(self._uv, cell, folder, build, recipe())
        failed = self._follow(steps, build / "build.log")
        if not failed and not self._shell.dry_run:
            shutil.rmtree(build)
            (folder / READY).touch()
        return failed

    def _follow(self, steps: Sequence[Command], log: Path) -> str:
        """Run the steps until one fails. Return the reason of the failure, or an empty text."""
        if self._shell.dry_run:
            for step in steps:
                self._shell.do(step)
            return ""
        end = time.monotonic() + self._limit
        for step in steps:
            code = self._shell.follow(step, log, max(1.0, end - time.monotonic()))
            if code is None:
                return f"it took longer than {self._limit:g} s: {' '.join(step[:3])} …; see {log}"
            if code:
                return f"{output.reason(log.read_text(encoding='utf-8', errors='replace'))}; see {log}"
        return ""


def recipe() -> Path:
    """Return the folder with the build recipe of PyCUDA's wheel. It is always that of this copy of the suite, never of the working folder.

    An installed package contains the recipe. In a checkout it is in ``docker``.
    """
    inside = Path(__file__).with_name("pycuda")
    return inside if inside.is_dir() else direct.ROOT / "docker" / "pycuda"
