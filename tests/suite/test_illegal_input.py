"""Input that the suite makes illegal: a crash or a defect is a matter of robustness, and a clean refusal is right."""

from __future__ import annotations

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.outcomes import Outcome
from conformance.execution.workbench import Workbench
from conformance.faults import all_faults
from conformance.protocols.clauses import Level
from conformance.selftest.make_believe import streaming

from .conftest import Runner

NAMES = [name for name in catalogue() if name.startswith("illegal.")]


@pytest.mark.parametrize("name", NAMES)
def test_a_consumer_that_refuses_or_reads_rightly_is_not_accused(name: str, run_reference: Runner) -> None:
    """Every case passes."""
    results = run_reference(name)
    assert results
    assert {result.outcome for result in results} == {Outcome.PASS}


@pytest.mark.parametrize("fault", [name for name in all_faults() if name.startswith("illegal.")])
def test_no_fault_breaks_a_promise(fault: str, run_reference: Runner) -> None:
    """No clause is cited: what is taken is only noted, and what goes wrong is one of robustness."""
    found = [r for name in all_faults()[fault].caught_by for r in run_reference(name, all_faults()[fault])]
    failed = [result for result in found if result.outcome is Outcome.FAIL]
    assert failed
    assert {result.clause for result in failed} == {""}
    assert {result.level for result in failed} <= {Level.ROBUSTNESS, Level.OBSERVED}


def test_elements_at_null_that_are_taken_are_only_noted(run_reference: Runner) -> None:
    """Nobody has read them."""
    failed = [r for r in run_reference("illegal.null-address", all_faults()["illegal.ReadsNull"]) if r.code]
    assert {(r.code, r.level) for r in failed} == {("illegal-accepted", Level.OBSERVED)}


@pytest.mark.parametrize(("stream", "told"), [("minus-one", "a documented opt-out"), ("zero", "no stream: illegal")])
def test_what_a_number_means_depends_on_the_library(stream: str, told: str) -> None:
    """CV-CUDA documents -1, and no library documents 0."""
    case = Case("illegal.dictionary-stream", "reference", "cvcuda", "cai", Device.SIMULATED, (("stream", stream),))
    result = Workbench(streaming.libraries()).run(case, catalogue()[case.invariant])
    assert result.outcome is Outcome.PASS, result
    assert result.attachments["stream"].startswith(told)


def test_a_documented_number_that_is_refused_breaks_the_document() -> None:
    """The page says that -1 opts out of the wait."""
    found = streaming.libraries()
    adapter = found["cvcuda"]

    class Refuses(streaming.Wrapping):
        def follow(self, published: int | None) -> None:
            raise ValueError(f"stream {published}")

    adapter.importer_class = Refuses  # type: ignore[attr-defined]
    case = Case("illegal.dictionary-stream", "reference", "cvcuda", "cai", Device.SIMULATED, (("stream", "minus-one"),))
    result = Workbench(found).run(case, catalogue()[case.invariant])
    assert (result.outcome, result.clause, result.level) == (Outcome.FAIL, "DOC-CP-8", Level.MUST)
