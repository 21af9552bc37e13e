"""pytest under a supervisor: it collects the jobs of a file, and reports the start and the end of each case."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from conformance import private
from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, catalogue
from conformance.execution import forkserver, harness, jobs
from conformance.execution.hazards import isolation_of
from conformance.execution.journal import Event
from conformance.execution.messages import Inbox, listening
from conformance.execution.results import write_lines

_SECONDS = 240
CASES = [
    Case("pointer.same-address", "reference", "reference", "dlpack", Device.HOST, (("layout", layout), ("dtype", "float32")))
    for layout in ("c-order", "vector", "cube", "fortran", "stepped")
]  # fmt: skip
CRASH = Case("canary.crashes", "reference", "reference", "dlpack", Device.HOST, (("where", "alone"),))


class Supervisor:
    """The supervisor's part of a pytest run: jobs, a server, and a socket for reports."""

    def __init__(self, folder: Path) -> None:
        self.heard: list[dict[str, Any]] = []
        self._folder = folder
        self._inbox = Inbox(str(folder / "report"), self.heard.append)
        (folder / "neutral").mkdir()
        self.log = folder / "log"

    def run(self, cases: list[Case], processes: int, server: str | None = None) -> int:
        """Run pytest over these cases by the harness, and return its exit code."""
        known = catalogue()
        todo = [jobs.Job(case, isolation_of(case, known[case.invariant])) for case in cases]
        write_lines(self._folder / "jobs", (job.to_json() for job in todo))
        log = os.open(self.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        forks = forkserver.Server((), str(self._folder / "server"), log, self._folder / "neutral")
        variables = {
            jobs.JOBS: str(self._folder / "jobs"),
            jobs.REPORT: str(self._folder / "report"),
            jobs.SEED: "a word",
            forkserver.SOCKET: forks.path if server is None else server,
        }
        process = harness.start(processes, self._folder, log, variables)
        try:
            end = time.monotonic() + _SECONDS
            while process.poll() is None and time.monotonic() < end:
                self._inbox.listen(0.1)
            self._inbox.drain()
        finally:
            process.kill()
            process.wait()
            forks.close()
            forks.close_all()
            os.close(log)
        return process.returncode

    def ids(self, event: Event) -> list[str]:
        """The ids of cases of which something was told."""
        told = (record for record in self.heard if record["event"] == event.value)
        return [record["case"] if event is Event.START else record["result"]["id"] for record in told]

    def close(self) -> None:
        """Stop listening."""
        self._inbox.close()


@contextmanager
def supervising() -> Iterator[Supervisor]:
    """A supervisor in a private folder."""
    with private.folder() as folder:
        supervisor = Supervisor(folder)
        try:
            yield supervisor
        finally:
            supervisor.close()


@pytest.mark.parametrize("processes", [1, 2])
def test_every_job_has_a_beginning_and_an_end_and_nothing_else_is_run(processes: int) -> None:
    """Even where one of them ends its process."""
    with supervising() as supervisor:
        supervisor.run([*CASES, CRASH], processes)
        expected = sorted(case.id for case in (*CASES, CRASH))
        assert sorted(supervisor.ids(Event.START)) == expected, supervisor.log.read_text()
        assert sorted(supervisor.ids(Event.END)) == expected
        outcomes = {r["result"]["id"]: r["result"]["outcome"] for r in supervisor.heard if r["event"] == "end"}
        assert outcomes.pop(CRASH.id) == "crash"
        assert set(outcomes.values()) == {"pass"}
        assert all(record["process"] for record in supervisor.heard if record["event"] == "end")
        assert all(record["worker"] and record["pid"] and record["at"] for record in supervisor.heard)


@contextmanager
def hanging_up(path: Path) -> Iterator[str]:
    """A server whose monitors end at once."""
    listener = listening(str(path))

    def serve() -> None:
        with suppress(OSError):
            while True:
                listener.accept()[0].close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield str(path)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_a_case_that_nobody_can_run_has_a_beginning_and_a_trouble_and_no_end(tmp_path: Path) -> None:
    """The supervisor then reports the case as lost."""
    with supervising() as supervisor, hanging_up(tmp_path / "server") as server:
        supervisor.run(CASES[:1], 1, server=server)
        assert [record["event"] for record in supervisor.heard] == ["start", "trouble"]
        assert CASES[0].id in supervisor.heard[1]["what"]
