"""Run of an item: a monitor runs its case in the setup phase, and the call phase reports the result.

So a case without a decided result is an error of the setup, as if a fixture had failed, and never a failure or a pass. A
failure belongs to the call phase.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol

import pytest

from conformance.checks.catalogue import Case
from conformance.execution.results import Result

from . import reporting
from .collecting import case_of
from .judgements import Told
from .verdicts import Shown, shown

TOLD = pytest.StashKey[Told]()


class Runs(Protocol):
    """Interface of a runner of cases."""

    def run(self, case: Case) -> Told:
        """Run a case in a separate or shared process, and return its result."""


class NotDecided(Exception):
    """The case is inconclusive or lost."""


class Broken(AssertionError):
    """The case violates its invariant."""


class Ended(Exception):
    """A case that was reported earlier caused the loss of a later case's process."""


class Running:
    """Runs the cases of items, and turns results into outcomes of pytest."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Run the case of the item in a child process."""
        case = case_of(item)
        if case is not None:
            take(item, self._runs.run(case))

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Report the result instead of a call of the check."""
        told = pyfuncitem.stash.get(TOLD, None)
        if told is None or case_of(pyfuncitem) is None:
            return None
        judge(told.result)
        return True

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Fail if the case shows that an earlier case, which was already reported, is at fault."""
        told = item.stash.get(TOLD, None)
        if told is not None and told.culprits:
            raise Ended("\n\n".join(map(_told_late, told.culprits)))

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
        """Put the result into the report of the phase that it ended."""
        report: pytest.TestReport = (yield).get_result()
        told = item.stash.get(TOLD, None)
        if told is None or call.excinfo is None:
            return
        if isinstance(call.excinfo.value, (NotDecided, Broken, pytest.xfail.Exception)):
            reporting.complete(report, told.result, keeps_traceback=False)
        elif isinstance(call.excinfo.value, pytest.skip.Exception):
            report.longrepr = (*reporting.place_of(told.result), f"Skipped: {reporting.brief(told.result)}")
        elif isinstance(call.excinfo.value, Ended):
            first = told.culprits[0]
            report.longrepr = reporting.longrepr(first, f"{first.case.id}, reported earlier, {call.excinfo.value}")


def take(item: pytest.Item, told: Told) -> None:
    """Store the result for the other phases. Raises for a refused case, and for one without a decided result."""
    item.stash[TOLD] = told
    item.user_properties[:] = reporting.properties(told.result)
    outcome = shown(told.result)
    if outcome is Shown.SKIPPED:
        pytest.skip(reporting.brief(told.result))
    if outcome is Shown.ERROR:
        raise NotDecided(reporting.described(told.result))


def judge(result: Result) -> None:
    """Raise the exception for a result. With ``--runxfail``, ``pytest.xfail`` does nothing, so any finding is a failure."""
    outcome = shown(result)
    if outcome is Shown.XFAILED:
        pytest.xfail(reporting.brief(result))
    if outcome is not Shown.PASSED:
        raise Broken(reporting.described(result))


def _told_late(culprit: Result) -> str:
    return f"ended the process of this case: {reporting.described(culprit)}"
