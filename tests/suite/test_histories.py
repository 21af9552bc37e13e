"""Arrays with a past: which one an array can have, that it has got it, and that without one it is new."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from conformance.adapters.base import Device, Protocol, Trait
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.exchange import Exchange, Partners
from conformance.checks.libraries import Environment, Pair
from conformance.checks.outcomes import Inconclusive, Outcome, Refused
from conformance.execution.workbench import Workbench
from conformance.faults import all_faults
from conformance.ordering.handover import OLD, SHAPE, elements, past_operand
from conformance.ordering.histories import History, Maker, fresh, pasts, with_past
from conformance.protocols.dtypes import dtype
from conformance.reference.exporter import Exporter
from conformance.reference.streams import WorkStream
from conformance.suite.test_lifetime_past import _made

from .conftest import Runner

INT32 = dtype("int32")
ALL = {history.value for history in History} - {History.FRESH.value}


def pair(environment: Environment, device: Device, *traits: Trait, without: tuple[Trait, ...] = ()) -> Pair:
    """The reference with itself, with other traits."""
    found = next(p for p in environment.pairs(Protocol.DLPACK, on=(device,)))
    producer = replace(found.producer, traits=found.producer.traits.union(traits).difference(without))
    return replace(found, producer=producer)


def test_each_library_has_the_pasts_that_it_can_have(reference_environment: Environment) -> None:
    """On host memory nothing is written on streams, and nothing is kept for later."""
    assert set(pasts(pair(reference_environment, Device.SIMULATED))) == ALL
    assert set(pasts(pair(reference_environment, Device.HOST))) == {"reexport"}


def test_an_array_that_only_describes_memory_knows_no_writer(reference_environment: Environment) -> None:
    """Its library keeps nothing that could be remembered."""
    assert "written" not in pasts(pair(reference_environment, Device.SIMULATED, Trait.VIEW_ONLY))


def test_an_array_is_imported_before_it_is_exported() -> None:
    """It is on memory of ours."""
    library = ReferenceAdapter()
    array = past_operand(library, INT32, Device.SIMULATED, History.REEXPORT)
    assert library.exporter(array, Protocol.DLPACK) is not array


def test_an_array_was_written_before_and_read() -> None:
    """So that nothing is pending any more."""
    library = ReferenceAdapter()
    array = past_operand(library, INT32, Device.SIMULATED, History.WRITTEN)
    assert library.read(array) == elements(OLD)
    assert array.writer is None


def maker(library: ReferenceAdapter, kept: list[Any], **replaced: Any) -> Maker:
    """Makes arrays on the simulated device, and keeps each in ``kept`` for good."""

    def make() -> Any:
        array = library.operand(INT32, SHAPE, Device.SIMULATED)
        kept.append(array)
        return array

    def lend(protocol: Protocol) -> tuple[Any, int]:
        array = library.operand(INT32, SHAPE, Device.SIMULATED)
        return library.offer(array, protocol), array.element0() + 4

    facts: dict[str, Any] = {
        "make": make, "lend": lend, "take": lambda offer, protocol: library.take(offer, protocol, Device.SIMULATED),
        "write": lambda array: None,
    }  # fmt: skip
    return Maker(library, **{**facts, **replaced})


def test_memory_that_is_not_given_out_again_is_no_past() -> None:
    """The case says so, and passes nothing."""
    with pytest.raises(Inconclusive, match="does not reuse the memory"):
        with_past(maker(ReferenceAdapter(), []), History.CACHED)


def test_an_import_at_another_address_is_no_past() -> None:
    """It would be exported as an array of the library's own."""
    with pytest.raises(Refused, match="copies its imports"):
        with_past(maker(ReferenceAdapter(), []), History.REEXPORT)


class Keeping(ReferenceAdapter):
    """Hands out the arrays that it has got back, with all that was done to them."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Exporter] = []
        self.lets_go = True

    def operand(self, dtype: Any, shape: tuple[int, ...], device: Device) -> Any:
        """One that is kept, if there is one."""
        return self.kept.pop() if self.kept else super().operand(dtype, shape, device)

    def let_go(self) -> str:
        """All of them."""
        if self.lets_go:
            self.kept.clear()
        return "clear()"

    def kept_for_later(self) -> int:
        """As many."""
        return len(self.kept)


def test_an_array_without_a_past_is_new() -> None:
    """Whatever the library has kept from another case."""
    library = Keeping()
    used = ReferenceAdapter.operand(library, INT32, SHAPE, Device.SIMULATED)
    library.kept.append(used)
    assert past_operand(library, INT32, Device.SIMULATED, History.FRESH) is not used


def test_a_library_that_does_not_let_go_makes_no_array_that_is_known_to_be_new() -> None:
    """By its own account."""
    library = Keeping()
    library.lets_go = False
    library.kept.append(ReferenceAdapter.operand(library, INT32, SHAPE, Device.SIMULATED))
    with pytest.raises(Inconclusive, match="still caches 1 objects"):
        fresh(library)


@pytest.mark.parametrize("leftovers", [0, 3])
def test_a_verdict_on_a_new_array_does_not_depend_on_what_ran_before(
    reference_environment: Environment, leftovers: int
) -> None:
    """The kept arrays would wait in the capture for the streams that have written them."""
    library = Keeping()
    library.exporter_class = all_faults()["past.WaitsForItsPast"].exporter  # type: ignore[misc]
    for _ in range(leftovers):
        array = ReferenceAdapter.operand(library, INT32, SHAPE, Device.SIMULATED)
        array.fill(1, WorkStream(array.memory.streams()))
        library.kept.append(array)
    entry = catalogue()["capture.same-stream"]
    bench = Workbench({"reference": library})
    case = next(
        c for c in entry.cases(reference_environment) if c.protocol == "dlpack" and c.option("dtype") == "int32"
    )
    result = bench.run(case, entry)
    assert result.outcome is Outcome.PASS, result.reason


def test_a_past_that_breaks_a_capture_is_told_beside_a_new_array(run_reference: Runner) -> None:
    """The note says what became of the same capture with one."""
    fault = all_faults()["past.WaitsForWhatItBorrowed"]
    found = run_reference("capture.past", fault, (Device.SIMULATED,))
    broken = [result for result in found if result.outcome is Outcome.FAIL]
    assert {dict(result.case.parameters)["history"] for result in broken} == {"reexport", "reexport-cai"}
    assert all(result.attachments["new"] == "a valid graph" for result in broken)


def test_the_memory_of_an_array_that_is_gone_was_exported_before() -> None:
    """That is the past that matters to who holds memory."""
    case = Case("lifetime.past", "reference", "reference", "dlpack", Device.SIMULATED, (("history", "cached"),))
    library = ReferenceAdapter()
    source = _made(Exchange(case, Partners(lambda name: library)), History.CACHED)
    assert source.array.log.exports == []
    assert source.address == source.array.element0()
