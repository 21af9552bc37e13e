"""The pytest plugin of a worker: cases come from the plan, results travel with pytest's reports.

Loaded with ``-p conformance.execution.worker``. One report a case instead of pytest's three, because fixtures
and set-up phases have nothing to do here.
"""

from __future__ import annotations

import faulthandler
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
PROPERTY = "conformance"
CASE_MARK = "== case "
POISON_MARK = "== poisoned "


class Worker:
    """State of one worker process."""

    def __init__(self) -> None:
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

    def _end_poisoned(self, result: Result) -> None:
        """Nothing more can be believed in this process: leave a note and end, so that a fresh one takes over."""
        _note(f"{POISON_MARK}{result.reason}")
        os._exit(70)


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
    log = Path(os.environ[LOGS], f"{config.workerinput['workerid']}.log")
    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 2)
    faulthandler.enable(file=2)
    _worker = Worker()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One item for each planned case of the invariant."""
    name = getattr(metafunc.function, "__invariant__", None)
    if _worker is None or name is None:
        return
    cases = _worker.cases.get(name, {})
    metafunc.parametrize("exchange", list(cases.values()), ids=list(cases))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Invariants without a planned case leave an empty item behind; take it out."""
    if _worker is not None:
        items[:] = [i for i in items if isinstance(getattr(i, "callspec", _EMPTY).params.get("exchange"), Case)]


def pytest_runtest_protocol(item: pytest.Function, nextitem: pytest.Item | None) -> bool | None:
    """Run a case and report it."""
    if _worker is None:
        return None
    case = cast(Case, item.callspec.params["exchange"])
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    result = _worker.run(case)
    report: Any = pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="passed",
        longrepr=None,
        when="call",
        user_properties=[(PROPERTY, json.dumps(result.to_json(), ensure_ascii=False))],
        duration=result.duration,
    )
    item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
