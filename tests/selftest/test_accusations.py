"""Whom faults are blamed on: the table of wrong accusations, and what goes into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from conformance import faults
from conformance.adapters.base import Adapter, Device
from conformance.checks.catalogue import Case
from conformance.checks.codes import Code
from conformance.checks.outcomes import Outcome
from conformance.execution.results import Accused, Result
from conformance.exits import Exit
from conformance.protocols.clauses import Level, Role
from conformance.reference.exporter import Exporter
from conformance.selftest.account import settle
from conformance.selftest.accusations import FAULTY, OTHER, Accusation, judged, of_reference
from conformance.selftest.model import Fault, Stage
from conformance.selftest.trials import Trial
from conformance.selftest.worker import Job

CASE = Case("layout.capsule-strides", "reference", "reference", "dlpack", Device.HOST)


def accusation(*accused: str, side: str = "producer", wanted: str = "faulty as producer") -> Accusation:
    """One that was made in some case."""
    return Accusation("a.fault", CASE.id, accused, side, wanted, "because")


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        (accusation("faulty"), False),
        (accusation("faulty", side="consumer"), True),
        (accusation("other"), True),
        (accusation("faulty", "other", side="both"), True),
        (accusation(side="not known"), True),
        (accusation("numpy", side="consumer", wanted="numpy"), False),
        (accusation("reference", wanted="numpy"), True),
    ],
)
def test_an_accusation_is_right_only_against_the_faulty_side_alone(made: Accusation, wrong: bool) -> None:
    """Nobody, both, the partner and the library's other side are all wrong."""
    assert made.is_wrong is wrong


def result(case: Case, outcome: Outcome, level: Level = Level.MUST, accused: Accused | None = None) -> Result:
    """What running a case came to."""
    code = Code.STRIDES_CHANGED.value if outcome is Outcome.FAIL else ""
    return Result(
        case, outcome, level, code, "DLP-20" if code else "", Role.PRODUCER if code else None, accused=accused
    )


def test_what_is_only_observed_accuses_nobody() -> None:
    """Neither rightly nor wrongly."""
    seen = [result(CASE, Outcome.FAIL, Level.OBSERVED), result(CASE, Outcome.PASS)]
    assert list(judged("a.fault", seen, FAULTY)) == []


def a_fault(*, of_exporter: bool) -> faults.Fault:
    """One of the reference's, on this side."""
    return next(fault for fault in faults.all_faults().values() if (fault.exporter is not Exporter) is of_exporter)


@pytest.mark.parametrize("of_exporter", [True, False])
def test_a_fault_is_tried_beside_the_reference_and_beside_a_second_fault(of_exporter: bool) -> None:
    """On its own side each time; the second one is on the other side, and its own fault does not show in the case."""
    tried: list[tuple[str, ...]] = []

    def run(partners: Mapping[str, Adapter], cases: Sequence[Case]) -> list[Result]:
        tried.extend(case.libraries for case in cases)
        assert all(name in partners for case in cases for name in case.libraries)
        return [result(case, Outcome.FAIL if FAULTY in case.libraries else Outcome.PASS) for case in cases]

    made = list(of_reference(a_fault(of_exporter=of_exporter), [CASE, CASE], run))
    side = "producer" if of_exporter else "consumer"
    assert [(one.accused, one.side) for one in made] == [((FAULTY,), side)] * 2
    pair = (FAULTY, OTHER) if of_exporter else (OTHER, FAULTY)
    assert pair in tried


def test_a_second_fault_that_the_case_shows_itself_is_passed_over() -> None:
    """Else both would be to blame, and rightly."""

    def run(partners: Mapping[str, Adapter], cases: Sequence[Case]) -> list[Result]:
        return [result(case, Outcome.FAIL) for case in cases]

    made = list(of_reference(a_fault(of_exporter=True), [CASE], run))
    assert [one.case.split("/")[1] for one in made] == [f"{FAULTY}-reference"]


def account_with(made: Accusation) -> Exit:
    """The exit code of a selftest in which a fault was caught and led to this accusation."""
    stage = Stage("a", "a stage", dict, lambda env: ())
    stage.faults.append(Fault("a.fault", "a fault", ("layout.capsule-strides",), lambda partners: None))
    caught = Trial("a", "a.fault", "layout.capsule-strides", 1, 0, 1, accusations=(made,))
    flawless = Trial("a", "", "layout.capsule-strides", 1, 1, 0)
    planned = [Job("a", "a.fault", (CASE,)), Job("a", "", (CASE,))]
    return settle("simulated", [stage], planned, [caught, flawless], [], ["layout.capsule-strides"]).exit


def test_one_wrong_accusation_makes_the_suites_word_worthless() -> None:
    """As an escaped fault does."""
    assert account_with(accusation("faulty")) is Exit.OK
    assert account_with(accusation("other")) is Exit.VOID
