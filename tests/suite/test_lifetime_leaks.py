"""Memory that stays behind after many exchanges: a leak shows by its growth, and a cache is no leak."""

from __future__ import annotations

import ctypes
from typing import Any, ClassVar

import pytest

from conformance import faults
from conformance.adapters.base import Device
from conformance.checks import heap, leaks
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.codes import Code
from conformance.checks.outcomes import Outcome
from conformance.execution.results import Result
from conformance.execution.workbench import Workbench
from conformance.faults import Fault
from conformance.reference.exporter import Exporter
from conformance.reference.managed import Fields

from .conftest import broken

LEFT = "lifetime.nothing-left"


def run(fault: Fault, *parameters: tuple[str, str], invariant: str = LEFT) -> Result:
    """The case with these parameters, the reference with this fault on both sides."""
    case = Case(invariant, "reference", "reference", "dlpack", Device.HOST, parameters)
    return Workbench({"reference": broken(fault)}).run(case, catalogue()[invariant])


# -- the count


def test_the_c_heap_is_counted() -> None:
    """A block counts from ``malloc`` to ``free``, with the few bytes that the allocator adds."""
    if heap.counter() is None:
        pytest.skip("this C library counts nothing")
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)
    before = heap.held()
    block = libc.malloc(1 << 20)
    grown = heap.held().since(before).heap
    libc.free(block)
    left = heap.held().since(before).heap
    assert grown is not None
    assert left is not None
    assert grown - left >= 1 << 20


@pytest.mark.parametrize(("before", "after", "grown"), [(2**31 - 8, -(2**31) + 8, 16), (-8, 8, 16), (100, 50, -50)])
def test_a_count_of_32_bits_may_wrap(before: int, after: int, grown: int) -> None:
    """The older ``mallinfo`` has ``int`` fields."""
    assert heap.Held(after, 0).since(heap.Held(before, 0)).heap == grown


def test_where_nothing_counts_the_heap_the_case_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no pass; the blocks of Python's own allocator still count."""
    monkeypatch.setattr(heap, "counter", lambda: None)
    result = run(Fault("flawless", "none", ()), ("by", "own"))
    assert (result.outcome, result.reason) == (
        Outcome.INCONCLUSIVE,
        "not run: the suite cannot count the bytes in use of the C heap here",
    )
    assert run(faults.all_faults()["lifetime.CopiesKept"], ("by", "copy")).code == Code.MEMORY_LEAKED.value


# -- leaks and caches


@pytest.mark.parametrize(
    ("name", "by", "given"),
    [
        ("HeapLostByExports", "own", ""),
        ("HeapLostByRefusals", "refused-import", "an import that is refused"),
        ("CopiesKept", "copy", "`copy=True`"),
    ],
)
def test_a_leak_names_its_path(name: str, by: str, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another path does not show it."""
    if heap.counter() is None and name != "CopiesKept":
        pytest.skip("this C library counts nothing")
    monkeypatch.setattr(leaks, "LONG_ROUND", 128)
    fault = faults.all_faults()[f"lifetime.{name}"]
    result = run(fault, ("by", by))
    assert (result.outcome, result.code, result.given) == (Outcome.FAIL, Code.MEMORY_LEAKED.value, given)
    assert run(fault, ("by", "refused-export")).code == ""


class Remembers(Exporter):
    """Remembers the newest exports, as a cache does."""

    room: ClassVar[int] = 700
    cache: ClassVar[list[Any]] = []

    def export(self, fields: Fields, owner: Any) -> Any:
        self.cache.append(bytearray(100))
        del self.cache[: -self.room]
        return super().export(fields, owner)


def test_a_cache_that_fills_is_no_leak() -> None:
    """It grows in the first rounds, and then no more."""
    assert run(Fault("remembers", "remembers", (), exporter=Remembers), ("by", "own")).code == ""


class FreesOften(Exporter):
    """Leaks, and releases a large object in between."""

    kept: ClassVar[list[Any]] = []
    large: ClassVar[list[Any]] = [bytearray(1 << 20)]

    def export(self, fields: Fields, owner: Any) -> Any:
        self.kept.append(bytearray(100))
        if len(self.kept) == 60:
            self.large.clear()
        return super().export(fields, owner)


def test_one_round_without_growth_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another object may have been freed in it."""
    monkeypatch.setattr(leaks, "LONG_ROUND", 128)
    assert run(Fault("frees", "leaks", (), exporter=FreesOften), ("by", "own")).code == Code.MEMORY_LEAKED.value


@pytest.mark.parametrize(
    ("invariant", "name"),
    [
        ("lifetime.import-after-thousands", "ImportsKeptAfterThousands"),
        ("lifetime.export-after-thousands", "ExportsKeptAfterThousands"),
    ],
)
def test_a_release_that_is_lost_after_thousands_is_a_finding_of_its_own(invariant: str, name: str) -> None:
    """A library that releases nothing at all is another finding."""
    result = run(faults.all_faults()[f"lifetime.{name}"], invariant=invariant)
    assert (result.outcome, result.code) == (Outcome.FAIL, Code.NOT_RELEASED.value)
    assert result.given.endswith(" after thousands of others")
