"""Run cases in child processes of a monitor: the default."""

from __future__ import annotations

from conformance import files
from conformance.checks.catalogue import Case

from .judgements import Judge, Told
from .monitor_client import Monitors
from .shared_folder import Handed
from .turns import Turns


class Isolated:
    """Runs each case in a child process, in its turn on the GPU."""

    def __init__(self, handed: Handed, plan: list[Case]) -> None:
        self._turns = Turns(handed.gate)
        self._handed = handed
        self._monitors = Monitors(handed.socket, self._given_up)
        self._judge = Judge(self._monitors.ask, {case.id: case for case in plan})

    def run(self, case: Case) -> Told:
        """Run a case. Its trials have the same invariant, so they run in the same turn."""
        with self._turns.turn(case):
            return self._judge.judged(case)

    def close(self) -> None:
        """Close the connection, which ends the monitor."""
        self._monitors.close()

    def _given_up(self) -> str:
        return files.read(self._handed.gone).decode(errors="replace") if self._handed.gone.exists() else ""
