"""Accusations: by the check itself, by elimination, or by trials with the reference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.codes import Code
from conformance.checks.outcomes import Outcome, Side
from conformance.execution.accusations import accuse, accused, trials, untried
from conformance.execution.results import Accused, Result
from conformance.protocols.clauses import Level, Role, clause

INVARIANT = "pointer.values"


def case(producer: str, consumer: str, protocol: str = "dlpack", *parameters: tuple[str, str]) -> Case:
    """A case of one invariant."""
    return Case(INVARIANT, producer, consumer, protocol, Device.HOST, parameters)


def failed(
    at: Case, code: Code = Code.VALUES_CHANGED, cited: str = "DLP-58", role: Role | None = Role.CONSUMER,
    level: Level = Level.MUST, *, side: Side | None = None, outcome: Outcome = Outcome.FAIL,
) -> Result:  # fmt: skip
    """A failure, as a check reports it."""
    found = Accused(side, why="seen in the check") if side else None
    return Result(at, outcome, level, code.value, cited, role, accused=found, reason="it went wrong")


def passed(at: Case) -> Result:
    """A pass."""
    return Result(at, Outcome.PASS, Level.MUST)


def judged(result: Result, others: Iterable[Result] = ()) -> Result:
    """Return the result with the accused, given the results of these trials."""
    known = {other.case.id: other for other in others}
    return accused(result, known.get)


def who(result: Result) -> tuple[Side, tuple[str, ...]]:
    """Return the side and the names of the accused."""
    assert result.accused is not None
    return result.accused.side, result.accused.libraries


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (case("cupy", "reference"), (Side.PRODUCER, ("cupy",))),
        (case("reference", "torch"), (Side.CONSUMER, ("torch",))),
        (case("reference", "reference"), (Side.UNKNOWN, ())),
    ],
)
def test_the_reference_is_never_accused(at: Case, expected: tuple[Side, tuple[str, ...]]) -> None:
    """With the reference on one side there is at most one library to accuse, also if the check names the other side."""
    assert who(judged(failed(at))) == expected


@pytest.mark.parametrize(
    ("producer_fails", "consumer_fails", "expected"),
    [
        (True, False, (Side.PRODUCER, ("cupy",))),
        (False, True, (Side.CONSUMER, ("torch",))),
        (True, True, (Side.BOTH, ("cupy", "torch"))),
        (False, False, (Side.UNKNOWN, ())),
    ],
)
def test_each_side_is_tried_with_the_reference(
    producer_fails: bool, consumer_fails: bool, expected: tuple[Side, tuple[str, ...]]
) -> None:
    """The side that also fails with a flawless partner is at fault."""
    first, second = case("cupy", "reference"), case("reference", "torch")
    others = [
        failed(first, cited="DLP-59", role=Role.PRODUCER) if producer_fails else passed(first),
        failed(second) if consumer_fails else passed(second),
    ]
    assert who(judged(failed(case("cupy", "torch")), others)) == expected


def test_what_the_check_has_proven_needs_no_trial() -> None:
    """A trial does not override an accusation by the check."""
    result = failed(case("cupy", "torch"), side=Side.CONSUMER)
    assert who(judged(result, [failed(case("cupy", "reference"))])) == (Side.CONSUMER, ("torch",))
    assert untried({result.case.id: result}) == []


def test_trials_that_the_plan_lacks_are_named() -> None:
    """Only the trial without a result is returned."""
    result = failed(case("cupy", "torch", "dlpack", ("layout", "c-order")))
    there = passed(case("cupy", "reference", "dlpack", ("layout", "c-order")))
    missing = untried({one.case.id: one for one in (result, there)})
    assert [one.id for one in missing] == [f"{INVARIANT}/reference-torch/dlpack/host/c-order"]


@pytest.mark.parametrize("result", [
    passed(case("cupy", "torch")),
    replace(passed(case("cupy", "torch")), outcome=Outcome.INCONCLUSIVE),
    replace(passed(case("cupy", "torch")), outcome=Outcome.LOST),
    failed(case("cupy", "torch"), level=Level.OBSERVED),
    failed(case("reference", "torch")),
])  # fmt: skip
def test_nothing_is_tried_where_nobody_is_to_be_found(result: Result) -> None:
    """A pass, an undecided case, an observation, and a case with one library."""
    assert untried({result.case.id: result}) == []


def test_an_observation_accuses_nobody() -> None:
    """No clause applies, so no library is accused."""
    assert who(judged(failed(case("cupy", "torch"), level=Level.OBSERVED))) == (Side.NEITHER, ())


def test_a_trial_that_was_refused_or_undecided_proves_nothing() -> None:
    """Elimination alone accuses no library."""
    refused = replace(passed(case("cupy", "reference")), outcome=Outcome.REFUSED)
    assert who(judged(failed(case("cupy", "torch")), [refused, passed(case("reference", "torch"))]))[0] is Side.UNKNOWN


def test_the_clause_always_binds_the_accused() -> None:
    """The clause of the consumer is replaced by the producer's clause that the trial violates."""
    trial = failed(case("cupy", "reference"), Code.EARLY_WRITE, "DLP-20", Role.PRODUCER)
    found = judged(failed(case("cupy", "torch"), Code.STALE_READ), [trial, passed(case("reference", "torch"))])
    assert (found.clause, found.role, found.code) == ("DLP-20", Role.PRODUCER, "early-write")


@pytest.mark.parametrize(
    ("trial", "speaks"),
    [
        (failed(case("cupy", "reference")), True),
        (failed(case("cupy", "reference"), Code.WRONG_ADDRESS), False),
        (failed(case("cupy", "reference"), Code.CRASH, outcome=Outcome.CRASH), True),
        (failed(case("cupy", "reference"), level=Level.OBSERVED), False),
    ],
)
def test_a_trial_speaks_only_if_it_fails_alike_or_ends_the_process(trial: Result, speaks: bool) -> None:
    """A wrong address of the producer does not accuse it of the consumer's crash."""
    found = judged(failed(case("cupy", "torch")), [trial, passed(case("reference", "torch"))])
    assert who(found) == ((Side.PRODUCER, ("cupy",)) if speaks else (Side.UNKNOWN, ()))


def test_a_death_is_held_against_a_side_only_where_one_dies_alike() -> None:
    """Both sides are accused if the other side fails with the reference in another way."""
    died = failed(case("cupy", "torch"), Code.CRASH, "DLP-58", Role.CONSUMER, outcome=Outcome.CRASH)
    wrong = failed(case("cupy", "reference"), Code.WRONG_ADDRESS, "DLP-59", Role.PRODUCER)
    dies = failed(case("reference", "torch"), Code.CRASH, outcome=Outcome.CRASH)
    hangs = failed(case("reference", "torch"), Code.HANG, outcome=Outcome.HANG)
    assert who(judged(died, [wrong, passed(dies.case)])) == (Side.UNKNOWN, ())
    assert who(judged(died, [passed(wrong.case), hangs])) == (Side.CONSUMER, ("torch",))
    assert who(judged(died, [passed(wrong.case), dies])) == (Side.CONSUMER, ("torch",))
    assert who(judged(died, [wrong, dies])) == (Side.BOTH, ("cupy", "torch"))


@pytest.mark.parametrize("protocol", ["dlpack", "cai"])
def test_a_clause_of_the_other_side_gives_way_even_without_a_trial(protocol: str) -> None:
    """With the reference on one side the library is accused, also if the check cites the other side."""
    found = judged(failed(case("cupy", "reference", protocol), cited="CAI-32"))
    assert found.role is Role.PRODUCER
    assert clause(found.clause).binds(Role.PRODUCER)


def test_a_lowered_level_stays_with_the_clause_of_the_other_side() -> None:
    """A release that is only late deviates, whichever side is late."""
    late = failed(case("cupy", "reference"), Code.RELEASED_AFTER_A_WHILE, "DLP-26", level=Level.SHOULD)
    lost = failed(case("cupy", "reference"), Code.NOT_RELEASED, "DLP-26")
    assert [(found.role, found.verdict) for found in map(judged, (late, lost))] == [
        (Role.PRODUCER, "deviates"),
        (Role.PRODUCER, "violates"),
    ]


def test_a_crash_stays_a_violation_whoever_is_accused() -> None:
    """A crash keeps its own level."""
    crash = failed(case("cupy", "reference"), Code.CRASH, "DLP-58", Role.CONSUMER, outcome=Outcome.CRASH)
    assert judged(crash).verdict == "violates"


def test_another_librarys_document_is_at_most_a_recommendation() -> None:
    """The documents of CV-CUDA bind only CV-CUDA."""
    result = failed(case("numpy", "cupy", "none"), Code.CLAIM_NOT_KEPT, "DOC-NP-3", Role.CONSUMER, side=Side.CONSUMER)
    assert judged(result).verdict == "deviates"
    assert judged(replace(result, case=case("numpy", "cvcuda", "none"))).verdict == "violates"


def test_robustness_claims_no_clause() -> None:
    """The input of the suite was illegal."""
    result = failed(case("reference", "torch"), cited="", level=Level.ROBUSTNESS)
    found = judged(result)
    assert (found.verdict, found.clause, who(found)) == ("robustness", "", (Side.CONSUMER, ("torch",)))


def test_in_a_chain_each_library_is_tried_alone() -> None:
    """The library in the middle of a chain is tried, too."""
    chain = case("a", "c", "dlpack", ("via", "b"))
    assert {side: one.libraries for side, one in trials(chain).items()} == {
        Side.PRODUCER: ("a", "reference", "reference"),
        Side.BETWEEN: ("reference", "b", "reference"),
        Side.CONSUMER: ("reference", "reference", "c"),
    }
    bad = failed(trials(chain)[Side.BETWEEN])
    assert who(judged(failed(chain), [bad])) == (Side.BETWEEN, ("b",))


def test_a_library_with_itself_is_tried_on_either_side() -> None:
    """The trials show which of its two roles is at fault."""
    others = [passed(case("cupy", "reference")), failed(case("reference", "cupy"))]
    assert who(judged(failed(case("cupy", "cupy")), others)) == (Side.CONSUMER, ("cupy",))


@pytest.mark.parametrize(
    ("role", "side"), [(Role.PRODUCER, Side.PRODUCER), (Role.CONSUMER, Side.CONSUMER), (None, Side.BOTH)]
)
def test_a_library_with_itself_is_the_one_whatever_the_trials_say(role: Role | None, side: Side) -> None:
    """Only the side is unknown: the role of the failure decides it."""
    died = failed(case("cupy", "cupy"), Code.CRASH, "", role, outcome=Outcome.CRASH)
    others = [passed(case("cupy", "reference")), passed(case("reference", "cupy"))]
    assert who(judged(died, others)) == (side, ("cupy",))
    chain = case("cupy", "cupy", "dlpack", ("via", "reference"))
    assert who(judged(replace(died, case=chain))) == (side, ("cupy",))
    other = case("cupy", "cupy", "dlpack", ("via", "torch"))
    assert who(judged(replace(died, case=other))) == (Side.UNKNOWN, ())


def test_all_results_get_an_accused_or_none() -> None:
    """The order stays, and a pass has no accused."""
    results = [passed(case("a", "b")), failed(case("reference", "b"))]
    first, second = accuse(results, {one.case.id: one for one in results})
    assert first.accused is None
    assert who(second) == (Side.CONSUMER, ("b",))
