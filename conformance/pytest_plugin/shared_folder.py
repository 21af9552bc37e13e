"""The private folder that the process which owns a run hands to the workers of xdist, and its files.

Only the owner probes the libraries. The plan reaches the workers as a file, because it may have tens of thousands of cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from conformance.checks.catalogue import Case
from conformance.execution.results import read_lines, write_lines

_KEY = "conformance"
"""Key in ``workerinput``."""


@dataclass(frozen=True)
class Handed:
    """The private folder of a run."""

    folder: Path

    @property
    def plan(self) -> Path:
        """File with a case a line."""
        return self.folder / "plan"

    @property
    def socket(self) -> Path:
        """Socket of the server that forks monitors."""
        return self.folder / "server"

    @property
    def gone(self) -> Path:
        """File that says why there will be no server."""
        return self.folder / "gone"

    @property
    def gate(self) -> Path:
        """Lock of the turns on the GPU."""
        return self.folder / "gate"

    def write(self, cases: list[Case]) -> None:
        """Write the plan."""
        write_lines(self.plan, (case.to_json() for case in cases))

    def cases(self) -> list[Case]:
        """Read the plan."""
        return [Case.from_json(record) for record in read_lines(self.plan)]


def give(workerinput: dict[str, object], handed: Handed) -> None:
    """Hand a folder to a worker that is about to start."""
    workerinput[_KEY] = str(handed.folder)


def given(config: pytest.Config) -> Handed | None:
    """Return what this worker was given; ``None`` in a process that is no worker."""
    if not hasattr(config, "workerinput"):
        return None
    return Handed(Path(cast(str, config.workerinput[_KEY])))


def workers(config: pytest.Config) -> int:
    """Return how many workers xdist has; 0 in a process that is no worker."""
    return int(getattr(config, "workerinput", {}).get("workercount", 0))
