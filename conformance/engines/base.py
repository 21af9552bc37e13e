"""What every engine can do."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from conformance.images.commands import Command

from .model import Cell, Ending, Prepared, Task


class Engine(Protocol):
    """A place where cells run. One runner uses it, from one thread."""

    name: str

    def available(self) -> str | None:
        """Why it cannot be used here; ``None`` where it can."""

    def facts(self) -> dict[str, str]:
        """What a record says about it: version, how GPUs are reached, and why so."""

    def prepare(self, cells: Sequence[Cell]) -> Mapping[str, Prepared | Ending]:
        """Make what these cells run in, as far as it is not there. A failure is the ending of the cells that need it."""

    def command(self, task: Task) -> Command:
        """Runs the cell in the foreground: it ends when the cell does."""

    def environment(self, task: Task) -> Mapping[str, str]:
        """The variables of that command."""

    def clear(self, task: Task) -> None:
        """Do away with what a start under the same name has left, and make the folder of results writable."""

    def stop(self, task: Task, process: subprocess.Popen[bytes]) -> None:
        """Ask a running cell to put everything down in order. Does not wait."""

    def kill(self, task: Task, process: subprocess.Popen[bytes]) -> None:
        """End a running cell at once."""

    def ended(self, task: Task, code: int, said: str, *, wrote: bool) -> Ending:
        """How a cell ended: exit code of the command, what it said, whether it has written results. Leaves nothing behind."""

    def shell(self, prepared: Prepared, suite: Path) -> Command:
        """Return the command that opens a shell in the environment of the cell.

        ``suite`` is a folder that contains only the suite, for import.
        """
