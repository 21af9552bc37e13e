"""How the functions of the C exchange API are judged: as a capsule would be, by the same codes."""

from __future__ import annotations

import pytest

from conformance.checks.codes import Code
from conformance.checks.outcomes import Outcome
from conformance.faults import all_faults
from conformance.protocols.clauses import Level, Role

from .conftest import Runner


@pytest.mark.parametrize(
    ("invariant", "fault", "code", "clause", "level"),
    [
        ("table", "TableWithHoles", Code.TABLE_MALFORMED, "DLX-03", Level.MUST),
        ("table", "TableUnderAnotherName", Code.TABLE_MALFORMED, "DLX-01", Level.MUST),
        ("export", "TableForgetsStrides", Code.STRIDES_CHANGED, "DLP-20", Level.MUST),
        ("borrow", "TableKnowsNoBooleans", Code.DTYPE_CHANGED, "DLP-13", Level.MUST),
        ("export", "StructDoesNotHoldTheArray", Code.RELEASED_EARLY, "DLP-28", Level.MUST),
        ("holds-nothing", "TableReleasesNothing", Code.MEMORY_LEAKED, "DLP-27", Level.MUST),
        ("import", "TableCopies", Code.TABLE_FUNCTION_FAILED, "DLX-06", Level.MUST),
        ("import", "TableReleasesAtOnce", Code.RELEASED_EARLY, "DLX-06", Level.MUST),
        ("current-stream", "NoStreamForTheHost", Code.TABLE_FUNCTION_FAILED, "DLX-06", Level.MUST),
        ("allocate", "AllocatesBytes", Code.ALLOCATION_WRONG, "DLX-06", Level.MUST),
        ("allocate", "AllocatesUnknownTypes", Code.NOT_REFUSED, "DLX-06", Level.MUST),
        ("allocate", "TableSaysNothing", Code.CALLBACK_NOT_CALLED, "DLX-06", Level.SHOULD),
        ("inexpressible", "TableSkipsChecks", Code.INEXPRESSIBLE_EXPORTED, "DLX-09", Level.MUST),
        ("inexpressible", "PendingHasNoMemory", Code.NULL_ADDRESS, "DLX-09", Level.MUST),
    ],
)
def test_a_fault_is_as_bad_as_the_documents_say(
    run_reference: Runner, invariant: str, fault: str, code: Code, clause: str, level: Level
) -> None:
    """Always against the library that offers the table, on whichever side the function stands."""
    results = run_reference(f"exchange-api.{invariant}", all_faults()[f"exchange_api.{fault}"])
    found = [r for r in results if r.outcome is Outcome.FAIL]
    assert {(r.code, r.clause, r.level, r.role) for r in found} == {(code.value, clause, level, Role.PRODUCER)}
