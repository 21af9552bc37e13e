"""How owners of a capsule's struct are judged: one code for one mistake, from whichever side it is seen."""

from __future__ import annotations

import pytest

from conformance.checks.codes import Code
from conformance.checks.outcomes import Outcome
from conformance.execution.results import Result
from conformance.faults import all_faults
from conformance.protocols.clauses import Level, Role

from .conftest import Runner


def failures(run_reference: Runner, invariant: str, fault: str) -> list[Result]:
    """The failing results of a fault of this family."""
    return [r for r in run_reference(invariant, all_faults()[f"capsule.{fault}"]) if r.outcome is Outcome.FAIL]


@pytest.mark.parametrize(
    ("invariant", "fault", "code", "clause", "level"),
    [
        ("name", "OtherName", Code.CAPSULE_MALFORMED, "DLP-01", Level.MUST),
        ("unconsumed", "NoDestructor", Code.NOT_RELEASED, "DLP-24", Level.MUST),
        ("unconsumed", "OwnerNotHeld", Code.RELEASED_EARLY, "DLP-28", Level.MUST),
        ("many-exports", "OneStructForAll", Code.EXPORTS_ENTANGLED, "DLP-24", Level.MUST),
        ("used-is-inert", "DestructorIgnoresTheName", Code.RELEASED_EARLY, "DLP-28", Level.MUST),
        ("used-is-inert", "DeleterReleasesNothing", Code.NOT_RELEASED, "DLP-27", Level.MUST),
        ("exception-in-flight", "DestructorLosesExceptions", Code.EXCEPTION_LOST, "DLP-24", Level.SHOULD),
        ("renamed", "NotMarkedAsUsed", Code.CAPSULE_NOT_RENAMED, "DLP-25", Level.MUST),
        ("dies-before-the-view", "NotMarkedAsUsed", Code.CAPSULE_NOT_RENAMED, "DLP-25", Level.MUST),
        ("dies-before-the-view", "LegacyStructsNeverReleased", Code.NOT_RELEASED, "DLP-26", Level.MUST),
        ("second-import", "NameNotChecked", Code.NOT_REFUSED, "DLP-25", Level.MUST),
        ("second-import", "UsedCapsuleIsADefect", Code.WRONG_EXCEPTION, "DLP-25", Level.SHOULD),
        ("struct-untouched", "DeleterTakenOut", Code.STRUCT_WRITTEN, "DLP-26", Level.SHOULD),
    ],
)
def test_a_fault_is_as_bad_as_the_documents_say(
    run_reference: Runner, invariant: str, fault: str, code: Code, clause: str, level: Level
) -> None:
    """Whoever is accused is bound by the clause."""
    found = failures(run_reference, f"capsule.{invariant}", fault)
    assert {(r.code, r.clause, r.level) for r in found} == {(code.value, clause, level)}


def test_memory_that_is_never_released_is_told_by_what_had_to_release_it(run_reference: Runner) -> None:
    """A capsule that nobody consumed is one cause, in whichever check it shows."""
    found = [
        r for name in ("unconsumed", "many-exports") for r in failures(run_reference, f"capsule.{name}", "NoDestructor")
    ]
    assert {(r.given, r.role) for r in found} == {("the memory of a capsule that nobody has consumed", Role.PRODUCER)}
