"""Dictionaries that the suite itself writes accuse no library."""

from __future__ import annotations

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.codes import Code
from conformance.checks.outcomes import Outcome, Side
from conformance.execution.accusations import accused, own_exporter
from conformance.execution.results import Accused, Result
from conformance.protocols.clauses import Level, Role

OWN = "cuda_python"


def failed(
    consumer: str, cited: str, role: Role, side: Side | None, *, libraries: tuple[str, ...] = (), outcome: Outcome = Outcome.FAIL
) -> Result:  # fmt: skip
    """Return the accused failure of an exchange with the suite's exporter for CUDA Python."""
    case = Case("pointer.values", OWN, consumer, "cai", Device.CUDA)
    at_fault = Accused(side, libraries) if side else None
    result = Result(
        case, outcome, Level.MUST, Code.VALUES_CHANGED.value, cited, role, accused=at_fault, reason="it went wrong"
    )
    return accused(result, dict[str, Result]().get)


def test_only_cuda_pythons_arrays_are_shown_by_the_suite() -> None:
    """A name that there is not has told nothing."""
    assert "the suite's own" in own_exporter(OWN)
    assert not own_exporter("cupy")
    assert not own_exporter("nobody")


@pytest.mark.parametrize("consumer", ["reference", "torch"])
@pytest.mark.parametrize("cited", ["CAI-05", "CAI-22", "PY-01"])
def test_nobody_is_accused_of_a_dictionary_that_the_suite_wrote(consumer: str, cited: str) -> None:
    """A fault in it is a mistake of the suite, so the case is inconclusive."""
    result = failed(consumer, cited, Role.PRODUCER, Side.PRODUCER)
    assert (result.outcome, result.accused, result.clause) == (Outcome.INCONCLUSIVE, None, "")
    assert result.reason.startswith("the class around an allocation that CUDA Python's users write")


def test_what_is_the_librarys_own_is_held_against_it() -> None:
    """Its streams are, and its exports by DLPack."""
    result = failed("reference", "STR-01", Role.PRODUCER, None)
    assert result.accused is not None
    assert result.accused.libraries == (OWN,)


def test_a_consumer_is_accused_as_with_any_producer() -> None:
    """Alone, where both were."""
    for side in (Side.CONSUMER, Side.BOTH):
        result = failed("torch", "CAI-18", Role.CONSUMER, side)
        assert result.accused is not None
        assert (result.accused.side, result.accused.libraries) == (Side.CONSUMER, ("torch",))
