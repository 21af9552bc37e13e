"""What is done to an array while its import lives: what has become of memory, how bad it is, and whose fault."""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import replace
from typing import Any

import pytest

from conformance.adapters.base import Adapter, Device
from conformance.adapters.changes import Change
from conformance.adapters.reference import ReferenceAdapter
from conformance.adapters.registry import create
from conformance.checks.catalogue import Case, Needs, catalogue
from conformance.checks.changed_memory import FLOAT32, Memory, fate
from conformance.checks.codes import Code
from conformance.checks.exchange import GONE, Exchange, Partners, Source
from conformance.checks.libraries import Environment
from conformance.checks.outcomes import Outcome, Side
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.faults import all_faults
from conformance.protocols.clauses import Level, Role
from conformance.protocols.strided import Strided, packed
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.verdict import Verdict

from .conftest import Runner, broken


def exchange(**adapters: Adapter) -> Exchange:
    """A case between flawless partners on host memory."""
    found = {"reference": ReferenceAdapter(), **adapters}
    case = Case("source.export-kept", "reference", "reference", "dlpack", Device.HOST, (("change", "renew"),))
    return Exchange(case, Partners(lambda name: found[name]))


def run(
    change: str, producer: Adapter, consumer: Adapter | None = None, invariant: str = "export-kept", **more: str
) -> Result:  # fmt: skip
    """One case with these partners, called by their names; the reference beside them is flawless."""
    taker = consumer or ReferenceAdapter()
    given = (("change", change), *more.items())
    case = Case(f"source.{invariant}", producer.name, taker.name, "dlpack", Device.HOST, given)
    bench = Workbench({"reference": ReferenceAdapter(), taker.name: taker, producer.name: producer})
    return bench.run(case, catalogue()[case.invariant])


def library(called: str, **replaced: Any) -> ReferenceAdapter:
    """A library that is the reference but for these attributes."""
    made: ReferenceAdapter = type("Library", (ReferenceAdapter,), {"name": called, **replaced})()
    return made


# -- what has become of memory


@pytest.mark.parametrize(
    ("address", "nbytes", "overlaps"), [(100, 8, True), (92, 8, False), (93, 8, True), (107, 1, True), (108, 8, False)]
)
def test_memory_overlaps_other_memory_that_has_a_byte_of_it(address: int, nbytes: int, overlaps: bool) -> None:
    """Neighbours have none."""
    assert Memory(100, bytes(8)).overlaps(address, nbytes) is overlaps


def test_memory_with_its_elements_is_kept() -> None:
    """And nobody else has it."""
    room = ctypes.create_string_buffer(b"12345678", 8)
    memory = Memory(ctypes.addressof(room), b"12345678")
    beside = Source(None, FLOAT32, packed((2,)), memory.address + 8, bytes(8))
    assert fate(exchange(), memory, [beside]) == ""


def test_memory_with_other_elements_is_lost() -> None:
    """The words have the elements."""
    room = ctypes.create_string_buffer(bytes(8), 8)
    assert "float32 [0 0]" in fate(exchange(), Memory(ctypes.addressof(room), b"12345678"), [])


def test_memory_in_which_a_later_array_lies_is_lost_without_a_look_at_it() -> None:
    """Its elements may be the same by chance."""
    room = ctypes.create_string_buffer(b"12345678", 8)
    memory = Memory(ctypes.addressof(room), b"12345678")
    inside = Source(None, FLOAT32, packed((2,)), memory.address + 4, bytes(8))
    assert "a new array" in fate(exchange(), memory, [inside])


def test_memory_that_the_system_has_taken_back_is_read_by_nobody() -> None:
    """A read by this process would end it."""
    mapped = mmap.mmap(-1, mmap.PAGESIZE)
    start = ctypes.c_char.from_buffer(mapped)
    address = ctypes.addressof(start)
    del start
    mapped.close()
    assert fate(exchange(), Memory(address, b"12345678"), []) == GONE


# -- who is at fault


@pytest.mark.parametrize(
    ("invariant", "fault", "code", "clause"),
    [
        ("export-kept", "HoldsTheArrayAlone", Code.MEMORY_TAKEN_AWAY, "DLP-49"),
        ("export-kept", "WipesWhatItLeaves", Code.MEMORY_TAKEN_AWAY, "DLP-49"),
        ("loan-kept", "PassedOnUnheld", Code.MEMORY_TAKEN_AWAY, "DLP-49"),
        ("loan-kept", "PassedOnForGood", Code.NOT_RELEASED, "DLP-27"),
        ("copy-reused", "CopiesWhenItIsTooLate", Code.PRODUCER_OVERWRITTEN, "DLP-50"),
        ("copy-reused", "ReusesTheOneBeside", Code.PRODUCER_OVERWRITTEN, "DLP-50"),
    ],
)
def test_a_fault_breaks_its_clause(run_reference: Runner, invariant: str, fault: str, code: Code, clause: str) -> None:
    """Some case of it violates, and none cites another clause."""
    found = run_reference(f"source.{invariant}", all_faults()[f"source.{fault}"], (Device.HOST,))
    failed = [result for result in found if result.outcome is Outcome.FAIL]
    assert {(result.code, result.clause) for result in failed} == {(code.value, clause)}
    assert Verdict.VIOLATES in {result.verdict for result in failed}


def test_a_consumer_that_does_not_hold_its_import_is_accused_in_place_of_the_producer() -> None:
    """The reference's import of the same array is kept."""

    class ReleasesAtOnce(Importer):
        def read_tensor(self, tensor: Any) -> Imported:
            taken = super().read_tensor(tensor)
            taken.release()
            return taken

    result = run("delete", ReferenceAdapter(), library("careless", importer_class=ReleasesAtOnce))
    assert result.outcome is Outcome.FAIL, result.reason
    assert (result.clause, result.accused and result.accused.side) == ("DLP-26", Side.CONSUMER)


@pytest.mark.parametrize(
    ("fault", "export", "words"),
    [
        ("ViewsHoldTheirArrayAlone", "part", "while a view of the array is exported"),
        ("SmallArraysUnheld", "small", "of an array of 48 bytes"),
        ("LargeArraysUnheld", "large", "of a large array"),
        ("LaterExportsUnheld", "later", "after an earlier export"),
        ("LegacyExportsUnheld", "legacy", "while a legacy capsule lives"),
        ("ReadOnlyArraysUnheld", "readonly", "of a read-only array"),
    ],
)
def test_an_export_that_alone_does_not_hold_its_memory_is_named(fault: str, export: str, words: str) -> None:
    """The usual export of the same array holds it."""
    careless = library("careless", exporter_class=all_faults()[f"source.{fault}"].exporter)
    assert run("renew", careless).outcome is Outcome.PASS
    result = run("renew", careless, export=export)
    assert (result.outcome, result.clause) == (Outcome.FAIL, "DLP-49"), result.reason
    assert words in result.given


def test_a_mistake_that_every_export_shows_is_that_of_the_change() -> None:
    """So all cases of it are one finding."""
    careless = library("careless", exporter_class=all_faults()["source.HoldsTheArrayAlone"].exporter)
    assert run("renew", careless, export="small").given == run("renew", careless).given == "`array.renew()`"


def test_memory_that_one_change_does_not_free_is_looked_at_after_two() -> None:
    """Only the second change shows that an export does not hold the memory, and a control which one that is."""
    result = run("renew", library("keeping", exporter_class=all_faults()["source.KeepsTheNewestMemoryAlone"].exporter))
    assert (result.outcome, result.clause) == (Outcome.FAIL, "DLP-49"), result.reason


class Refusing(Exporter):
    """Gets no other memory while somebody has the one that it has."""

    def move(self, view: Strided) -> None:
        """With a reason."""
        if any(not managed.deleter_calls for managed in self.log.exports):
            raise BufferError("the memory is exported")
        super().move(view)


def test_a_refusal_is_as_good_as_memory_that_is_kept() -> None:
    """What was refused is noted."""
    result = run("renew", library("strict", exporter_class=Refusing))
    assert result.outcome is Outcome.PASS, result.reason
    assert "refused: BufferError" in result.attachments["change"]


def test_numpy_refuses_to_resize_what_is_exported() -> None:
    """And resizes it without an export: it counts the references, also those of the suite."""
    pytest.importorskip("numpy")
    numpy = create("numpy")
    numpy.load()
    result = run("resize", numpy)
    assert result.outcome is Outcome.PASS, result.reason
    assert "refused: ValueError" in result.attachments["change"]


def _raising(adapter: Any, held: list[Any], device: Device) -> None:
    raise TypeError("no such call")


def _nothing(adapter: Any, held: list[Any], device: Device) -> None:
    """The array keeps its memory."""


def test_a_change_that_the_library_never_makes_is_refused() -> None:
    """It says nothing of exports."""
    lacking = library("lacking", changes=(Change("gone", "`gone()`", _raising),))
    assert run("gone", lacking).outcome is Outcome.REFUSED


def test_a_change_that_frees_nothing_proves_nothing() -> None:
    """A pass has to be able to fail."""
    idle = library("idle", changes=(Change("idle", "`idle()`", _nothing),))
    result = run("idle", idle)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "without an export" in result.reason


def test_what_the_user_takes_the_responsibility_for_is_observed() -> None:
    """No promise covers it."""
    renew = next(change for change in ReferenceAdapter.changes if change.name == "renew")
    fault = all_faults()["source.HoldsTheArrayAlone"]
    waiving = library("waiving", exporter_class=fault.exporter, changes=(replace(renew, waived=True),))
    assert run("renew", waiving).verdict is Verdict.OBSERVED


def test_reused_memory_of_a_copy_is_the_consumers_own_affair(run_reference: Runner) -> None:
    """And a control has seen that it is reused."""
    found = run_reference("source.copy-reused", None, (Device.HOST,))
    assert found
    assert all("overwrites an array" in result.attachments["control"] for result in found)


def test_without_a_copy_it_is_observed(run_reference: Runner) -> None:
    """A producer that shares cannot complain of writes by the letter of the clause."""

    class OwnsEverything(Importer):
        def is_own(self, taken: Imported) -> bool:
            return True

    fault = replace(all_faults()["source.ReusesTheOneBeside"], importer=OwnsEverything)
    found = run_reference("source.copy-reused", fault, (Device.HOST,))
    seen = {dict(result.case.parameters)["copy"]: result.verdict for result in found if result.outcome is Outcome.FAIL}
    assert seen == {"none": Verdict.OBSERVED, "false": Verdict.OBSERVED}


# -- what adapters declare


@pytest.mark.parametrize("name", ["numpy", "torch", "jax", "cupy", "cvcuda", "pycuda", "cuda_python", "reference"])
def test_every_library_declares_what_can_be_done_to_its_arrays(name: str) -> None:
    """Each by a name of its own, with the calls as in source code."""
    changes = create(name).changes
    assert changes
    assert len({change.name for change in changes}) == len(changes)
    assert all(change.given.startswith("`") and change.given.endswith("`") for change in changes)


def test_the_end_of_an_array_says_nothing_by_the_array_interface(reference_environment: Environment) -> None:
    """There the user keeps the owner alive (CAI-27)."""
    planned = [
        (case.protocol, case.option("change"))
        for case in catalogue()["source.export-kept"].cases(reference_environment)
    ]
    assert ("dlpack", "delete") in planned
    assert ("cai", "delete") not in planned
    assert ("cai", "renew") in planned


def test_the_invariants_bind_the_sides_that_the_clauses_bind() -> None:
    """The producer by DLP-49, the consumer by DLP-50, and both may be broken without a GPU."""
    kept, reused = catalogue()["source.export-kept"], catalogue()["source.copy-reused"]
    assert kept.duties[Role.PRODUCER][0] == "DLP-49"
    assert reused.duties[Role.CONSUMER][0] == "DLP-50"
    assert {kept.level, reused.level} == {Level.MUST}
    assert {kept.needs, reused.needs} == {Needs.ANY_MEMORY}
    assert broken(all_faults()["source.HoldsTheArrayAlone"]).name == "reference"
