"""The pytest plugin of a worker: cases come from the plan, results go to a file of the worker's own.

Loaded with ``-p conformance.execution.worker``. pytest and xdist collect and distribute; fixtures, phases and
reports have nothing to do here.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any, cast

import pytest

from conformance.suite.catalogue import Case, Invariant, Isolation, catalogue
from conformance.suite.outcomes import Outcome

from . import deadline, isolation
from .hazards import isolation_of
from .results import Result, read_lines
from .workbench import Workbench

PLAN = "CONFORMANCE_PLAN"
"""Environment variable with the path of the plan."""
LOGS = "CONFORMANCE_LOGS"
"""Environment variable with the folder for the workers' standard error."""
RESULTS_SUFFIX = ".results.jsonl"
"""Ends the name of every file that results are written to, one line a case, as they arise."""
CASE_MARK = "== case "
POISON_MARK = "== poisoned "


class Worker:
    """State of one worker process."""

    def __init__(self, name: str) -> None:
        self._results = append_to(Path(os.environ[LOGS], name + RESULTS_SUFFIX))
        self.catalogue: dict[str, Invariant] = catalogue()
        self.bench = Workbench()
        self.cases: dict[str, dict[str, Case]] = defaultdict(dict)
        for record in read_lines(Path(os.environ[PLAN])):
            case = Case.from_json(record)
            self.cases[case.invariant][case.id] = case

    def run(self, case: Case) -> Result:
        """Here or in a child, with a deadline either way."""
        invariant = self.catalogue[case.invariant]
        if isolation_of(case, invariant) is not Isolation.SHARED:
            return isolation.run(case)
        _note(f"{CASE_MARK}{case.id}")
        faulthandler.dump_traceback_later(deadline.seconds(), exit=True, file=2)
        try:
            result = self.bench.run(case, invariant)
        finally:
            faulthandler.cancel_dump_traceback_later()
        if result.outcome is Outcome.POISONED:
            self._end_poisoned(result)
        return result

    def record(self, result: Result) -> None:
        """One line, in one write, so that no reader ever sees half of it followed by another."""
        os.write(self._results, json.dumps(result.to_json(), ensure_ascii=False).encode() + b"\n")

    def _end_poisoned(self, result: Result) -> None:
        """Nothing more can be believed in this process: leave a note and end, so that a fresh one takes over."""
        _note(f"{POISON_MARK}{result.reason}")
        os._exit(70)


def append_to(path: Path) -> int:
    """A descriptor that every write goes to the end of."""
    return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)


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
    name: str = config.workerinput["workerid"]
    os.dup2(append_to(Path(os.environ[LOGS], f"{name}.log")), 2)
    faulthandler.enable(file=2)
    _worker = Worker(name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item for each planned case of the invariant."""
    name = getattr(metafunc.function, "__invariant__", None)
    if _worker is None or name is None:
        return
    cases = _worker.cases.get(name, {})
    metafunc.parametrize("exchange", list(cases.values()), ids=list(cases))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take out the empty items of invariants without a planned case, and mix the rest.

    Slow cases are neighbours in the plan and would all fall to one worker; mixed, they spread, and no case can come to
    depend on the one before it. The order follows from the ids, so it is the same everywhere.
    """
    if _worker is not None:
        planned = [i for i in items if isinstance(getattr(i, "callspec", _EMPTY).params.get("exchange"), Case)]
        items[:] = sorted(planned, key=lambda item: hashlib.sha256(item.nodeid.encode()).digest())


def pytest_runtest_protocol(item: pytest.Function, nextitem: pytest.Item | None) -> bool | None:
    """Run a case and write its result down: pytest's own reports would only make the controller busy."""
    if _worker is None:
        return None
    _worker.record(_worker.run(cast(Case, item.callspec.params["exchange"])))
    return True
