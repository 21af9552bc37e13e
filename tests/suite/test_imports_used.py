"""Imports beside arrays of the consumer's own: who is accused, and what an environment at fault says."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.adapters.base import Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.outcomes import Outcome, Side
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.faults import all_faults
from conformance.protocols.clauses import Level, Role
from conformance.reference.importer import Imported

from .conftest import Runner, broken

_NEWER = RuntimeError("CUDA_ERROR_UNSUPPORTED_PTX_VERSION")


class NoKernelLoads(ReferenceAdapter):
    """The driver is older than the compiler."""

    def kernel_increment(self, array: Any) -> None:
        raise _NEWER


class NoKernelOnImports(ReferenceAdapter):
    """Kernels take arrays of its own alone."""

    def kernel_increment(self, array: Any) -> None:
        if isinstance(array, Imported):
            raise TypeError("not one of mine")
        super().kernel_increment(array)


class AddsWrong(ReferenceAdapter):
    """Every sum is its first operand."""

    def add(self, first: Any, second: Any) -> Any:
        return self.copied(first)


class NothingAdds(ReferenceAdapter):
    def add(self, first: Any, second: Any) -> Any:
        raise _NEWER


def run(library: ReferenceAdapter, name: str, **parameters: str) -> Result:
    """One case of the library with itself, on host memory."""
    case = Case(name, "reference", "reference", "dlpack", Device.HOST, tuple(parameters.items()))
    return Workbench({"reference": library}).run(case, catalogue()[name])


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("pointer.kernel-write-seen", {"layout": "vector"}), ("use.offset", {"work": "kernel", "offset": "page"})],
)
def test_a_kernel_that_fails_on_its_librarys_own_arrays_accuses_nobody(name: str, parameters: dict[str, str]) -> None:
    """It says that the environment is at fault, and what the library's exception is."""
    result = run(NoKernelLoads(), name, **parameters)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.reason.startswith("environment: a kernel of reference fails on the library's own array")
    assert "CUDA_ERROR_UNSUPPORTED_PTX_VERSION" in result.reason


@pytest.mark.parametrize("name", ["pointer.kernel-write-seen", "use.offset"])
def test_a_kernel_that_fails_on_imports_alone_breaks_a_promise(name: str) -> None:
    """The control goes well, so the exception is the library's."""
    parameters = {"layout": "vector"} if name.startswith("pointer") else {"work": "kernel", "offset": "element"}
    result = run(NoKernelOnImports(), name, **parameters)
    assert (result.outcome, result.code, result.level) == (Outcome.FAIL, "import-unusable", Level.MUST)
    assert "not one of mine" in result.seen


@pytest.mark.parametrize(
    ("library", "told"), [(AddsWrong(), "gives wrong elements on arrays"), (NothingAdds(), "fails on arrays")]
)
def test_arithmetic_that_fails_without_an_import_accuses_nobody(library: ReferenceAdapter, told: str) -> None:
    """As it does for kernels."""
    result = run(library, "use.own-arrays", operation="add")
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.reason.startswith("environment: an operation of reference")
    assert told in result.reason


@pytest.mark.parametrize(
    ("fault", "name", "code", "clause"),
    [
        ("use.ImportsAreElsewhere", "use.own-arrays", "import-unusable", "DLP-58"),
        ("use.ArithmeticSeesZeros", "use.own-arrays", "values-changed", "DLP-58"),
        ("use.DevicesCompareByIdentity", "use.device", "wrong-device", "DLP-42"),
        ("use.ArithmeticDropsTheOffset", "use.offset", "values-changed", "DLP-58"),
        ("use.KernelsDropTheOffset", "use.offset", "write-outside", "DLP-58"),
        ("use.CopiesShare", "use.copy", "values-changed", "DLP-58"),
    ],
)
def test_an_import_that_is_used_wrongly_violates(
    fault: str, name: str, code: str, clause: str, run_reference: Runner
) -> None:
    """By the clause that demands to read the array as it is described, or to tell the device of the source."""
    failed = [r for r in run_reference(name, all_faults()[fault], (Device.HOST,)) if r.outcome is Outcome.FAIL]
    assert {(r.code, r.clause, r.role, r.level) for r in failed} == {(code, clause, Role.CONSUMER, Level.MUST)}


def test_an_array_that_is_described_wrongly_is_held_against_its_producer() -> None:
    """Its consumer computes with what it was told."""
    consumer, producer = ReferenceAdapter(), broken(all_faults()["pointer.OffsetDropped"])
    consumer.name = "consumer"  # type: ignore[misc]
    case = Case("use.copy", "reference", "consumer", "dlpack", Device.HOST, (("layout", "columns"),))
    result = Workbench({"reference": producer, "consumer": consumer}).run(case, catalogue()["use.copy"])
    assert result.outcome is Outcome.FAIL
    assert result.accused is not None
    assert result.accused.side is Side.PRODUCER


def test_flawless_partners_are_not_accused(run_reference: Runner) -> None:
    """On host memory and on the simulated device."""
    names = [name for name in catalogue() if name.startswith("use.")]
    assert len(names) == 4
    for name in names:
        assert {result.outcome for result in run_reference(name)} == {Outcome.PASS}, name


class AddsPackedAlone(ReferenceAdapter):
    """An operand with strides is refused, whoever it is of."""

    def add(self, first: Any, second: Any) -> Any:
        if not (self.contiguous(first) and self.contiguous(second)):
            raise ValueError("packed arrays alone")
        return super().add(first, second)


class AddsItsOwnStridesAlone(ReferenceAdapter):
    """An import with strides is refused."""

    def add(self, first: Any, second: Any) -> Any:
        if any(isinstance(array, Imported) and not array.contiguous for array in (first, second)):
            raise ValueError("packed imports alone")
        return super().add(first, second)


@pytest.mark.parametrize(
    ("library", "outcome"), [(AddsPackedAlone(), Outcome.REFUSED), (AddsItsOwnStridesAlone(), Outcome.FAIL)]
)
def test_an_operand_with_strides_is_held_against_one_of_the_consumers_own(
    library: ReferenceAdapter, outcome: Outcome
) -> None:
    """A library that adds packed arrays alone breaks no promise."""
    assert run(library, "use.own-arrays", operation="add", array="stepped").outcome is outcome


@pytest.mark.parametrize(
    ("fault", "parameters"),
    [
        ("ArithmeticReadsAsIfPacked", {"array": "stepped"}),
        ("PartsBeginWithTheWhole", {"array": "part"}),
        ("StagedByShape", {"array": "two-imports"}),
        ("ReadOnlyImportsAreNoOperands", {"array": "readonly"}),
    ],
)
def test_arithmetic_that_is_wrong_with_some_imports_alone_is_seen(fault: str, parameters: dict[str, str]) -> None:
    """A packed import is added rightly."""
    library = broken(all_faults()[f"use.{fault}"])
    assert run(library, "use.own-arrays", operation="add").outcome is Outcome.PASS
    result = run(library, "use.own-arrays", operation="add", **parameters)
    assert (result.outcome, result.role) == (Outcome.FAIL, Role.CONSUMER), result.reason
