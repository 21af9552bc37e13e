"""Observations to make findings from."""

from __future__ import annotations

from conformance.checks.codes import Code
from conformance.checks.outcomes import Side
from conformance.findings.model import Observation
from conformance.verdict import Verdict


def seen(
    case: str, code: Code = Code.VALUES_CHANGED, side: Side = Side.CONSUMER, *accused: str,
    verdict: Verdict = Verdict.VIOLATES, given: str = "", step: str = "", outcome: str = "fail", cell: str = "",
    clause: str = "DLP-58",
) -> Observation:  # fmt: skip
    """One case that went wrong; without names the library on the accused side is accused."""
    names = case.split("/")[1].split("-")
    by_side = {Side.PRODUCER: names[:1], Side.CONSUMER: names[-1:], Side.BETWEEN: names[1:-1], Side.BOTH: names}
    libraries = accused or tuple(dict.fromkeys(by_side.get(side, [])))
    return Observation(
        case, verdict, outcome, code.value, clause, given, step, side, libraries, "tried", "it went wrong", "right",
        "wrong", {}, cell,
    )  # fmt: skip
