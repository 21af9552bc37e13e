"""A reported case that caused the loss of a later case's process: the later test has an error that names it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.outcomes import Outcome
from conformance.execution.results import Result
from conformance.protocols.clauses import Level
from conformance.pytest_plugin.judgements import Told
from conformance.pytest_plugin.running import TOLD, Ended, Running

EARLIER = Case("pointer.values", "reference", "numpy", "dlpack", Device.HOST, (("layout", "rows"),))
LATER = Case("pointer.values", "numpy", "reference", "dlpack", Device.HOST)


class NeverRuns:
    """Nothing is run here."""

    def run(self, case: Case) -> Told:
        """Not called."""
        raise AssertionError(case)


def item_with(*culprits: Result) -> pytest.Item:
    """An item as far as these hooks look at it, whose own case has passed."""
    stash = pytest.Stash()
    stash[TOLD] = Told(Result(LATER, Outcome.PASS, Level.MUST), culprits)
    return cast(pytest.Item, SimpleNamespace(stash=stash))


def test_the_teardown_of_the_later_test_fails_and_names_the_earlier_case() -> None:
    """The report has its id and its crash, without a traceback of the suite's own code."""
    item = item_with(
        Result(EARLIER, Outcome.CRASH, Level.MUST, code="crash", reason="the process crashed with SIGSEGV")
    )
    running = Running(NeverRuns())
    with pytest.raises(Ended) as raised:
        running.pytest_runtest_teardown(item)
    report = SimpleNamespace(longrepr=None, sections=[])
    hook = running.pytest_runtest_makereport(item, cast(Any, SimpleNamespace(excinfo=raised)))
    next(hook)
    with pytest.raises(StopIteration):
        hook.send(SimpleNamespace(get_result=lambda: report))
    told = str(report.longrepr)
    assert EARLIER.id in told
    assert "ended the process of this case: violates: the process crashed with SIGSEGV" in told


def test_the_teardown_of_other_tests_does_nothing() -> None:
    """A case without a disturbance."""
    Running(NeverRuns()).pytest_runtest_teardown(item_with())
