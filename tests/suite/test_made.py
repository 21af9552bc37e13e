"""Arrays as users make them, and arrays without elements: what their library chooses must not matter, and they are released."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.adapters.base import Device
from conformance.adapters.numpy import NumpyAdapter
from conformance.adapters.reference import ReferenceAdapter
from conformance.adapters.special import named
from conformance.checks import pressure
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.outcomes import Outcome
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.protocols.dlpack import Tensor
from conformance.protocols.dtypes import dtype
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer


def run(invariant: str, importer: type[Importer] = Importer, **parameters: str) -> Result:
    """The case with these parameters, from the reference to a reference with this importer."""
    adapter = ReferenceAdapter()
    adapter.importer_class = importer
    case = Case(invariant, "reference", "reference", "dlpack", Device.HOST, tuple(parameters.items()))
    return Workbench({"reference": adapter}).run(case, catalogue()[invariant])


class NoZeroStrides(Importer):
    """Refuses strides of 0, whatever the extents are."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        if tensor.strides and 0 in tensor.strides:
            raise BufferError("a stride of 0")
        return super().read_tensor(tensor)


class NothingWithoutElements(Importer):
    """Refuses every array without elements."""

    def read_tensor(self, tensor: Tensor) -> Imported:
        if 0 in tensor.shape:
            raise BufferError("no elements")
        return super().read_tensor(tensor)


@pytest.mark.parametrize("name", [making.name for making in ReferenceAdapter.made])
def test_every_way_of_making_arrives(name: str) -> None:
    """The flawless reference takes each of its own arrays."""
    assert run("pointer.as-made", made=name).outcome is Outcome.PASS


def test_who_decides_by_the_strides_of_no_elements_deviates() -> None:
    """It takes an array of the same shape with packed strides, so the strides are why (DLP-53)."""
    result = run("pointer.as-made", NoZeroStrides, made="none-inside")
    assert (result.outcome, result.clause, result.level.value) == (Outcome.FAIL, "DLP-53", "should")


def test_who_takes_nothing_without_elements_is_not_judged_by_strides() -> None:
    """Whether it may is another question (DLP-19)."""
    assert run("pointer.as-made", NothingWithoutElements, made="none-inside").outcome is Outcome.REFUSED


class GivesNothingWithoutElements(Exporter):
    """Refuses to export an array without elements."""

    def dlpack(self, **keywords: Any) -> Any:
        if not self.view.size:
            raise BufferError("no elements")
        return super().dlpack(**keywords)


def test_a_producer_that_exports_nothing_without_elements_is_accused_of_nothing() -> None:
    """The promise about strides is the consumer's."""
    producer = type("Library", (ReferenceAdapter,), {"name": "picky", "exporter_class": GivesNothingWithoutElements})()
    case = Case("pointer.as-made", "picky", "reference", "dlpack", Device.HOST, (("made", "none-inside"),))
    result = Workbench({"reference": ReferenceAdapter(), "picky": producer}).run(case, catalogue()[case.invariant])
    assert result.outcome is Outcome.REFUSED, result.reason


@pytest.mark.parametrize("making", NumpyAdapter.made, ids=lambda making: making.name)
def test_numpy_makes_what_is_declared(making: Any) -> None:
    """With whatever strides this version gives."""
    adapter = NumpyAdapter()
    adapter.load()
    array = adapter.make(making, Device.HOST)
    assert (array.shape, array.ravel().tolist()) == (making.shape, list(making.numbers))


def test_numpys_empty_arrays_have_the_strides_that_numpy_gives() -> None:
    """Not those of a slice of a larger block."""
    adapter = NumpyAdapter()
    adapter.load()
    for shape in ((0, 3), (2, 0, 3), (1, 8, 0, 128)):
        assert adapter.empty(dtype("float32"), shape, Device.HOST).strides == adapter.numpy.empty(shape, "f4").strides


def test_a_way_of_making_has_a_name() -> None:
    """No two of one library have the same."""
    for adapter in (NumpyAdapter, ReferenceAdapter):
        for making in adapter.made:
            assert named(adapter.made, making.name) is making


class PinnedDown(Importer):
    """Keeps every import, so that nothing is ever released."""

    kept: list[Imported] = []

    def read_tensor(self, tensor: Tensor) -> Imported:
        taken = super().read_tensor(tensor)
        self.kept.append(taken)
        return taken


@pytest.mark.parametrize(
    ("invariant", "parameters"),
    [
        ("lifetime.deleter-once", {"struct": "legacy", "size": "empty"}),
        ("lifetime.owner-released", {"size": "empty"}),
        ("lifetime.chain", {"dies": "first-to-last", "size": "empty"}),
    ],
)
def test_arrays_without_elements_are_released_as_well(invariant: str, parameters: dict[str, str]) -> None:
    """By the flawless reference; one that keeps them fails."""
    assert run(invariant, **parameters).outcome is Outcome.PASS
    failed = run(invariant, PinnedDown, **parameters)
    assert failed.outcome is Outcome.FAIL
    assert "without elements" in failed.given or "import" in failed.given


# -- the control of reuse


class Hoarding(ReferenceAdapter):
    """Never lets go of an array."""

    kept: list[Any] = []

    def array(self, *arguments: Any) -> Any:
        self.kept.append(super().array(*arguments))
        return self.kept[-1]


def _temporary(adapter: ReferenceAdapter) -> Result:
    case = Case("lifetime.temporary", "reference", "reference", "dlpack", Device.HOST)
    return Workbench({"reference": adapter}).run(case, catalogue()[case.invariant])


def test_a_pass_without_the_control_is_none() -> None:
    """Where the memory of dead arrays is not used again, an early release would not show."""
    result = _temporary(Hoarding())
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "the control fails" in result.reason


def test_other_bytes_prove_that_memory_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library's own objects may lie in it before any array of the check does: an import would read them."""
    monkeypatch.setattr(pressure._Extent, "meets", lambda self, other: False)
    assert _temporary(ReferenceAdapter()).outcome is Outcome.PASS


def test_other_bytes_count_where_an_import_would_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that still has the array's elements proves nothing, even if it is free."""
    monkeypatch.setattr(pressure._Extent, "meets", lambda self, other: False)
    monkeypatch.setattr(pressure, "lying_at", lambda exchange, address, nbytes: exchange.source().block)
    assert _temporary(ReferenceAdapter()).outcome is Outcome.INCONCLUSIVE


class Caching(ReferenceAdapter):
    """Keeps the memory of dead arrays until it is asked to let go."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def let_go(self) -> str:
        self.calls += 1
        return "reference.clear()"


def test_the_producer_lets_go_between_drop_and_reuse() -> None:
    """Memory in a cache is used by nobody, and so shows nothing."""
    adapter = Caching()
    seen: list[int] = []
    original = adapter.array

    def array(*arguments: Any) -> Any:
        seen.append(adapter.calls)
        return original(*arguments)

    adapter.array = array  # type: ignore[method-assign]
    assert _temporary(adapter).outcome is Outcome.PASS
    assert seen[2:18] == [1] * 16
