"""Results and findings to report on: of PyTorch, CuPy, NumPy, CV-CUDA and the reference, as a run would have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.codes import Code
from conformance.checks.libraries import REFERENCE, Environment, Library
from conformance.checks.outcomes import Outcome, Side
from conformance.execution.environment import Facts
from conformance.execution.results import Accused, Result
from conformance.findings.model import Finding
from conformance.protocols.clauses import Level, Role
from conformance.reports import check_findings

CUPY_ABSENT = Library("cupy", {}, absent="not installed (cupy)")
LIBRARIES = (
    Library(REFERENCE, {}),
    Library("torch", {"torch": "2.11.0"}),
    Library("numpy", {"numpy": "2.3.1"}),
    Library("cvcuda", {"cvcuda-cu13": "0.17.0", "nvcv": "0.17"}),
    CUPY_ABSENT,
)
NO_DRIVER = {"available": False, "reason": "none: no driver"}
DRIVER = {
    "available": True,
    "gpus": [{"name": "Made-up GPU"}, {"name": "Made-up GPU"}],
    "driver_version": "600.1",
    "driver_cuda_version": "13.9",
}
FACTS = Facts(Environment(LIBRARIES), NO_DRIVER, machine={"python": "3.12.1"})
ON_GPU = replace(FACTS, driver=DRIVER)
_ROLES = {Side.PRODUCER: Role.PRODUCER, Side.CONSUMER: Role.CONSUMER}


def case(
    producer: str = "numpy", consumer: str = "torch", protocol: str = "dlpack", device: Device = Device.HOST,
    invariant: str = "pointer.values", **parameters: str,
) -> Case:  # fmt: skip
    """A case of an invariant."""
    return Case(invariant, producer, consumer, protocol, device, tuple(parameters.items()))


def plain(at: Case, outcome: Outcome = Outcome.PASS, reason: str = "") -> Result:
    """A result that accuses nobody."""
    return Result(at, outcome, Level.MUST, reason=reason)


def failed(
    at: Case, side: Side = Side.CONSUMER, *, code: Code = Code.VALUES_CHANGED, cited: str = "DLP-58",
    level: Level = Level.MUST, outcome: Outcome = Outcome.FAIL, given: str = "", step: str = "",
    reason: str = "it went wrong", expected: str = "this", seen: str = "that",
    notes: dict[str, str] | None = None, why: str = "seen in the check",
) -> Result:  # fmt: skip
    """A failure of the library on this side of a case, or of both, or of nobody."""
    names = {
        Side.PRODUCER: (at.producer,),
        Side.CONSUMER: (at.consumer,),
        Side.BETWEEN: at.libraries[1:-1],
        Side.BOTH: (at.producer, at.consumer),
    }.get(side, ())
    return Result(
        at, outcome, level, code.value, cited, _ROLES.get(side, Role.CONSUMER), given, step,
        Accused(side, names, why), reason, expected, seen, attachments=dict(notes or {}),
    )  # fmt: skip


def died(at: Case, side: Side = Side.CONSUMER, *, step: str = "import", level: Level = Level.MUST, given: str = "") -> Result:  # fmt: skip
    """A case in which the process was lost."""
    reason = "the process died of SIGSEGV while torch imported the array"
    return failed(
        at, side, code=Code.CRASH, cited="" if level is Level.ROBUSTNESS else "DLP-58", level=level,
        outcome=Outcome.CRASH, given=given, step=step, reason=reason, expected="a process that goes on", seen="SIGSEGV",
    )  # fmt: skip


def found(results: Sequence[Result], facts: Facts = FACTS) -> list[Finding]:
    """The findings of a run with these results."""
    return check_findings.of_run(results, facts)


def only(results: Sequence[Result], facts: Facts = FACTS) -> Finding:
    """The one finding of a run with these results."""
    (one,) = found(results, facts)
    return one
