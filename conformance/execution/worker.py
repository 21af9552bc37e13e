"""The pytest plugin of a worker: cases come from a file of jobs, are run by a monitor, and are told to the supervisor.

Loaded with ``-p conformance.execution.worker``. pytest and xdist collect and distribute; fixtures, phases and
reports have nothing to do here. No library is loaded in this process.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import pytest

from conformance.suite import children
from conformance.suite.catalogue import Case

from . import forkserver
from .jobs import JOBS, REPORT, SEED, Job
from .journal import Event
from .link import Line
from .results import read_lines

_PATIENCE = 10.0
_REAP_SECONDS = 1.0
_FUTILE_STARTS = 3
"""Number of workers that may fail to start before the run gives up."""
_MONITORS = 3
"""Number of monitors that a case may lose. The server forks a new monitor after each loss."""


class Worker:
    """State of one worker process."""

    def __init__(self, name: str, workers: int) -> None:
        self.name = name
        self._workers = workers
        jobs = [Job.from_json(record) for record in read_lines(Path(os.environ[JOBS]))]
        self.cases: dict[str, list[Case]] = defaultdict(list)
        for job in jobs:
            self.cases[job.case.invariant].append(job.case)
        self._isolation = {job.case.id: job.isolation for job in jobs}
        self._report = Line(os.environ[REPORT], _PATIENCE)
        self._monitor: Line | None = None
        self._mix = os.environ.get(SEED, "")

    def run(self, case: Case) -> None:
        """Have it run, and tell its beginning and its end. It has no end where nobody could run it."""
        self._tell(Event.START, case=case.id)
        for left in reversed(range(_MONITORS)):
            try:
                answer = self._asked({"case": case.to_json(), "isolation": self._isolation[case.id].value})
            except OSError as error:
                if not left:
                    self._tell(Event.TROUBLE, what=f"no process to run {case.id} in: {type(error).__name__}: {error}")
            else:
                self._tell(Event.END, result=answer["result"], process=answer["process"])
                for culprit in answer["culprits"]:
                    self._tell(Event.END, result=culprit, process=0)
                return

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of this worker's monitor. The next call replaces a monitor that has ended."""
        try:
            self._monitor = self._monitor or Line(os.environ[forkserver.SOCKET], forkserver.START_SECONDS)
            return self._monitor.ask(request)
        except OSError:
            self._monitor = None
            raise

    def _tell(self, event: Event, **facts: Any) -> None:
        self._report.send(_record(event, worker=self.name, pid=os.getpid(), **facts))

    def order(self, items: Iterable[pytest.Item]) -> list[pytest.Item]:
        """Mixed, and split into one part for each worker that begins with its share of what starts processes.

        Slow cases are neighbours in the plan and would all fall to one worker. Mixed, no case can come to depend on the one
        before it; the order follows from the ids and the seed, so it is the same everywhere. xdist gives out such parts first.
        """
        mixed = sorted(
            items, key=lambda item: hashlib.sha256((self._mix + item.nodeid).encode(errors="surrogateescape")).digest()
        )
        slow = [item for item in mixed if self._isolation[case_of(item).id].starts_processes]
        quick = [item for item in mixed if not self._isolation[case_of(item).id].starts_processes]
        return [i for part in range(self._workers) for i in slow[part :: self._workers] + quick[part :: self._workers]]


def case_of(item: pytest.Item) -> Case:
    """The case of an item that :func:`pytest_generate_tests` made."""
    return cast(Case, _parameter(item))


def _parameter(item: pytest.Item) -> object:
    """``None`` for the empty item of an invariant that has no case."""
    return item.callspec.params.get("exchange") if hasattr(item, "callspec") else None


_worker: Worker | None = None


def pytest_configure(config: pytest.Config) -> None:
    """In a worker: end with the controlling process, and load the jobs."""
    global _worker
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Starts())
        return
    children.die_with_parent()
    _worker = Worker(config.workerinput["workerid"], config.workerinput["workercount"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item for each planned case of the invariant."""
    name = getattr(metafunc.function, "__invariant__", None)
    if _worker is None or name is None:
        return
    cases = _worker.cases.get(name, [])
    metafunc.parametrize("exchange", cases, ids=[case.id for case in cases])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take out the empty items of invariants without a planned case, and put the rest in order."""
    if _worker is not None:
        items[:] = _worker.order(item for item in items if isinstance(_parameter(item), Case))


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Have a case run: pytest's own reports would only make the controller busy."""
    if _worker is None:
        return None
    _worker.run(case_of(item))
    return True


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
            _tell(what="a signal of another process ended a worker before it had started", ended_by_others=True)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object, error: object) -> None:
        """Count a worker that ended with an error, and stop if no worker has ever started."""
        self._failed += bool(error)
        if self._failed < _FUTILE_STARTS or self._works:
            return
        what = f"{self._failed} workers ended before they had started ({error}); diagnostics.log has their output"
        _tell(what=what, final=True)
        pytest.exit(what, returncode=pytest.ExitCode.INTERNAL_ERROR)


def _tell(**facts: Any) -> None:
    """Send a trouble from the controller to the supervisor."""
    Line(os.environ[REPORT], _PATIENCE).send(_record(Event.TROUBLE, **facts))


def _a_worker_was_killed() -> bool:
    """Whether a signal has ended a child of this process. A worker loads no library, so no signal is a library's fault.

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
