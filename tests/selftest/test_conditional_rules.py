"""Faults on which no condition is put: each rule holds for the faults that it leaves out."""

from __future__ import annotations

from collections import Counter

import pytest

from conformance import faults
from conformance.adapters.base import Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks import offers
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.libraries import Environment
from conformance.checks.outcomes import Outcome
from conformance.checks.repeated_checks import EXCHANGE
from conformance.execution import probe
from conformance.execution.results import ACCUSING, Result
from conformance.execution.workbench import Workbench
from conformance.selftest.conditional import drawing, witness
from conformance.selftest.conditional.generating import conditional
from conformance.selftest.conditional.levels import FACTORS
from conformance.selftest.conditional.subjects import PREFIX
from conformance.selftest.conditional.unseen import HARMLESS, MAY_REFUSE, OBSERVED, RULES, UNSEEN, harmless
from conformance.verdict import Verdict

PLAIN = (
    ("width", "4"), ("kind", "float"), ("layout", "packed"), ("rank", "2"), ("size", "few"), ("offset", "0"), ("access", "writable"),
)  # fmt: skip
"""The levels of a plain array."""
REFUSED = {
    "dtype.BrainFloatsRefused": (("dtype", "bfloat16"),),
    "pointer.CopyFalseRefused": (("layout", "stepped"), ("path", "shared")),
    "pointer.CopyTrueRefused": (("layout", "stepped"), ("path", "copy")),
}
"""By fault: the levels of an array that the fault refuses, and may refuse."""
UNSHOWN = [name for name, rule in UNSEEN.items() if rule not in (OBSERVED, MAY_REFUSE)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference releases at once, so the tests wait for no late release."""
    monkeypatch.setattr(offers, "PATIENCE", 0.02)


@pytest.fixture(scope="module")
def environment() -> Environment:
    """The reference alone, on host memory and on the simulated device."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(probe.SIMULATE, "1")
        return Environment((probe.probe("reference"),))


def bench(name: str) -> Workbench:
    """The reference with a fault that is always wrong, on both sides."""
    adapter, fault = ReferenceAdapter(), faults.all_faults()[name]
    adapter.exporter_class, adapter.importer_class = fault.exporter, fault.importer  # type: ignore[misc]
    return Workbench({"reference": adapter})


def failures(name: str, environment: Environment) -> list[Result]:
    """The failures of the invariants that have to catch the fault."""
    tried = bench(name)
    entries = [catalogue()[invariant] for invariant in faults.all_faults()[name].caught_by]
    results = [tried.run(case, entry) for entry in entries for case in entry.cases(environment)]
    return [result for result in results if result.outcome in ACCUSING]


@pytest.mark.parametrize("name", RULES[OBSERVED])
def test_a_fault_that_no_document_forbids_is_only_observed(name: str, environment: Environment) -> None:
    """Its trial could not end in a failure, so under a condition it would always count as missed."""
    assert {result.verdict for result in failures(name, environment)} == {Verdict.OBSERVED}


@pytest.mark.parametrize("name", RULES[MAY_REFUSE])
def test_a_refusal_that_the_protocol_permits_is_no_failure(name: str, environment: Environment) -> None:
    """The same fault fails with a plain array, or with an array of its own."""
    case = Case(EXCHANGE, "reference", "reference", "dlpack", Device.HOST, REFUSED[name])
    assert bench(name).run(case, catalogue()[EXCHANGE]).outcome is Outcome.REFUSED
    assert failures(name, environment)


@pytest.mark.parametrize("name", UNSHOWN)
def test_a_fault_of_the_other_rules_shows_in_no_exchange_of_a_plain_array(name: str) -> None:
    """It needs illegal input, a special array, a stream, a race, thousands of exchanges, a fork or another thread."""
    assert witness.of(conditional(faults.all_faults()[name], ()), PLAIN) is None


def test_each_fault_has_one_rule() -> None:
    """The account counts each of them once."""
    assert [
        name for name, count in Counter(name for names in RULES.values() for name in names).items() if count > 1
    ] == []


def test_harmless_levels_name_known_faults_and_levels() -> None:
    """Each fault of the list could have been drawn with its level otherwise."""
    for (factor, level), reasons in HARMLESS.items():
        assert level in FACTORS[factor]
        for name in (name for names in reasons.values() for name in names):
            assert not drawing.left_out(faults.all_faults()[name])
            assert level in drawing.levels_of(f"{PREFIX}{name}")[factor]
            assert harmless(name, ((factor, level), ("thread", "other")))
            assert not harmless(name, (("thread", "other"),))
