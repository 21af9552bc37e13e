"""Checks of other families that the family ``combination`` makes at its points: which of them it makes, and which failures it reports."""

from __future__ import annotations

import os
import threading
from collections import Counter
from dataclasses import replace
from unittest import mock

import pytest

from conformance.adapters.base import Device, Trait
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange
from conformance.checks.outcomes import Failure, Outcome
from conformance.checks.points import Point
from conformance.checks.repeated_checks import EXCHANGE, Repeated
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.faults import Fault
from conformance.protocols.dlpack import Tensor
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.managed import Fields
from conformance.suite import test_combination

from .conftest import broken

RISKY = "layout.null-strides"
DEADLY = "not made, because it crashes the process with a plain array"
UNTRIED = "not made, because some libraries crash the process there, and the suite cannot try it in a fork first"


def run(adapter: ReferenceAdapter, ours: ReferenceAdapter | None = None, **levels: str) -> Result:
    """The case with these levels, on host memory, of this library with the reference."""
    is_producer = adapter.exporter_class is not Exporter
    sides = ("flawed", "reference") if is_producer else ("reference", "flawed")
    adapter.name = "flawed"
    case = Case(EXCHANGE, *sides, "dlpack", Device.HOST, tuple(levels.items()))
    return Workbench({"reference": ours or ReferenceAdapter(), "flawed": adapter}).run(case, catalogue()[EXCHANGE])


def with_importer(importer: type[Importer]) -> ReferenceAdapter:
    """The reference with this importer."""
    adapter = broken(Fault("fault", "fault", (EXCHANGE,), importer=importer))
    assert isinstance(adapter, ReferenceAdapter)
    return adapter


def with_exporter(exporter: type[Exporter]) -> ReferenceAdapter:
    """The reference with this exporter."""
    adapter = broken(Fault("fault", "fault", (EXCHANGE,), exporter=exporter))
    assert isinstance(adapter, ReferenceAdapter)
    return adapter


# -- checks that may end the process


class DiesWithoutStrides(Importer):
    """Ends each forked process that imports an array with NULL strides, and notes the imports of its own process."""

    home = 0
    is_deadly = True
    noted: list[tuple[int, ...]]

    def read_tensor(self, tensor: Tensor) -> Imported:
        """An array without dimensions has no strides."""
        if tensor.strides is None and tensor.shape:
            if self.is_deadly and os.getpid() != self.home:
                os._exit(3)
            self.noted.append(tensor.shape)
        return super().read_tensor(tensor)


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> ReferenceAdapter:
    """The reference with this importer, at home in the process of the test."""
    monkeypatch.setattr(DiesWithoutStrides, "home", os.getpid())
    monkeypatch.setattr(DiesWithoutStrides, "noted", [], raising=False)
    return with_importer(DiesWithoutStrides)


def test_a_check_that_ends_the_process_with_a_plain_array_is_made_in_a_fork_alone(dying: ReferenceAdapter) -> None:
    """The case goes on in its own process, and notes the check that it does not make."""
    result = run(dying, dtype="int16")
    assert result.outcome is Outcome.PASS, result.reason
    assert DiesWithoutStrides.noted == []
    assert RISKY in result.attachments[DEADLY]


def test_a_check_that_ends_no_process_is_made(dying: ReferenceAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The case has no note about it."""
    monkeypatch.setattr(DiesWithoutStrides, "is_deadly", False)
    result = run(dying, dtype="int16")
    assert (result.outcome, DEADLY in result.attachments) == (Outcome.PASS, False)
    assert DiesWithoutStrides.noted


def test_a_fork_tries_a_check_once_in_a_process(dying: ReferenceAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second case takes the answer of the first one."""
    ours = ReferenceAdapter()
    run(dying, ours, dtype="int16")
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("a second fork"))
    assert RISKY in run(dying, ours, dtype="int8").attachments[DEADLY]


class ThreadedAdapter(ReferenceAdapter):
    """A library that runs threads, so that a fork of its process may hang."""

    traits = ReferenceAdapter.traits | {Trait.THREADED}


def test_a_check_that_no_fork_can_try_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could end the process of the case."""
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("a fork of a process with threads"))
    result = run(ThreadedAdapter(), dtype="int16")
    assert result.outcome is Outcome.PASS, result.reason
    assert RISKY in result.attachments[UNTRIED]


# -- checks that do the same


def checks_of(**levels: str) -> list[tuple[str, Point]]:
    """The checks that are made at a point, with the point that each of them is made at."""
    made: list[tuple[str, Point]] = []
    tried = test_combination.tried

    def noted(exchange: Exchange, point: Point, one: Repeated, **more: bool) -> Failure | None:
        at = one.at(point, is_of_reference=True)
        sides = (exchange.producer, exchange.consumer, exchange.protocol, exchange.device)
        if one.applies(at, *sides) and not one.is_risky:
            made.append((f"{one.invariant}{one.options}", at))
        return tried(exchange, point, one, **more)

    with mock.patch.object(test_combination, "tried", noted):
        assert run(with_importer(Importer), **levels).outcome is Outcome.PASS
    return made


@pytest.mark.parametrize("levels", [{"dtype": "int16"}, {"layout": "transposed", "rank": "rank-3", "size": "few"}])
def test_a_point_makes_no_check_twice(levels: dict[str, str]) -> None:
    """An exchange with a level that the point has by itself is the exchange of the point; one with another level is not."""
    made = checks_of(**levels)
    at_point = Point(**levels)
    assert len(made) > 50
    twice = [one for one, count in Counter(made).items() if count > 1 and one[1] != Point()]
    assert not twice
    assert (f"{EXCHANGE}()", at_point) not in made
    assert (f"{EXCHANGE}()", replace(at_point, offset="offset-1")) in made


# -- failures that a simpler point reports


class ExtentsInOneByte(Exporter):
    """Keeps extents in 8 bits, so that 300 becomes 44."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """Modulo 256."""
        return replace(super().fields(version, copied=copied), shape=tuple(extent % 256 for extent in self.view.shape))


class OnlyInThreads(ExtentsInOneByte):
    """Makes that mistake in threads other than the main one."""

    def fields(self, version: tuple[int, int] | None, *, copied: bool) -> Fields:
        """Modulo 256 there."""
        kind = Exporter if threading.current_thread() is threading.main_thread() else ExtentsInOneByte
        return kind.fields(self, version, copied=copied)


@pytest.mark.parametrize("place", ["here", "in-thread", "in-fork"])
def test_a_failure_of_a_simpler_point_is_not_reported_at_this_point_or_at_another_place(place: str) -> None:
    """The point with this one level reports it."""
    single = run(with_exporter(ExtentsInOneByte), size="long")
    assert (single.code, single.given) == (Code.SHAPE_CHANGED.value, "an array with an extent of 300")
    result = run(with_exporter(ExtentsInOneByte), dtype="int16", place=place)
    assert result.outcome is Outcome.PASS, result.reason


def test_a_failure_of_another_place_alone_is_reported() -> None:
    """No simpler point shows it."""
    result = run(with_exporter(OnlyInThreads), dtype="int16", place="in-thread")
    assert (result.code, result.given) == (
        Code.SHAPE_CHANGED.value, "an array with an extent of 300, an exchange in another thread",
    )  # fmt: skip
