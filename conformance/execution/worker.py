"""The pytest plugin of a worker: cases come from the plan, results go to a file of the worker's own.

Loaded with ``-p conformance.execution.worker``. pytest and xdist collect and distribute; fixtures, phases and
reports have nothing to do here.
"""

from __future__ import annotations

import faulthandler
import hashlib
import os
from collections import defaultdict
from enum import Enum
from pathlib import Path
from typing import Any, cast

import pytest

from conformance.protocols.clauses import Level
from conformance.suite import children, deadline
from conformance.suite.catalogue import Case, Invariant, Isolation, catalogue
from conformance.suite.outcomes import Outcome

from . import isolation
from .hazards import isolation_of
from .results import Result, append, append_to, read_lines
from .workbench import Workbench

PLAN = "CONFORMANCE_PLAN"
"""Environment variable with the path of the plan."""
LOGS = "CONFORMANCE_LOGS"
"""Environment variable with the folder for the workers' standard error."""
PHASE = "CONFORMANCE_PHASE"
"""Environment variable with the :class:`Phase` to run."""
RESULTS_SUFFIX = ".results.jsonl"
"""Ends the name of every file that results are written to, one line a case, as they arise."""
CASE_MARK = "== case "
POISON_MARK = "== poisoned "


class Phase(str, Enum):
    """Cases that must have the GPU to themselves run after all the others, in one process."""

    SHARED = "shared"
    EXCLUSIVE = "exclusive"


def phase_of(invariant: Invariant) -> Phase:
    """When the cases of an invariant run."""
    return Phase.EXCLUSIVE if invariant.exclusive else Phase.SHARED


class Worker:
    """State of one worker process."""

    def __init__(self, name: str, workers: int) -> None:
        self._workers = workers
        self._results = append_to(Path(os.environ[LOGS], name + RESULTS_SUFFIX))
        self.catalogue: dict[str, Invariant] = catalogue()
        self.bench = Workbench()
        self._children: isolation.Client | None = None
        self.cases: dict[str, dict[str, Case]] = defaultdict(dict)
        phase = Phase(os.environ[PHASE])
        for record in read_lines(Path(os.environ[PLAN])):
            case = Case.from_json(record)
            if phase_of(self.catalogue[case.invariant]) is phase:
                self.cases[case.invariant][case.id] = case

    def run(self, case: Case) -> Result:
        """Here or in a child, with a deadline either way."""
        invariant = self.catalogue[case.invariant]
        where = isolation_of(case, invariant)
        if where.in_child:
            return self._run_in_child(case, where)
        _note(f"{CASE_MARK}{case.id}")
        faulthandler.dump_traceback_later(deadline.seconds(), exit=True, file=2)
        try:
            result = self.bench.run(case, invariant)
        finally:
            faulthandler.cancel_dump_traceback_later()
        if result.outcome is Outcome.POISONED:
            self._end_poisoned(result)
        return result

    def _run_in_child(self, case: Case, where: Isolation) -> Result:
        try:
            self._children = self._children or isolation.Client()
            return self._children.run(case, where)
        except OSError as error:
            reason = f"no child process could be had: {type(error).__name__}: {error}"
            return Result(case, Outcome.LOST, Level.MUST, reason=reason)

    def order(self, items: list[pytest.Item]) -> list[pytest.Item]:
        """Mixed, and split into one part for each worker that begins with its share of what starts processes.

        Slow cases are neighbours in the plan and would all fall to one worker. Mixed, no case can come to depend on the one
        before it; the order follows from the ids, so it is the same everywhere. xdist gives out such parts first.
        """
        mixed = sorted(items, key=lambda item: hashlib.sha256(item.nodeid.encode()).digest())
        slow: list[pytest.Item] = []
        quick: list[pytest.Item] = []
        for item in mixed:
            (slow if self._starts_processes(item) else quick).append(item)
        return [i for part in range(self._workers) for i in slow[part :: self._workers] + quick[part :: self._workers]]

    def _starts_processes(self, item: pytest.Item) -> bool:
        case = case_of(item)
        return case is not None and isolation_of(case, self.catalogue[case.invariant]).starts_processes

    def record(self, result: Result) -> None:
        """To this worker's own file."""
        append(self._results, result)

    def _end_poisoned(self, result: Result) -> None:
        """Nothing more can be believed in this process: leave a note and end, so that a fresh one takes over."""
        _note(f"{POISON_MARK}{result.reason}")
        os._exit(70)


def case_of(item: pytest.Item) -> Case | None:
    """The case of an item that :func:`pytest_generate_tests` made."""
    found = getattr(item, "callspec", _EMPTY).params.get("exchange")
    return found if isinstance(found, Case) else None


def _note(line: str) -> None:
    """A line in this worker's log, past all buffers."""
    os.write(2, f"{line}\n".encode())


_worker: Worker | None = None
_EMPTY: Any = type("NoCallSpec", (), {"params": {}})


def pytest_configure(config: pytest.Config) -> None:
    """In a worker: send standard error, crash reports included, to a file of its own, and load the plan."""
    global _worker
    if not hasattr(config, "workerinput"):
        return
    children.die_with_parent()
    name: str = config.workerinput["workerid"]
    os.dup2(append_to(Path(os.environ[LOGS], f"{name}.log")), 2)
    faulthandler.enable(file=2)
    _worker = Worker(name, config.workerinput["workercount"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item for each planned case of the invariant."""
    name = getattr(metafunc.function, "__invariant__", None)
    if _worker is None or name is None:
        return
    cases = _worker.cases.get(name, {})
    metafunc.parametrize("exchange", list(cases.values()), ids=list(cases))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take out the empty items of invariants without a planned case, and put the rest in order."""
    if _worker is not None:
        items[:] = _worker.order([item for item in items if case_of(item)])


def pytest_runtest_protocol(item: pytest.Function, nextitem: pytest.Item | None) -> bool | None:
    """Run a case and write its result down: pytest's own reports would only make the controller busy."""
    if _worker is None:
        return None
    _worker.record(_worker.run(cast(Case, case_of(item))))
    return True
