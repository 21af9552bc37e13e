"""Interface of the engines: the places where cells run."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from conformance.images.commands import Command

from .model import Cell, Ending, Prepared, Task


class Engine(Protocol):
    """A place where cells run. One runner uses an engine, from one thread."""

    name: str

    def available(self) -> str | None:
        """Return the reason why the engine cannot be used here, or ``None``."""

    def facts(self) -> dict[str, str]:
        """Return the facts for the record of a cell: version, access to GPUs, and the reason for this access."""

    def prepare(self, cells: Sequence[Cell]) -> Mapping[str, Prepared | Ending]:
        """Create the missing images or environments of these cells. A failure is the ending of each cell that needs it."""

    def command(self, task: Task) -> Command:
        """Return the command that runs the cell in the foreground. It ends when the cell ends."""

    def environment(self, task: Task) -> Mapping[str, str]:
        """Return the environment variables of :meth:`command`."""

    def clear(self, task: Task) -> None:
        """Remove the remains of an earlier start with the same name, and make the results folder writable."""

    def stop(self, task: Task, process: subprocess.Popen[bytes]) -> None:
        """Request an orderly stop of a running cell. Does not wait."""

    def kill(self, task: Task, process: subprocess.Popen[bytes]) -> None:
        """Kill a running cell immediately."""

    def ended(self, task: Task, code: int, said: str, *, wrote: bool) -> Ending:
        """Return how a cell ended, and remove its remains.

        ``code`` is the exit code of the command, ``said`` its output, and ``wrote`` whether it has written results.
        """

    def shell(self, prepared: Prepared, suite: Path) -> Command:
        """Return the command that opens a shell in the environment of the cell.

        ``suite`` is a folder that contains only the suite, for import.
        """
