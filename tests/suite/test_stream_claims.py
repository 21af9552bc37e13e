"""What the pages promise about streams, on make-believe libraries: what the selftest does not show of it."""

from __future__ import annotations

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.libraries import Environment
from conformance.checks.outcomes import Outcome
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.protocols.clauses import Level
from conformance.selftest.make_believe import streaming
from conformance.selftest.model import Fault
from conformance.selftest.stages import stream_claims

CASES = tuple(stream_claims.STAGE.cases(Environment(())))
FACTS = (
    "stream-claim.true-writer", "stream-claim.torch-at-as-tensor", "stream-claim.thread-contexts", "stream-claim.contexts-left",
    "stream-claim.default-read-only",
)  # fmt: skip
"""What is read or seen as it is: there is no wait to be taken out of it."""


def test_every_promise_is_tried() -> None:
    """With every library that it is about."""
    assert {case.invariant for case in CASES} == {name for name in catalogue() if name.startswith("stream-claim.")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_flawless_libraries_keep_every_promise(case: Case) -> None:
    """None is accused, and every pass that is not a plain fact has seen its control."""
    result = Workbench(streaming.libraries()).run(case, catalogue()[case.invariant])
    assert result.outcome is Outcome.PASS, (result.reason, result.expected, result.seen, result.attachments)
    assert "control" in result.attachments or case.invariant in FACTS


def run(fault: str, name: str, producer: str, **parameters: str) -> Result:
    """One case to CV-CUDA on the simulated device, with a fault of the stage."""
    chosen: Fault = next(f for f in stream_claims.STAGE.faults if f.name == f"stream-claims.{fault}")
    found = streaming.libraries()
    chosen.spoil(found)
    case = Case(f"stream-claim.{name}", producer, "cvcuda", "cai", Device.SIMULATED, tuple(parameters.items()))
    return Workbench(found).run(case, catalogue()[case.invariant])


@pytest.mark.parametrize(
    ("fault", "name", "producer", "parameters", "level"),
    [
        ("never-waits", "barrier", "cupy", {}, Level.MUST),
        ("stops-the-device", "later-use", "torch", {}, Level.MUST),
        ("trusts-defaults", "default-streams", "reference", {"stream": "legacy"}, Level.MUST),
        ("defaults-by-event", "default-streams", "reference", {"stream": "legacy"}, Level.OBSERVED),
        ("waits-at-the-first-use", "torch-at-as-tensor", "torch", {}, Level.OBSERVED),
    ],
)
def test_wrong_data_and_broken_promises_of_cost_violate(
    fault: str, name: str, producer: str, parameters: dict[str, str], level: Level
) -> None:
    """Another way to be right than the page's is only told."""
    result = run(fault, name, producer, **parameters)
    assert (result.outcome, result.level) == (Outcome.FAIL, level), (result.reason, result.attachments)


def test_a_pytorch_that_publishes_its_stream_is_told_of() -> None:
    """What the page says of it then no longer applies."""
    result = run("publishes-its-stream", "torch-at-as-tensor", "torch")
    assert (result.outcome, result.level) == (Outcome.FAIL, Level.OBSERVED)
    assert "publishes" in result.reason
