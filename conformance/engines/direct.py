"""Cells that run on the machine itself: what ``here`` and ``venv`` have in common."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import conformance
from conformance import command
from conformance.images.commands import Command

from . import commands, exit_states, gpus
from .model import Cell, Ending, Gpus, Prepared, Task

ROOT = Path(conformance.__file__).parents[1]
SUITE = (command.LAUNCHER, command.MODULE)
"""Interpreter arguments that run this copy of the suite and put no other package of the runner into the path."""
SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Variables that keep the working folder out of pytest's path (from Python 3.11 on)."""
HIDDEN = {"CUDA_VISIBLE_DEVICES": ""}
"""By which no GPU is seen."""
_STRANGE = ("CUDA_PATH", "CUDA_HOME", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
"""Variables by which something of the machine would get into a cell."""


class Direct:
    """``python -m conformance check`` as a child process. What is started here dies with the runner."""

    def __init__(self, asked_gpus: str) -> None:
        self._asked = asked_gpus

    @property
    def gpus(self) -> Gpus:
        """Which GPUs the cells see."""
        return gpus.direct(self._asked, gpus.present())

    def command(self, task: Task) -> Command:
        """``check`` itself, or pytest on the package's own tests."""
        return commands.program(task.prepared.what, task, os.fspath(task.out), str(task.tests), SUITE)

    def shell(self, prepared: Prepared, suite: Path) -> Command:
        """Return the user's shell with the variables of a run.

        The cell's interpreter comes first in ``PATH``, and the suite comes last in ``PYTHONPATH``.
        """
        found = variables(os.environ, self.gpus, prepared.cell, prepared.what)
        found["PYTHONPATH"] = os.pathsep.join(filter(None, (found.get("PYTHONPATH"), os.fspath(suite))))
        if not prepared.cell.lock:
            found["PATH"] = f"{Path(prepared.what).parent}:{found.get('PATH', '')}"
        del found["PYTHONSAFEPATH"]
        return commands.direct_shell(found, os.environ)

    def environment(self, task: Task) -> Mapping[str, str]:
        """The runner's, with this suite, and with the GPUs that were asked for."""
        folders = [os.fspath(one.folder) for one in task.prepared.placed]
        return variables(os.environ, self.gpus, task.prepared.cell, task.prepared.what, folders)

    def clear(self, task: Task) -> None:
        """Nothing is left: a killed runner takes its children with it."""

    def stop(self, task: Task, process: subprocess.Popen[bytes]) -> None:
        """``check`` puts everything down in order."""
        process.send_signal(signal.SIGTERM)

    def kill(self, task: Task, process: subprocess.Popen[bytes]) -> None:
        """All that ``check`` has started dies with it."""
        process.kill()

    def ended(self, task: Task, code: int, said: str, *, wrote: bool) -> Ending:
        """By the exit code."""
        return exit_states.of_check(code, said, wrote=wrote) if task.tests is None else exit_states.of_tests(code, said)


def variables(
    around: Mapping[str, str], found: Gpus, cell: Cell, python: str, candidates: Sequence[str] = ()
) -> dict[str, str]:
    """What a cell's process has around it; in a cell that was made from a lock nothing of the machine's own CUDA.

    ``candidates`` are folders that stand in front of everything else.
    """
    kept = {name: value for name, value in around.items() if not (cell.lock and name in _STRANGE)}
    kept |= SAFE_PATH
    kept |= commands.paths(os.fspath(ROOT), candidates, *filter(None, [kept.get("PYTHONPATH")]))
    if found.way == "none":
        kept.update(HIDDEN)
    elif found.ids:
        kept["CUDA_VISIBLE_DEVICES"] = ",".join(found.ids)
    if cell.lock:
        kept["PATH"] = os.pathsep.join((os.fspath(Path(python).parent), "/usr/local/bin", "/usr/bin", "/bin"))
    if cell.needs_library_path:
        site = Path(python).parents[1] / "lib" / f"python{cell.python}" / "site-packages"
        kept["LD_LIBRARY_PATH"] = commands.library_path(os.fspath(site), cell.cuda)
    return kept


def facts(name: str, found: Gpus) -> dict[str, str]:
    """What a record says of an engine without a version of its own."""
    ids = {"gpus": ",".join(found.ids) or "all"} if found.way != "none" else {}
    return {"engine": name, "gpu": found.way, "gpu reason": found.reason, **ids}
