"""Runs that a supervisor drives (``--runner pytest``): the cases come from a file of jobs, and each result goes to the supervisor.

The supervisor owns the server, the plan and the journal. It repeats failures and finds the accused, so a result here is
the monitor's own. Results do not travel through pytest, because its controller is a single thread.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from conformance.checks import children
from conformance.checks.catalogue import Case
from conformance.execution import forkserver
from conformance.execution.jobs import JOBS, REPORT, SEED, Job
from conformance.execution.journal import Event
from conformance.execution.messages import Line
from conformance.execution.results import read_lines

from . import shared_folder
from .collecting import Collecting, case_of
from .monitor_client import Monitors

_PATIENCE = 10.0
_REAP_SECONDS = 1.0
_FUTILE_STARTS = 3
"""Number of workers that may fail to start before the run gives up."""


def begin(config: pytest.Config) -> None:
    """Load the jobs in a worker, and in a run without workers. In the controller, check that workers start."""
    if shared_folder.workers(config):
        children.die_with_parent()
    elif config.getoption("numprocesses", None):
        config.pluginmanager.register(Starts())
        return
    jobs = [Job.from_json(record) for record in read_lines(Path(os.environ[JOBS]))]
    isolations = {job.case: job.isolation for job in jobs}
    seed = os.environ.get(SEED, "")
    name = str(getattr(config, "workerinput", {}).get("workerid", "main"))
    config.pluginmanager.register(Collecting(isolations, max(shared_folder.workers(config), 1), seed=seed))
    config.pluginmanager.register(Driven(name, jobs))


class Driven:
    """Runs cases with monitors of the supervisor's server, and reports to the supervisor."""

    def __init__(self, name: str, jobs: list[Job]) -> None:
        self._name = name
        self._isolation = {job.case.id: job.isolation for job in jobs}
        self._report = Line(os.environ[REPORT], _PATIENCE)
        self._monitors = Monitors(Path(os.environ[forkserver.SOCKET]), traces=False)

    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Run the case of an item, without pytest's reports: they would take most of the time, and nothing uses them."""
        case = case_of(item)
        if case is None:
            return None
        self._run(case)
        return True

    def _run(self, case: Case) -> None:
        """Have a monitor run a case, and report its start and its result. If no process could run it, report that in place of a result."""
        isolation = self._isolation[case.id]
        self._tell(Event.START, case=case.id, isolation=isolation.value)
        try:
            answer = self._monitors.answer(case, isolation)
        except OSError as error:
            self._tell(Event.TROUBLE, what=f"no process could run {case.id}: {type(error).__name__}: {error}")
            return
        self._tell(Event.END, result=answer.result.to_json(), process=answer.process)

    def _tell(self, event: Event, **facts: Any) -> None:
        self._report.send(_record(event, worker=self._name, pid=os.getpid(), **facts))


def _record(event: Event, **facts: Any) -> dict[str, Any]:
    """Return a message to the supervisor."""
    return {"event": event.value, "at": round(time.time(), 3), **facts}


# -- in the controller


class Starts:
    """Detection of workers that never start: without it, xdist would restart them forever."""

    def __init__(self) -> None:
        self._failed = 0
        self._works = False

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodeready(self, node: object) -> None:
        """Record that a worker is ready."""
        self._works = True

    def pytest_internalerror(self) -> None:
        """Report a killed worker: xdist fails as a whole if a worker ends before its first answer."""
        if _a_worker_was_killed():
            _tell(what="a signal of another process ended a worker before it started", ended_by_others=True)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object, error: object) -> None:
        """Count a worker that ended with an error, and stop if no worker has ever started."""
        self._failed += bool(error)
        if self._failed < _FUTILE_STARTS or self._works:
            return
        what = f"{self._failed} workers ended before they started ({error}); diagnostics.log has their output"
        _tell(what=what, final=True)
        pytest.exit(what, returncode=pytest.ExitCode.INTERNAL_ERROR)


def _tell(**facts: Any) -> None:
    """Report a problem from the controller to the supervisor."""
    Line(os.environ[REPORT], _PATIENCE).send(_record(Event.TROUBLE, **facts))


def _a_worker_was_killed() -> bool:
    """Return whether a signal ended a child of this process. A worker loads no library, so no library caused the signal.

    A child closes its files before the kernel reports its end, so this function waits up to a second.
    """
    end = time.monotonic() + _REAP_SECONDS
    while not (found := any(map(_was_killed, _children()))) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def _children() -> list[int]:
    return [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]


def _was_killed(pid: int) -> bool:
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return ended is not None and ended.si_code != os.CLD_EXITED
