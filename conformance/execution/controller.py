"""The pytest plugin of the controlling process: tells how a worker died."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from conformance.suite import deadline
from conformance.suite.catalogue import Case, catalogue
from conformance.suite.outcomes import Outcome

from .results import Result, append, append_to, death, read_lines
from .worker import CASE_MARK, LOGS, PLAN, POISON_MARK, RESULTS_SUFFIX

FILE = "controller" + RESULTS_SUFFIX
_FATAL = re.compile(r"Fatal Python error: (.+)")


class Controller:
    """Knows the plan and the workers' logs."""

    def __init__(self) -> None:
        self.cases = {r["id"]: Case.from_json(r) for r in read_lines(Path(os.environ[PLAN]))}
        self.logs = Path(os.environ[LOGS])
        self._results = append_to(self.logs / FILE)
        self.catalogue = catalogue()

    def record(self, result: Result) -> None:
        """To the controller's own file."""
        append(self._results, result)

    def died(self, case: Case) -> Result:
        """What the worker's own log says about its end."""
        stderr = self._words(case)
        clauses = self.catalogue[case.invariant].clauses
        if POISON_MARK in stderr:
            return death(case, clauses, Outcome.POISONED, stderr.rpartition(POISON_MARK)[2].strip(), stderr)
        if "Timeout (" in stderr:
            return death(case, clauses, Outcome.HANG, f"no end after {deadline.seconds():g} s", stderr)
        fatal = _FATAL.search(stderr)
        seen = fatal.group(1) if fatal else "no word of why"
        return death(case, clauses, Outcome.CRASH, f"the worker process died: {seen}", stderr, seen=seen)

    def _words(self, case: Case) -> str:
        """What a worker wrote to standard error since it began this case."""
        mark = f"{CASE_MARK}{case.id}\n"
        for log in self.logs.glob("*.log"):
            text = log.read_text(encoding="utf-8", errors="replace")
            if mark in text:
                after = text.rpartition(mark)[2]
                if CASE_MARK not in after:
                    return after
        return ""


_controller: Controller | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Only in the controlling process."""
    global _controller
    if not hasattr(config, "workerinput") and os.environ.get(PLAN):
        _controller = Controller()


def pytest_handlecrashitem(crashitem: str, report: Any, sched: Any) -> None:
    """A worker died in this case."""
    if _controller is None:
        return
    case = _controller.cases.get(crashitem.partition("[")[2].removesuffix("]"))
    if case is not None:
        _controller.record(_controller.died(case))
