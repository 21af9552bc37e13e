"""Pool in which pytest hands out the cases: a fork server, and one run of pytest with xdist for each stage.

It is slower than a :class:`~conformance.execution.pool.MonitorPool`. It shows that pytest and ``check`` report the same results.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from conformance.checks import signal_senders

from . import forkserver, harness, jobs
from .messages import Inbox
from .output_tail import Tail
from .pool import Receive
from .results import write_lines
from .schedule import Schedule


class PytestPool:
    """A :class:`~conformance.execution.pool.Pool` that runs pytest. ``private`` is the private folder of the run."""

    def __init__(
        self, libraries: tuple[str, ...], private: Path, neutral: Path, receive: Receive, words: Tail, seed: str
    ) -> None:
        self._private = private
        self._seed = seed
        self._receive = receive
        self._words = words
        self._is_silent = False
        """Whether all processes have closed their output."""
        self.was_ended = False
        place = str(time.monotonic_ns())  # an earlier pool of this run has left its sockets in the folder
        self._report = str(private / f"report{place}")
        self._inbox = Inbox(self._report, self._take)
        reading, self._output = os.pipe()
        self._inbox.watch(reading, self._add)
        self._server = forkserver.Server(libraries, str(private / f"server{place}"), self._output, neutral)
        self._pytest: subprocess.Popen[bytes] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether pytest still runs the jobs of the stage."""
        return self._pytest is not None and self._pytest.poll() is None

    @property
    def has_begun(self) -> bool:
        """Whether the server has imported everything."""
        return self._server.has_begun

    def trouble(self) -> str | None:
        """Receive what has arrived, and return why the processes cannot go on, or ``None``."""
        if self._server.ended is None:
            return None
        self._inbox.drain()
        code = self._server.code
        self.was_ended = self.was_ended or (code is not None and -code in signal_senders.FOREIGN)
        return f"the fork server ended with {self._server.ended}"

    def begin(self, schedule: Schedule, most: int) -> None:
        """Start pytest over the jobs of a stage, with ``most`` workers, or with one for exclusive jobs. Raises ``OSError``."""
        self.was_ended = False
        write_lines(self._private / "jobs", (job.to_json() for job in schedule.all()))
        variables = {
            jobs.JOBS: str(self._private / "jobs"),
            jobs.REPORT: self._report,
            jobs.SEED: self._seed,
            forkserver.SOCKET: self._server.path,
        }
        workers = 1 if schedule.is_exclusive else most
        self._pytest = harness.start(workers, self._private, self._output, variables)

    def listen(self, seconds: float) -> None:
        """Receive what has arrived, waiting at most ``seconds``. At the end of pytest receive all."""
        self._inbox.listen(seconds)
        if self._pytest is not None and self._pytest.poll() is not None:
            self._inbox.drain()
            # pytest loads no library, so no signal is a library's fault
            self.was_ended = self.was_ended or self._pytest.returncode < 0

    def give_up(self, name: str, pid: int) -> None:
        """Kill the worker that does not answer. xdist starts another one."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def close(self, seconds: float) -> None:
        """End all processes, and receive their last output for at most ``seconds``."""
        if self._pytest is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pytest.pid, signal.SIGKILL)
            self._pytest.wait()
        self._server.close()
        os.close(self._output)
        end = time.monotonic() + seconds
        while not self._is_silent and time.monotonic() < end:
            self._inbox.listen(min(0.1, seconds))
        self._server.close_all()
        self._inbox.drain()
        self._inbox.close()

    def _take(self, record: dict[str, Any]) -> None:
        self.was_ended = self.was_ended or record.get("ended_by_others", False)
        self._receive(record)

    def _add(self, piece: bytes) -> None:
        self._words.add(piece)
        self._is_silent = self._is_silent or not piece
