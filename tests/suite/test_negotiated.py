"""What producers and consumers say to each other is judged by what the protocol demands, at the level at which it does."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.checks.codes import Code
from conformance.checks.outcomes import Outcome
from conformance.execution.results import Result
from conformance.faults import Fault, all_faults
from conformance.protocols.clauses import Level
from conformance.reference.exporter import Exporter
from conformance.verdict import Verdict

from .conftest import Runner


def failed(results: list[Result]) -> list[Result]:
    """Those that failed, of which there are some."""
    found = [result for result in results if result.outcome is Outcome.FAIL]
    assert found
    return found


@pytest.mark.parametrize(
    "name", ["negotiation.host-stream", "negotiation.ambiguous-stream", "negotiation.negative-stream"]
)
def test_taking_what_the_caller_must_not_pass_is_only_observed(name: str, run_reference: Runner) -> None:
    """A producer that takes such a stream breaks no promise, and does no harm; -1 for host memory is a grey area."""
    results = failed(run_reference(name, all_faults()["negotiation.AnyStreamTaken"]))
    illegal = [result for result in results if "minus-one" not in result.case.id]
    assert {(r.verdict, r.clause, r.code) for r in illegal} == {(Verdict.OBSERVED, "", Code.ILLEGAL_ACCEPTED.value)}
    grey = [result for result in results if result not in illegal]
    assert {result.verdict for result in grey} <= {Verdict.OBSERVED}


def test_a_refused_own_device_deviates(run_reference: Runner) -> None:
    """``BufferError`` is the answer that the protocol permits."""
    results = failed(run_reference("negotiation.device-argument", all_faults()["negotiation.OwnDeviceRefused"]))
    assert {(r.code, r.clause, r.verdict) for r in results} == {
        (Code.OWN_DEVICE_REFUSED.value, "DLP-61", Verdict.DEVIATES)
    }


def test_two_devices_for_one_array_deviate(run_reference: Runner) -> None:
    """That they agree is inferred; that each is a pair of integers is demanded."""
    results = failed(run_reference("negotiation.device-report", all_faults()["negotiation.DeviceToldTwoWays"]))
    assert {(r.code, r.clause, r.level) for r in results} == {(Code.DEVICES_DISAGREE.value, "DLP-60", Level.SHOULD)}


class NoneRefused(Exporter):
    """A stream has to be an integer, whose default is 1."""

    def dlpack(self, *, stream: int = 1, **asked: Any) -> Any:  # type: ignore[override]
        """As a wrapper of C++ has it."""
        if stream is None:
            raise TypeError("__dlpack__(): incompatible function arguments.")
        return super().dlpack(stream=None if self.device()[0] == 1 else stream, **asked)


def test_a_refused_default_of_the_stream_is_one_cause(run_reference: Runner) -> None:
    """Every edition has the keyword, so it is no older signature, whatever the exception says."""
    fault = Fault("none-refused", "no None", (), exporter=NoneRefused)
    results = failed(run_reference("negotiation.signature", fault)) + failed(
        [r for r in run_reference("negotiation.cuda-stream", fault) if r.case.id.endswith("/none")]
    )
    assert {(r.code, r.given, r.level) for r in results} == {(Code.KEYWORD_REFUSED.value, "`stream=None`", Level.MUST)}


def test_an_older_signature_is_told_as_one(run_reference: Runner) -> None:
    """It lacks keywords, and so deviates."""
    results = failed(run_reference("negotiation.signature", all_faults()["negotiation.OlderSignature"]))
    assert {(r.code, r.level) for r in results} == {(Code.OLDER_SIGNATURE.value, Level.SHOULD)}


def test_a_foreign_major_version_is_no_illegal_input(run_reference: Runner) -> None:
    """That it is refused is what a clause demands."""
    results = failed(run_reference("negotiation.foreign-major", all_faults()["negotiation.MajorNotChecked"]))
    results = [result for result in results if result.case.id.endswith("/plain")]
    assert {(r.code, r.clause, r.given, r.verdict) for r in results} == {
        (Code.NOT_REFUSED.value, "DLP-04", "a capsule of major version 2", Verdict.VIOLATES)
    }
