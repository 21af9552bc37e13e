"""How readers and makers of ``__cuda_array_interface__`` are judged: what nobody demands is observed, and illegal input claims no clause."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.adapters.base import Device
from conformance.checks.codes import Code
from conformance.checks.outcomes import Outcome
from conformance.execution.results import Result
from conformance.faults import all_faults
from conformance.protocols.clauses import Level, Role
from conformance.suite.test_cai import _MALFORMED

from .conftest import Runner


def failures(run_reference: Runner, invariant: str, fault: str) -> list[Result]:
    """The failing results of a fault of this family."""
    return [r for r in run_reference(invariant, all_faults()[f"cai.{fault}"]) if r.outcome is Outcome.FAIL]


@pytest.mark.parametrize(
    ("invariant", "fault", "code", "clause", "level", "given"),
    [
        ("required-keys", "VersionMissing", Code.DICTIONARY_MALFORMED, "CAI-01", Level.MUST, {"version"}),
        ("required-keys", "InterfaceAsTuple", Code.DICTIONARY_MALFORMED, "CAI-01", Level.MUST, {"__cuda_array_interface__"}),
        ("form", "ShapeAsList", Code.DICTIONARY_MALFORMED, "CAI-02", Level.MUST, {"shape"}),
        ("form", "ReadonlyAsNumber", Code.DICTIONARY_MALFORMED, "CAI-04", Level.MUST, {"data"}),
        ("device-address", "AddressIn32Bits", Code.UNKNOWN_ADDRESS, "CAI-05", Level.MUST, None),
        ("empty-address", "EmptyKeepsItsAddress", Code.ADDRESS_FOR_EMPTY, "CAI-06", Level.MUST, None),
        ("empty-address", "EmptyHasNoAddress", Code.DICTIONARY_MALFORMED, "CAI-04", Level.MUST, {"data"}),
        ("host-absent", "HostMemoryPublished", Code.HOST_ADDRESS, "CAI-05", Level.MUST, None),
        ("host-absent", "HostMemoryRefusedByTypeError", Code.WRONG_EXCEPTION, "PY-01", Level.SHOULD, None),
        ("optional-keys", "NoStridesMeansColumnMajor", Code.STRIDES_CHANGED, "CAI-32", Level.MUST, None),
        ("optional-keys", "StridesKeyRequired", Code.REFUSED, "CAI-10", Level.MUST, {"a dictionary without `strides`"}),
        ("versions", "LaterVersionsCopied", Code.NOT_SHARED, "CAI-32", Level.MUST, {"a dictionary of version 4"}),
        ("unknown-keys", "UnknownKeysRefused", Code.REFUSED, "G3", Level.OBSERVED, {"a dictionary with further keys"}),
        ("mask", "MaskDropped", Code.MASK_DROPPED, "CAI-15", Level.SHOULD, {"a dictionary with a mask"}),
        ("owner-held", "OwnerForgotten", Code.OWNER_NOT_HELD, "CAI-27", Level.OBSERVED, None),
        ("garbage-address", "AddressUnchecked", Code.UNKNOWN_ADDRESS, "CAI-29", Level.OBSERVED, None),
    ],
)  # fmt: skip
def test_a_fault_is_as_bad_as_the_documents_say(
    run_reference: Runner, invariant: str, fault: str, code: Code, clause: str, level: Level, given: set[str] | None
) -> None:
    """One clause each, and for a special input the words that tell its cause from others."""
    found = failures(run_reference, f"cai.{invariant}", fault)
    assert {(r.code, r.clause, r.level) for r in found} == {(code.value, clause, level)}
    assert given is None or {r.given for r in found} == given


def test_nobody_has_to_take_an_older_version(run_reference: Runner) -> None:
    """That one is refused is observed; a newer one should not be."""
    found = failures(run_reference, "cai.versions", "ThisVersionOnly")
    levels = {r.case.option("version"): (r.clause, r.level) for r in found}
    older = dict.fromkeys("012", ("CAI-30", Level.OBSERVED))
    assert levels == {**older, "4": ("CAI-09", Level.SHOULD)}


@pytest.mark.parametrize("fault", ["MissingTypeIsDouble", "NegativeExtentsTaken"])
def test_a_malformed_dictionary_is_illegal_input(run_reference: Runner, fault: str) -> None:
    """We make it, so that what a reader makes of it breaks no promise; what is wrong with it is told in words."""
    found = failures(run_reference, "cai.malformed", fault)
    assert {(r.level, r.clause, r.role) for r in found} == {(Level.ROBUSTNESS, "", Role.CONSUMER)}
    assert {r.given for r in found} <= {malformed.given for malformed in _MALFORMED.values()}


def test_every_malformed_dictionary_has_words_of_its_own() -> None:
    """Causes are told apart by them."""
    words: list[Any] = [malformed.given for malformed in _MALFORMED.values()]
    assert len(set(words)) == len(words)


@pytest.mark.parametrize("invariant", ["dtype.self-import", "argument.empty"])
def test_a_library_may_refuse_its_own_malformed_dictionary(run_reference: Runner, invariant: str) -> None:
    """That the dictionary is malformed is its only mistake, which ``cai.form`` tells."""
    results = run_reference(invariant, all_faults()["cai.ReadonlyAsNumber"], (Device.SIMULATED,))
    assert {result.outcome for result in results if result.case.protocol == "cai"} == {Outcome.REFUSED}
