"""Immediate repeat and trials of a case: whether its failure shows alone, and the accused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, Isolation
from conformance.checks.outcomes import Outcome, Side
from conformance.execution.results import Result, Where
from conformance.protocols.clauses import Level, Role
from conformance.pytest_plugin.judgements import Judge
from conformance.pytest_plugin.monitor_client import Answer


def case(producer: str, consumer: str, layout: str = "c-order") -> Case:
    """A case of an ordinary invariant."""
    parameters = (("layout", layout), ("dtype", "float32"))
    return Case("pointer.values", producer, consumer, "dlpack", Device.HOST, parameters)


def passed(of: Case) -> Result:
    """A pass."""
    return Result(of, Outcome.PASS, Level.MUST)


def failed(of: Case) -> Result:
    """A failure that says nothing of the side at fault."""
    return Result(
        of, Outcome.FAIL, Level.MUST, code="values-differ", clause="DLP-58", role=Role.CONSUMER, reason="other elements"
    )


class Monitor:
    """A monitor that fails the cases with these ids: ``shared`` in a shared process, ``alone`` in a separate one."""

    def __init__(self, shared: Iterable[Case] = (), alone: Iterable[Case] = ()) -> None:
        self.asked: list[tuple[str, Isolation]] = []
        self._shared = {one.id for one in shared}
        self._alone = {one.id for one in alone}

    def ask(self, of: Case, isolation: Isolation) -> Answer:
        """As ``Monitors.ask``."""
        before = tuple(id for id, how in self.asked if how is Isolation.SHARED)
        self.asked.append((of.id, isolation))
        bad = self._shared if isolation is Isolation.SHARED else self._alone
        return Answer(failed(of) if of.id in bad else passed(of), 1, before)

    def times(self, of: Case, isolation: Isolation) -> int:
        """Return the number of runs of a case."""
        return self.asked.count((of.id, isolation))


def judge(monitor: Monitor, *plan: Case) -> Judge:
    """A judge with this plan."""
    return Judge(monitor.ask, {one.id: one for one in plan})


def test_a_failure_in_company_has_to_show_alone() -> None:
    """It does: it stands, with both tries."""
    one = case("reference", "numpy")
    monitor = Monitor([one], [one])
    told = judge(monitor, one).judged(one).result
    assert (told.outcome, [try_.where for try_ in told.attempts]) == (Outcome.FAIL, [Where.SHARED, Where.ALONE])


def test_a_failure_that_does_not_show_alone_is_not_decided() -> None:
    """It accuses no library, and the result names the cases before it."""
    first, one = case("numpy", "reference"), case("reference", "numpy")
    monitor = Monitor([one])
    ours = judge(monitor, first, one)
    ours.judged(first)
    told = ours.judged(one).result
    assert (told.outcome, told.accused) == (Outcome.INCONCLUSIVE, None)
    assert told.attempts[0].after == (first.id,)


def test_one_failure_of_a_kind_is_repeated_once_it_has_shown_alone() -> None:
    """The others of the kind stand as they are, as in a run of ``check``."""
    one, other = case("reference", "numpy"), case("reference", "numpy", "rows")
    monitor = Monitor([one, other], [one, other])
    ours = judge(monitor, one, other)
    assert [ours.judged(each).result.outcome for each in (one, other)] == [Outcome.FAIL, Outcome.FAIL]
    assert (monitor.times(one, Isolation.CHILD), monitor.times(other, Isolation.CHILD)) == (1, 0)


def test_every_failure_of_a_kind_is_repeated_where_the_first_has_not_shown_alone() -> None:
    """Each has to show by itself."""
    one, other = case("reference", "numpy"), case("reference", "numpy", "rows")
    monitor = Monitor([one, other], [other])
    ours = judge(monitor, one, other)
    assert [ours.judged(each).result.outcome for each in (one, other)] == [Outcome.INCONCLUSIVE, Outcome.FAIL]


def test_each_side_is_tried_with_the_reference_where_two_libraries_meet() -> None:
    """The trial that fails alike accuses its library. A trial that was run is not run again when its own turn comes."""
    both, consumer = case("numpy", "jax"), case("reference", "jax")
    monitor = Monitor([both, consumer], [both, consumer])
    ours = judge(monitor, both, consumer)
    told = ours.judged(both).result
    assert told.accused is not None
    assert (told.accused.side, told.accused.libraries) == (Side.CONSUMER, ("jax",))
    assert ours.judged(consumer).result.outcome is Outcome.FAIL
    assert monitor.times(consumer, Isolation.SHARED) == 1


def test_a_case_that_is_run_twice_is_run_twice() -> None:
    """By a plugin that repeats tests, for one."""
    one = case("reference", "numpy")
    monitor = Monitor()
    ours = judge(monitor, one)
    ours.judged(one)
    ours.judged(one)
    assert monitor.times(one, Isolation.SHARED) == 2


def test_a_case_that_ended_the_process_of_a_later_one_is_told_with_it() -> None:
    """Its own result was already reported, so it cannot change any more."""
    one, other = case("reference", "numpy"), case("reference", "numpy", "rows")
    crashed = replace(passed(one), outcome=Outcome.CRASH, code="crash", role=Role.CONSUMER)
    ours = Judge(lambda of, isolation: Answer(passed(of), 1, (), (crashed,)), {})
    told = ours.judged(other)
    assert [culprit.case for culprit in told.culprits] == [one]
    assert told.culprits[0].accused is not None
