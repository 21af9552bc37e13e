"""Common base of the engines ``here`` and ``venv``, which run cells without a container."""

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
"""Variables that hide all GPUs from CUDA."""
_STRANGE = ("CUDA_PATH", "CUDA_HOME", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
"""Variables that would add packages or CUDA libraries of the machine to a cell."""


class Direct:
    """Run ``python -m conformance check`` as a child process, which the kernel kills when the runner ends."""

    def __init__(self, asked_gpus: str) -> None:
        self._asked = asked_gpus

    @property
    def gpus(self) -> Gpus:
        """GPUs that the cells can use."""
        return gpus.direct(self._asked, gpus.present())

    def command(self, task: Task) -> Command:
        """Return the command for ``check``, or for pytest on the package's own tests."""
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
        """Return the runner's variables, with this copy of the suite in the path and the selected GPUs."""
        folders = [os.fspath(one.folder) for one in task.prepared.placed]
        return variables(os.environ, self.gpus, task.prepared.cell, task.prepared.what, folders)

    def clear(self, task: Task) -> None:
        """Do nothing: an earlier start leaves no process, because children end with their runner."""

    def stop(self, task: Task, process: subprocess.Popen[bytes]) -> None:
        """Send SIGTERM, on which ``check`` stops in an orderly way."""
        process.send_signal(signal.SIGTERM)

    def kill(self, task: Task, process: subprocess.Popen[bytes]) -> None:
        """Kill ``check``. Its child processes end with it."""
        process.kill()

    def ended(self, task: Task, code: int, said: str, *, wrote: bool) -> Ending:
        """Return the ending that the exit code means."""
        return exit_states.of_check(code, said, wrote=wrote) if task.tests is None else exit_states.of_tests(code, said)


def variables(
    around: Mapping[str, str], found: Gpus, cell: Cell, python: str, candidates: Sequence[str] = ()
) -> dict[str, str]:
    """Return the environment variables of a cell's process. A cell with a lock file gets no CUDA libraries of the machine.

    ``candidates`` are folders that come first in the path.
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
    """Return the facts for the record of an engine that has no version."""
    ids = {"gpus": ",".join(found.ids) or "all"} if found.way != "none" else {}
    return {"engine": name, "gpu": found.way, "gpu reason": found.reason, **ids}
