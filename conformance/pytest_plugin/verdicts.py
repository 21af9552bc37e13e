"""From a result to an outcome of pytest. The exit code of pytest then says what that of ``check`` says."""

from __future__ import annotations

from enum import Enum

from conformance.execution import canaries
from conformance.execution.results import Result
from conformance.verdict import Verdict


class Shown(str, Enum):
    """How pytest shows a case."""

    PASSED = "passed"
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    FAILED = "failed"
    ERROR = "error"


OF_VERDICT = {
    Verdict.CONFORMS: Shown.PASSED,
    Verdict.REFUSED: Shown.SKIPPED,
    # A finding that breaks no promise: it is told, and fails neither `check` nor a build. --runxfail makes it a failure.
    Verdict.DEVIATES: Shown.XFAILED,
    Verdict.ROBUSTNESS: Shown.XFAILED,
    # The check saw something else than it looked for, so "passed" would be untrue; but no clause demands anything.
    Verdict.OBSERVED: Shown.XFAILED,
    Verdict.VIOLATES: Shown.FAILED,
    # Nothing is known of the invariant: neither a pass nor a failure of a library.
    Verdict.UNDECIDED: Shown.ERROR,
    Verdict.LOST: Shown.ERROR,
}


def shown(result: Result) -> Shown:
    """Return how pytest shows a result. A canary passes if it has ended as it was built to."""
    built_for = canaries.built_for(result)
    if built_for is None or result.verdict is Verdict.LOST:
        return OF_VERDICT[result.verdict]
    return Shown.PASSED if result.outcome is built_for else Shown.FAILED
