"""The family ``combination`` with libraries that can do less than the reference, and its accusations where one side repeats the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conformance.adapters.base import Device, Unsupported
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks import late_release
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.codes import Code
from conformance.checks.outcomes import Outcome
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.protocols.cai import ArrayInterface, typestr_bytes
from conformance.protocols.clauses import Role
from conformance.protocols.dlpack import DLDeviceType
from conformance.protocols.dtypes import DLCode, DType
from conformance.protocols.strided import Step, c_strides
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Fields
from conformance.suite import test_combination

INVARIANT = "combination.exchange"


def run(
    library: ReferenceAdapter, *levels: tuple[str, str], protocol: str = "dlpack", device: Device = Device.HOST, invariant: str = INVARIANT
) -> Result:  # fmt: skip
    """The point with these levels, of such a library with itself; or a case of another invariant."""
    case = Case(invariant, "reference", "reference", protocol, device, levels)
    return Workbench({"reference": library}).run(case, catalogue()[invariant])


class WithoutViews(ReferenceAdapter):
    """Makes no view of what it has imported, as CV-CUDA."""

    def view(self, array: Any, step: Step) -> Any:
        if isinstance(array, Imported):
            raise Unsupported("no views")
        return super().view(array, step)


def test_a_consumer_without_views_is_not_asked_for_one() -> None:
    """All else is judged."""
    assert run(WithoutViews(), ("layout", "stepped")).outcome is Outcome.PASS


def test_an_array_without_weak_references_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """As CUDA Python's StridedMemoryView. A note beside the result says so."""
    assert late_release.watch((1, 2)) is None
    monkeypatch.setattr(test_combination, "watch", lambda array: None)
    result = run(ReferenceAdapter(), ("path", "reexport"))
    assert result.outcome is Outcome.PASS
    assert "supports no weak reference" in result.attachments["array"]


class WritesNoReversed(ReferenceAdapter):
    """Raises when it writes an array with negative strides, as PyCUDA does with its own."""

    def write(self, array: Any, data: bytes) -> None:
        if min(self.describe(array).strides) < 0:
            raise OverflowError("can't convert negative value to unsigned int")
        super().write(array, data)


class WritesNoImport(ReferenceAdapter):
    """Writes arrays of its own alone."""

    def write(self, array: Any, data: bytes) -> None:
        if isinstance(array, Imported):
            raise OverflowError("not an array of mine")
        super().write(array, data)


def test_a_producer_that_cannot_write_its_array_has_it_written() -> None:
    """By the suite's instruments: how a library writes its own arrays is no matter of an exchange."""
    result = run(WritesNoReversed(), ("layout", "reversed"))
    assert result.outcome is Outcome.PASS


@pytest.mark.parametrize(("library", "outcome"), [(WritesNoReversed, Outcome.REFUSED), (WritesNoImport, Outcome.FAIL)])
def test_only_a_consumer_that_writes_such_arrays_of_its_own_has_to_write_imports(
    library: type[ReferenceAdapter], outcome: Outcome
) -> None:
    """A library that lacks the operation for a layout breaks no promise about imports."""
    made = library()
    made.name = "flawed"
    case = Case(
        "pointer.consumer-write-seen", "reference", "flawed", "dlpack", Device.HOST, (("layout", "reversed-rows"),)
    )
    result = Workbench({"reference": ReferenceAdapter(), "flawed": made}).run(case, catalogue()[case.invariant])
    assert result.outcome is outcome, result.reason
    assert (result.code == Code.IMPORT_UNUSABLE.value) is (outcome is Outcome.FAIL)


class TakesBytes(Importer):
    """Takes elements without a letter in the array interface as bytes without a meaning."""

    def cai_dtype(self, interface: ArrayInterface) -> DType:
        size = typestr_bytes(interface.typestr)
        is_raw = interface.typestr[1] == "V"
        return DType(f"void{8 * size}", DLCode.OPAQUE, 8 * size, "V") if is_raw else super().cai_dtype(interface)


class CallsThemBytes(ReferenceAdapter):
    """Says ``void`` for them, as NumPy does."""

    importer_class = TakesBytes


@pytest.mark.parametrize("levels", [(), (("size", "empty"),), (("layout", "transposed"), ("size", "empty"))])
def test_bytes_are_no_other_type_where_the_interface_has_no_letter(levels: tuple[tuple[str, str], ...]) -> None:
    """Neither with elements nor without."""
    kind = ("dtype", "bfloat16")
    result = run(CallsThemBytes(), kind, *levels, protocol="cai", device=Device.SIMULATED)
    assert result.outcome is Outcome.PASS, result.reason


class OfTheHost(Exporter):
    """Says of an array without elements that it lies on the host."""

    def device(self) -> tuple[int, int]:
        return super().device() if self.view.size else (DLDeviceType.CPU, 0)

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        return replace(super().fields(version, copied=copied), device=self.device())


class Believes(ReferenceAdapter):
    """Believes the device that the producer names, and names no stream for the host."""

    exporter_class = OfTheHost

    def take(self, offer: Any, *args: Any, **keywords: Any) -> Any:
        told = offer.__dlpack_device__()
        if told[0] == DLDeviceType.CPU:
            taken = super().take(offer, *args[:1], Device.HOST, **keywords)
            taken.device = told
            return taken
        return super().take(offer, *args, **keywords)


@pytest.mark.parametrize(("invariant", "level"), [(INVARIANT, ("size", "empty")), ("device.kept", ("layout", "empty"))])
def test_a_consumer_that_believes_the_producer_is_not_accused(invariant: str, level: tuple[str, str]) -> None:
    """Neither for the device that it names nor for the stream that it does not."""
    result = run(Believes(), level, device=Device.SIMULATED, invariant=invariant)
    assert (result.code, result.clause) == (Code.WRONG_DEVICE.value, "DLP-15")
    assert result.role is Role.PRODUCER


class HasNoName(Exporter):
    """Raises an exception that means a defect for an unknown element type, as PyTorch does."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.dtype.kind is None:
            raise KeyError(self.dtype.name)
        return super().__cuda_array_interface__


class LooksInVain(ReferenceAdapter):
    """Takes no object without the attribute, and says so in words of its own."""

    exporter_class = HasNoName

    def take(self, offer: Any, *args: Any, **keywords: Any) -> Any:
        try:
            return super().take(offer, *args, **keywords)
        except KeyError:
            raise TypeError("cannot infer the type of such an object") from None


def test_a_producer_is_judged_by_its_own_exception() -> None:
    """And not by the import that follows from it."""
    result = run(LooksInVain(), ("dtype", "complex32"), protocol="cai", device=Device.SIMULATED)
    assert (result.code, result.given, result.role) == (Code.DEFECT_EXCEPTION.value, "KeyError", Role.PRODUCER)
    assert result.seen == "reference refused to export: KeyError: 'complex32'"


class NoStridesOfTwoBytes(Exporter):
    """Exports strided arrays of 2-byte elements as packed ones, and of others not."""

    def dl_strides(self, version: tuple[int, int] | None) -> tuple[int, ...] | None:
        return c_strides(self.view.shape) if self.dtype.itemsize == 2 else super().dl_strides(version)


class WrongForTwoBytes(ReferenceAdapter):
    """With that exporter."""

    exporter_class = NoStridesOfTwoBytes


@pytest.mark.parametrize("layout", ["padded", "stepped", "reversed", "broadcast"])
def test_negative_strides_and_strides_of_0_are_no_cause_of_their_own(layout: str) -> None:
    """Where any strided view shows the same, it is one finding."""
    result = run(WrongForTwoBytes(), ("dtype", "int16"), ("layout", layout))
    assert (result.code, result.given) == (Code.STRIDES_CHANGED.value, "an array of int16 that is also a strided view")
