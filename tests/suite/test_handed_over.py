"""What a producer hands over is inspected: where it is wrong, nobody else is accused of what came of it."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import pytest

from conformance.checks.codes import Code
from conformance.checks.handover_record import Handed, elements_at
from conformance.checks.outcomes import Outcome
from conformance.faults import Fault, all_faults
from conformance.protocols.clauses import Role
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer

from .conftest import Runner


def failures(results: list[Any]) -> set[tuple[str, str, str]]:
    """Code, clause and side of each."""
    return {(r.code, r.clause, r.role.value) for r in results if r.outcome is Outcome.FAIL}


def test_wrong_strides_in_a_capsule_are_one_cause_in_every_invariant(run_reference: Runner) -> None:
    """The consumer that reads by them is innocent."""
    fault = all_faults()["layout.StridesUnsigned"]
    results = [
        result
        for name in ("layout.capsule-strides", "layout.import-strides", "pointer.values")
        for result in run_reference(name, fault)
    ]
    assert failures(results) == {(Code.STRIDES_CHANGED.value, "DLP-20", "producer")}
    assert {r.given for r in results if r.outcome is Outcome.FAIL} == {"an array with negative strides"}


def test_missing_strides_are_told_from_wrong_ones(run_reference: Runner) -> None:
    """By the invariant about them, and where elements are read."""
    fault = all_faults()["layout.StridesUnpublished"]
    for name in ("layout.interface-strides", "pointer.values"):
        assert failures(run_reference(name, fault)) == {(Code.STRIDES_MISSING.value, "CAI-12", "producer")}


class Copying(Exporter):
    """Every capsule holds a packed copy."""

    def placed(self, stream: int | None, dl_device: tuple[int, int] | None, copy: bool | None) -> Exporter:
        """Never the array itself."""
        return super().placed(stream, dl_device, True)


def test_a_producer_that_exports_copies_is_told_of_where_sharing_is_asked(run_reference: Runner) -> None:
    """And not where the elements or the strides are: those of the copy are right."""
    fault = Fault("copying", "copies", (), exporter=Copying)
    assert failures(run_reference("pointer.same-address", fault)) == {(Code.NOT_SHARED.value, "DLP-43", "producer")}
    for name in ("pointer.values", "layout.import-strides", "layout.capsule-strides"):
        assert failures(run_reference(name, fault)) == set()


class CopiesWrongly(Copying):
    """As many elements as the copy has, but none of the array's."""

    def copied(self) -> Exporter:
        """Zeros."""
        made = super().copied()
        self.memory.write(made.element0(), bytes(made.view.size * made.dtype.itemsize))
        return made


def test_a_copy_with_other_elements_is_the_producers_fault(run_reference: Runner) -> None:
    """Our own instruments read them before the consumer is accused."""
    fault = Fault("copies-wrongly", "copies zeros", (), exporter=CopiesWrongly)
    for name in ("pointer.values", "pointer.copy-true"):
        assert failures(run_reference(name, fault)) == {(Code.VALUES_CHANGED.value, "DLP-59", "producer")}


class Refusing(Importer):
    """Takes nothing."""

    def take_capsule(self, offered: Any) -> Imported:
        """A refusal."""
        raise BufferError("not today")


def test_a_refusal_of_a_right_capsule_is_the_consumers(run_reference: Runner) -> None:
    """It is the consumer that has to take it (DLP-46)."""
    fault = Fault("refusing", "refuses", (), importer=Refusing)
    (result,) = run_reference("lifetime.temporary", fault)[:1]
    assert (result.code, result.clause, result.role) == (Code.REFUSED.value, "DLP-46", Role.CONSUMER)


@pytest.mark.parametrize("name", ["layout.empty-import", "layout.unit-strides-import"])
def test_who_takes_nothing_does_not_refuse_this_array_in_particular(name: str, run_reference: Runner) -> None:
    """A plain array is tried first, and its refusal is no more than that."""
    fault = Fault("refusing", "refuses", (), importer=Refusing)
    dlpack = [result for result in run_reference(name, fault) if result.case.protocol == "dlpack"]
    assert {result.outcome for result in dlpack} == {Outcome.REFUSED}


class ExportsNoEmpties(Exporter):
    """An array without elements is not exported."""

    def dlpack(self, **asked: Any) -> Any:
        """Only something."""
        if not self.view.size:
            raise BufferError("nothing to export")
        return super().dlpack(**asked)


def test_a_producer_is_not_held_to_what_binds_the_consumer(run_reference: Runner) -> None:
    """That arrays without elements have to be taken does not say that they have to be exported."""
    fault = Fault("no-empties", "refuses", (), exporter=ExportsNoEmpties)
    dlpack = [result for result in run_reference("layout.empty-import", fault) if result.case.protocol == "dlpack"]
    assert {result.outcome for result in dlpack} == {Outcome.REFUSED}


# -- who is at fault for a copy


@pytest.mark.parametrize("name", ["pointer.copy-true", "pointer.copy-false"])
def test_a_capsule_that_nobody_can_read_is_the_producers_fault(run_reference: Runner, name: str) -> None:
    """Its consumer has a reason to refuse it."""
    fault = all_faults()["pointer.CapsuleMisnamedForCopy"]
    assert failures(run_reference(name, fault)) == {(Code.CAPSULE_MALFORMED.value, "DLP-01", "producer")}


def test_a_copy_that_is_thrown_away_is_not_what_the_consumer_has_taken(run_reference: Runner) -> None:
    """The producer has made the copy that it was asked for."""
    fault = all_faults()["pointer.CopyThrownAway"]
    assert failures(run_reference("pointer.copy-true", fault)) == {(Code.COPY_SHARED.value, "DLP-44", "consumer")}


@pytest.mark.parametrize("name", ["pointer.copy-true", "pointer.copy-false"])
def test_nobody_has_to_serve_a_call_that_the_protocol_forbids(run_reference: Runner, name: str) -> None:
    """The clause depends on whether the memory has streams."""
    fault = all_faults()["pointer.CopyOnAForbiddenStream"]
    assert failures(run_reference(name, fault)) == {
        (Code.INVALID_STREAM.value, "DLP-36", "consumer"),
        (Code.INVALID_STREAM.value, "DLP-31", "consumer"),
    }


def test_what_lies_in_the_memory_was_written_there(run_reference: Runner) -> None:
    """A producer that reads something else does not accuse the consumer, which has written what it was handed."""
    fault = all_faults()["pointer.ReadFromACopy"]
    assert failures(run_reference("pointer.consumer-write-seen", fault)) == {
        (Code.VALUES_CHANGED.value, "DLP-59", "producer"),
        (Code.VALUES_CHANGED.value, "CAI-05", "producer"),
    }


class OneTooFar(Exporter):
    """Every export begins one element further on, that of a copy too."""

    def dl_data(self) -> int:
        """Off by one."""
        return super().dl_data() + (self.dtype.itemsize if self.view.size else 0)


@pytest.mark.parametrize(
    "name",
    [
        "pointer.copy-true", "pointer.values", "pointer.view-export", "pointer.chain", "negotiation.signature",
        "negotiation.copied-flag", "negotiation.device-argument", "lifetime.temporary",
        "lifetime.chain", "threads.chain",
    ],
)  # fmt: skip
def test_a_wrong_address_is_one_cause_in_every_invariant(run_reference: Runner, name: str) -> None:
    """It is no copy, and no memory that was released; also where the address lies outside of the array, or in a copy."""
    fault = Fault("one-too-far", "exports an address one element too far", (), exporter=OneTooFar)
    found = {failure for failure in failures(run_reference(name, fault)) if not failure[1].startswith("CAI")}
    assert found == {(Code.WRONG_ADDRESS.value, "DLP-59", "producer")}


# -- what lies at an address


def test_elements_are_read_where_there_is_memory() -> None:
    """In row-major order, whatever the strides; an address that leads nowhere kills nobody."""
    memory = (ctypes.c_uint8 * 6)(*range(6))
    start = ctypes.addressof(memory)
    handed = Handed(start + 5, (2, 3), (-3, -1), (1, 8, 1), None)
    assert elements_at(handed, handed.address) == bytes([5, 4, 3, 2, 1, 0])
    assert elements_at(handed, 16) is None
    assert elements_at(handed, -1) is None
    assert elements_at(replace(handed, shape=(0, 3)), start) == b""
    assert elements_at(replace(handed, shape=(-1, 3)), start) is None
    assert elements_at(replace(handed, shape=(1 << 24, 3)), start) is None
    assert elements_at(replace(handed, type=(1, 4, 1)), start) is None
