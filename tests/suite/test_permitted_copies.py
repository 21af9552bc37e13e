"""Copies that the protocol leaves to the consumer are noted and accuse nobody."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Isolation, Needs, catalogue
from conformance.checks.codes import Code
from conformance.checks.outcomes import Outcome
from conformance.faults import Fault
from conformance.faults.pointer import move
from conformance.protocols.clauses import Level
from conformance.reference.importer import Imported, Importer
from conformance.reference.memory import ALIGNMENT

from .conftest import Runner


class CopiesUnaligned(Importer):
    """Copies whatever is not aligned to 256 bytes, and nothing else."""

    def take_capsule(self, offered: Any) -> Imported:
        """Import, then move if the address is not round."""
        taken = super().take_capsule(offered)
        return move(taken) if taken.address % ALIGNMENT else taken


def test_a_copy_of_what_is_not_aligned_is_observed(run_reference: Runner) -> None:
    """The header wants 256 bytes, and ``copy=None`` permits a copy."""
    fault = Fault("copies-unaligned", "copies", (), importer=CopiesUnaligned)
    failed = [
        result
        for name in ("pointer.misaligned", "pointer.same-address", "pointer.kernel-write-seen")
        for result in run_reference(name, fault)
        if result.outcome is Outcome.FAIL
    ]
    assert failed
    assert {(result.code, result.level) for result in failed} == {(Code.NOT_SHARED.value, Level.OBSERVED)}


def test_a_copy_despite_copy_false_is_none_of_those(run_reference: Runner) -> None:
    """There it is forbidden, aligned or not."""
    fault = Fault("copies-unaligned", "copies", (), importer=CopiesUnaligned)
    failed = [result for result in run_reference("pointer.copy-false", fault) if result.outcome is Outcome.FAIL]
    assert {(result.code, result.clause, result.level) for result in failed} == {
        (Code.COPY_MADE.value, "DLP-44", Level.MUST)
    }


class CopiesAndReleases(Importer):
    """Copies everything, and gives the producer's memory back at once."""

    def take_capsule(self, offered: Any) -> Imported:
        """Import, move, release."""
        taken = super().take_capsule(offered)
        tensor, taken.tensor = taken.tensor, None
        moved = move(taken)
        moved.holder = moved.holder[1]
        assert tensor is not None
        self.call_deleter(tensor)
        return moved


def test_a_consumer_that_copies_may_release_before_its_array_dies(run_reference: Runner) -> None:
    """It does not need the producer's memory any longer."""
    fault = Fault("copies-and-releases", "copies", (), importer=CopiesAndReleases)
    for name in ("lifetime.deleter-once", "lifetime.derived-view", "lifetime.other-thread", "lifetime.null-context"):
        results = run_reference(name, fault)
        assert {result.outcome for result in results} == {Outcome.PASS}, [(r.case.id, r.reason) for r in results]


class CopiesStrided(Importer):
    """Copies each array that is not row-major, unless ``copy=False`` forbids it."""

    def take_dlpack(self, source: Any, **requested: Any) -> Imported:
        """Import, then move."""
        taken = super().take_dlpack(source, **requested)
        return taken if taken.contiguous or requested.get("copy") is False else move(taken)


@pytest.mark.parametrize("importer", [CopiesUnaligned, CopiesStrided])
def test_a_permitted_copy_is_no_failure_in_any_family(importer: type[Importer], run_reference: Runner) -> None:
    """The invariants about memory at most observe it."""

    class Permitted(importer):  # type: ignore[misc, valid-type]
        """Not where ``copy=False`` forbids it."""

        def take_dlpack(self, source: Any, **requested: Any) -> Imported:
            if requested.get("copy") is False:
                return Importer(self.memory, self.work_stream, self.current).take_dlpack(source, **requested)
            taken: Imported = super().take_dlpack(source, **requested)
            return taken

    fault = Fault("copies", "copies", (), importer=Permitted)
    families = ("pointer", "layout", "readonly", "lifetime", "capsule")
    names = [
        name
        for name, entry in catalogue().items()
        if entry.family in families
        and entry.isolation is Isolation.SHARED
        and entry.needs is not Needs.GPU
        and not name.startswith(("lifetime.nothing-left", "lifetime.import-after", "lifetime.export-after"))
    ]
    spoken = [
        (result.case.id, result.reason)
        for name in names
        for result in run_reference(name, fault, devices=(Device.HOST,))
        if result.verdict.speaks_against
    ]
    assert not spoken
