"""How much it says against a library that elements arrive as others: by the bytes, and by whether the protocol allows the input."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.adapters.base import Adapter, Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import catalogue
from conformance.checks.codes import Code
from conformance.checks.libraries import Environment
from conformance.checks.outcomes import Outcome, Side
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.faults import all_faults
from conformance.protocols import cai
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import Tensor
from conformance.protocols.dtypes import DType, dtype
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer

from .conftest import Runner


def failures(results: list[Result]) -> list[Result]:
    """Those that failed."""
    return [result for result in results if result.outcome is Outcome.FAIL]


def run(environment: Environment, invariant: str, adapter: Adapter) -> list[Result]:
    """Every case of an invariant that the reference has with itself, with this one in its place."""
    entry, bench = catalogue()[invariant], Workbench({"reference": adapter})
    return [bench.run(case, entry) for case in entry.cases(environment)]


def test_another_type_with_every_byte_as_it_was_deviates(run_reference: Runner) -> None:
    """The consumer calls it by another name, and nothing is lost: no violation, and the reason says why."""
    found = failures(run_reference("dtype.exchange", all_faults()["dtype.BytesAsBooleans"]))
    assert {(r.code, r.clause, r.role, r.level, r.given) for r in found} == {
        (Code.DTYPE_CHANGED.value, "DLP-58", Role.CONSUMER, Level.SHOULD, "an array of uint8")
    }
    assert all("every byte" in r.reason for r in found)


def test_what_the_consumer_does_by_the_other_protocol_is_noted(run_reference: Runner) -> None:
    """Where it has one: on the host there is none."""
    found = failures(run_reference("dtype.exchange", all_faults()["dtype.BytesAsBooleans"]))
    notes = {r.case.device: r.attachments.get("other protocol") for r in found}
    assert notes == {
        Device.HOST: None,
        Device.SIMULATED: "by the CUDA Array Interface reference imports uint8 as uint8",
    }


class _HalvesAreDoubles(Importer):
    """Takes a type for one that is wider."""

    def dl_dtype(self, tensor: Tensor) -> DType:
        """float32 for float16, over the same strides in bytes."""
        found = super().dl_dtype(tensor)
        return dtype("float32") if found.name == "float16" else found


def test_another_type_with_other_bytes_violates(reference_environment: Environment) -> None:
    """What is read are other elements."""
    adapter = ReferenceAdapter()
    adapter.importer_class = _HalvesAreDoubles
    found = failures(run(reference_environment, "dtype.exchange", adapter))
    assert {(r.code, r.level) for r in found if r.case.option("dtype") == "float16"} == {
        (Code.DTYPE_CHANGED.value, Level.MUST)
    }


class _WithoutWidth(Exporter):
    """Publishes elements without a letter as bytes of no width."""

    def cai_typestr(self) -> str:
        """``|V0``."""
        return self.dtype.typestr or "|V0"


class _LosesTheWidth(Importer):
    """Takes raw bytes for elements of no size."""

    def cai_dtype(self, interface: cai.ArrayInterface) -> DType:
        """Zero bits."""
        found = super().cai_dtype(replace(interface, typestr="|u1") if interface.typestr[1] == "V" else interface)
        return replace(found, name="void", bits=0) if interface.typestr[1] == "V" else found


@pytest.mark.parametrize(
    ("exporter", "importer", "side", "code"),
    [
        (_WithoutWidth, _LosesTheWidth, Side.PRODUCER, Code.DTYPE_CHANGED),
        (Exporter, _LosesTheWidth, Side.CONSUMER, Code.VALUES_CHANGED),
    ],
)
def test_elements_without_a_size_are_the_fault_of_who_makes_them_so(
    reference_environment: Environment,
    exporter: type[Exporter],
    importer: type[Importer],
    side: Side,
    code: Code,
) -> None:
    """The dictionary that was handed over tells: a right one leaves only the consumer."""
    adapter = ReferenceAdapter()
    adapter.exporter_class, adapter.importer_class = exporter, importer
    entry, bench = catalogue()["dtype.exchange"], Workbench({"reference": adapter})
    cases = [c for c in entry.cases(reference_environment) if c.id.endswith("cai/simulated/bfloat16")]
    (result,) = (bench.run(case, entry) for case in cases)
    assert (result.outcome, result.code) == (Outcome.FAIL, code.value)
    assert result.role is (Role.PRODUCER if side is Side.PRODUCER else Role.CONSUMER)


def test_foreign_byte_order_read_as_native_is_one_cause(run_reference: Runner) -> None:
    """A violation, and the same for every element type."""
    found = failures(run_reference("dtype.foreign-order", all_faults()["dtype.ByteOrderIgnored"]))
    assert len(found) > 1
    assert {(r.code, r.clause, r.level, r.given) for r in found} == {
        (Code.VALUES_CHANGED.value, "CAI-32", Level.MUST, "an array of foreign byte order")
    }


@pytest.mark.parametrize("elements", ["bool-32", "bfloat-32", "bool-1", "float8-e5m2-16", "float-0"])
def test_a_width_that_dlpack_forbids_is_no_broken_promise(run_reference: Runner, elements: str) -> None:
    """No producer may write it (DLP-13), so no clause is held against who takes it for something else."""
    found = failures(run_reference("dtype.unknown", all_faults()["dtype.WidthIgnored"]))
    levels = {(r.level, r.clause) for r in found if r.case.option("elements") == elements}
    assert levels == {(Level.ROBUSTNESS, "")}


def test_a_type_code_from_later_on_has_to_be_refused(run_reference: Runner) -> None:
    """That is the consumer's duty, and the input is allowed."""
    found = failures(run_reference("dtype.unknown", all_faults()["dtype.UnknownAsFloat"]))
    assert {(r.code, r.clause, r.role) for r in found} == {(Code.NOT_REFUSED.value, "DLP-05", Role.CONSUMER)}


def test_a_typestr_that_raises_a_defect_is_one_cause(run_reference: Runner) -> None:
    """A ``KeyError`` in the attribute breaks ``hasattr``, whichever type it is about and whoever asks."""
    fault = all_faults()["dtype.TypestrTableWithHoles"]
    found = [r for name in ("dtype.typestr", "dtype.exchange") for r in failures(run_reference(name, fault))]
    assert {(r.code, r.clause, r.given, r.role) for r in found} == {
        (Code.DEFECT_EXCEPTION.value, "PY-01", "KeyError", Role.PRODUCER)
    }
