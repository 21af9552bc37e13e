"""Private folder that the owner of a run shares with the workers of xdist, and the files in it.

Only the owner probes the libraries. The plan travels to the workers in a file, because it may have tens of thousands of cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from conformance.checks.catalogue import Case
from conformance.execution.results import read_lines, write_lines

_KEY = "conformance"
"""Key of the folder in the ``workerinput`` of xdist."""


@dataclass(frozen=True)
class Handed:
    """The private folder of a run."""

    folder: Path

    @property
    def plan(self) -> Path:
        """File with one case a line."""
        return self.folder / "plan"

    @property
    def socket(self) -> Path:
        """Socket of the server that forks monitors."""
        return self.folder / "server"

    @property
    def gone(self) -> Path:
        """File with the reason why there will be no server."""
        return self.folder / "gone"

    @property
    def gate(self) -> Path:
        """Lock file for the turns on the GPU."""
        return self.folder / "gate"

    def write(self, cases: list[Case]) -> None:
        """Write the cases of the plan to its file."""
        write_lines(self.plan, (case.to_json() for case in cases))

    def cases(self) -> list[Case]:
        """Read the cases of the plan from its file."""
        return [Case.from_json(record) for record in read_lines(self.plan)]


def give(workerinput: dict[str, object], handed: Handed) -> None:
    """Pass the folder to a worker that is about to start."""
    workerinput[_KEY] = str(handed.folder)


def given(config: pytest.Config) -> Handed | None:
    """Return the folder that this worker received; ``None`` in a process that is no worker."""
    if not hasattr(config, "workerinput"):
        return None
    return Handed(Path(cast(str, config.workerinput[_KEY])))


def workers(config: pytest.Config) -> int:
    """Return the number of xdist workers; 0 in a process that is no worker."""
    return int(getattr(config, "workerinput", {}).get("workercount", 0))
