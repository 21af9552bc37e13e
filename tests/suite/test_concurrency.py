"""Threads that start together, and threads that have done nothing before."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from conformance.adapters.base import Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.concurrency import THREADS, elsewhere, together
from conformance.checks.exchange import Exchange, Partners
from conformance.checks.outcomes import Outcome, Side
from conformance.execution.workbench import Workbench
from conformance.faults import all_faults
from conformance.reference.importer import Importer
from conformance.suite import test_threads

from .conftest import broken


def test_each_thread_gives_its_result_or_its_exception_in_order() -> None:
    """Whatever one of them does, the others are heard."""

    def work(index: int) -> int:
        if index == 2:
            raise ValueError("two")
        return index * index

    results = together(work, 4)
    assert [type(r).__name__ if isinstance(r, BaseException) else r for r in results] == [0, 1, "ValueError", 9]


def test_all_threads_are_at_work_at_once() -> None:
    """None can finish before the last has begun."""
    gate = threading.Barrier(THREADS, timeout=30)
    assert not any(isinstance(r, BaseException) for r in together(lambda _: gate.wait()))


def test_elsewhere_is_another_thread_and_raises_here() -> None:
    """And the interpreter switches threads as before afterwards."""
    usual = sys.getswitchinterval()
    assert elsewhere(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        elsewhere(lambda: 1 // 0)
    assert sys.getswitchinterval() == usual


CASE = Case("threads.many-arrays", "reference", "reference", "dlpack", Device.HOST, (("build", "gil"),))


def test_what_other_threads_hand_over_does_not_show_in_an_exchange_of_ones_own() -> None:
    """Else a producer would be accused of what another thread's array was described as."""
    exchange = Exchange(CASE, Partners(lambda name: ReferenceAdapter()))
    first, second = exchange.source(seed=0), exchange.source(seed=1)
    own, other = exchange.apart(), exchange.apart()
    own.take(first)
    other.take(second)
    assert exchange.handed is None
    assert own.handed is not None
    assert other.handed is not None
    assert (own.handed.address, other.handed.address) == (first.address, second.address)


@pytest.mark.parametrize(("protocol", "clause"), [(Protocol.DLPACK, "DLP-58"), (Protocol.CAI, "CAI-32")])
def test_a_refusal_beside_other_threads_only_is_a_mistake_of_its_own(protocol: Protocol, clause: str) -> None:
    """The side that has refused is accused."""
    name = "threads.one-array"
    case = Case(name, "reference", "reference", protocol.value, Device.SIMULATED, (("build", "gil"),))
    adapter = broken(all_faults()["threads.OneImportAtATime"])
    result = Workbench({"reference": adapter}).run(case, catalogue()[name])
    assert (result.outcome, result.code, result.clause) == (Outcome.FAIL, "refused-beside-threads", clause)
    assert result.accused is not None
    assert result.accused.side is Side.CONSUMER


class ReleasesLater(Importer):
    """Releases when somebody has asked a few times, as a library's own thread does on a busy machine."""

    late: list[Any] = []

    def call_deleter(self, tensor: Any) -> None:
        self.late.append(lambda: super(ReleasesLater, self).call_deleter(tensor))


def test_who_releases_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """That nothing was released in a second says more of the machine than of the library."""
    asked: list[Any] = []

    def happens(event: Any) -> bool:
        asked.append(event)
        if len(asked) == test_threads._PATIENT:
            while ReleasesLater.late:
                ReleasesLater.late.pop()()
        return bool(event())

    monkeypatch.setattr(test_threads, "happens", happens)
    adapter = ReferenceAdapter()
    adapter.importer_class = ReleasesLater  # type: ignore[misc]
    name = "threads.release-elsewhere"
    case = Case(name, "reference", "reference", "dlpack", Device.HOST, (("build", "gil"),))
    result = Workbench({"reference": adapter}).run(case, catalogue()[name])
    assert result.outcome is Outcome.PASS, (result.reason, result.seen)
    assert len(asked) == test_threads._PATIENT
