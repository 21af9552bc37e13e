"""Run cases in the process of pytest, so that a debugger stops where the check fails.

There is no isolation: a case that crashes its process ends pytest. No trials run, so some failures have no accused library.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType

import pytest

from conformance.checks.catalogue import Case, Isolation, catalogue
from conformance.checks.exchange import Exchange
from conformance.checks.outcomes import Failure, Refused
from conformance.execution import accusations
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench

from . import reporting
from .collecting import case_of
from .judgements import Told
from .running import TOLD, Running, Runs, judge
from .scope import SUITE
from .turns import Turns


class InProcess(Running):
    """Runs cases in the call phase of their items. Cases that test the exit of an interpreter still run in a child process."""

    def __init__(self, isolated: Runs, turns: Turns) -> None:
        super().__init__(isolated)
        self._bench = Workbench()
        self._turns = turns

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Run the case now, if it needs a process that exits."""
        case = case_of(item)
        if case is not None and needs_exit(case):
            super().pytest_runtest_setup(item)

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Run the case, and raise the exception of the check."""
        case = case_of(pyfuncitem)
        if case is None or needs_exit(case):
            return super().pytest_pyfunc_call(pyfuncitem)
        with self._turns.turn(case):
            result, raised = self._run(pyfuncitem, case)
        pyfuncitem.stash[TOLD] = Told(result)
        pyfuncitem.user_properties[:] = reporting.properties(result)
        if isinstance(raised, Refused):
            pytest.skip(reporting.brief(result))
        if isinstance(raised, Failure):
            self._stop(result, raised)
        elif raised is not None:
            raise raised
        judge(result)
        return True

    def _stop(self, result: Result, failure: Failure) -> None:
        """Raise the failure of the check itself if pytest reports a failure: a debugger stops only at that exception."""
        try:
            judge(result)
        except AssertionError:
            raise failure.with_traceback(_to_the_check(failure.__traceback__)) from None

    def _run(self, item: pytest.Function, case: Case) -> tuple[Result, BaseException | None]:
        """Return the result and the exception of the check. It calls the function of the item, so that ``--trace`` stops in it."""
        raised: list[BaseException] = []

        def check(exchange: Exchange) -> None:
            try:
                item.obj(exchange=exchange)
            except BaseException as error:
                raised.append(error)
                raise

        result = self._bench.run(case, replace(catalogue()[case.invariant], check=check))
        return accusations.accused(result, lambda id: None), raised[0] if raised else None


def needs_exit(case: Case) -> bool:
    """Return whether a case tests the exit of an interpreter, so that it cannot run in this one."""
    return catalogue()[case.invariant].isolation is Isolation.EXIT


def _to_the_check(traceback: TracebackType | None) -> TracebackType | None:
    """Return the traceback up to the innermost frame of a check, without the frames of helpers that raised for it."""
    found = list(_entries(traceback))
    while found and not _is_check(found[-1].tb_frame):
        found.pop()
    cut: TracebackType | None = None
    for entry in reversed(found):
        cut = TracebackType(cut, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return cut or traceback


def _entries(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _is_check(frame: FrameType) -> bool:
    path = Path(frame.f_code.co_filename)
    return path.parent.resolve() == SUITE and path.name.startswith("test_")
