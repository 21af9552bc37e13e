"""Mapping of results to outcomes of pytest. So the exit code of pytest means the same as that of ``check``."""

from __future__ import annotations

from enum import Enum

from conformance.execution import canaries
from conformance.execution.results import Result
from conformance.verdict import Verdict


class Shown(str, Enum):
    """Outcome of a case in pytest."""

    PASSED = "passed"
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    FAILED = "failed"
    ERROR = "error"


OF_VERDICT = {
    Verdict.CONFORMS: Shown.PASSED,
    Verdict.REFUSED: Shown.SKIPPED,
    # A finding that violates no requirement: it is reported, and fails neither `check` nor a build. --runxfail makes it a failure.
    Verdict.DEVIATES: Shown.XFAILED,
    Verdict.ROBUSTNESS: Shown.XFAILED,
    # The check did not see the expected behaviour, so "passed" would be wrong; but no clause applies.
    Verdict.OBSERVED: Shown.XFAILED,
    Verdict.VIOLATES: Shown.FAILED,
    # The case shows nothing about the invariant: neither a pass nor a failure of a library.
    Verdict.UNDECIDED: Shown.ERROR,
    Verdict.LOST: Shown.ERROR,
}


def shown(result: Result) -> Shown:
    """Return the outcome of a result in pytest. A canary passes if it has the outcome that it was built for."""
    built_for = canaries.built_for(result)
    if built_for is None or result.verdict is Verdict.LOST:
        return OF_VERDICT[result.verdict]
    return Shown.PASSED if result.outcome is built_for else Shown.FAILED
