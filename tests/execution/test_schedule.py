"""Order of jobs: the most informative first, shuffled, and few starts of processes at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, Isolation, Tier
from conformance.checks.outcomes import Outcome
from conformance.execution.jobs import Job
from conformance.execution.results import Result
from conformance.execution.schedule import (
    FIRST_FULL,
    REPEATS,
    STAGES,
    Deadly,
    Kind,
    Schedule,
    Stage,
    Use,
    cases_of,
    fillers_of,
)
from conformance.protocols.clauses import Level

QUICK = Case("pointer.same-address", "one", "two", "dlpack", Device.HOST, tier=Tier.QUICK)
FULL = replace(QUICK, tier=Tier.FULL)
ALONE = replace(QUICK, invariant="ordering.handover", device=Device.CUDA)
FRESH = replace(FULL, invariant="imports.rotation")
CANARY = replace(QUICK, invariant="canary.passes")


def jobs(many: int, isolation: Isolation = Isolation.SHARED) -> list[Job]:
    """Jobs of different cases."""
    name = isolation.value
    return [Job(replace(QUICK, parameters=(("layout", f"{name}{n}"),)), isolation) for n in range(many)]


def given(schedule: Schedule, *, alone: bool = False, **running: int) -> list[Job]:
    """Return the jobs that one process gets while so many jobs of each kind run."""
    return list(schedule.next({Kind(kind): many for kind, many in running.items()}, alone=alone)[1])


def all_of(schedule: Schedule, *, alone: bool = False, **running: int) -> list[Job]:
    """Everything that a schedule gives to one process."""
    found = []
    while batch := given(schedule, alone=alone, **running):
        found += batch
    return found


def test_each_case_belongs_to_one_stage_and_the_quick_ones_come_first() -> None:
    """In each tier exclusive cases follow those that share the GPU, and cases on host memory follow these. Canaries are for the full tier."""
    shared = replace(QUICK, device=Device.CUDA)
    cases = [FULL, CANARY, replace(ALONE, tier=Tier.FULL), ALONE, QUICK, shared, replace(shared, tier=Tier.FULL)]
    assert [cases_of(stage, cases) for stage in STAGES] == [
        [shared],
        [ALONE],
        [QUICK],
        [replace(shared, tier=Tier.FULL)],
        [replace(ALONE, tier=Tier.FULL)],
        [FULL, CANARY],
    ]
    assert STAGES[0] == Stage((Tier.QUICK,), (Use.SHARED,))


def test_a_case_that_starts_processes_runs_beside_those_on_a_gpu() -> None:
    """On host memory, too: it waits for starts, so it begins early."""
    assert cases_of(FIRST_FULL, [FRESH]) == [FRESH]


def test_failures_are_repeated_in_two_stages() -> None:
    """Both stages have cases of every tier."""
    cases = [FULL, ALONE, QUICK, replace(QUICK, device=Device.CUDA)]
    assert [cases_of(stage, cases) for stage in REPEATS] == [[FULL, QUICK, cases[3]], [ALONE]]


def test_cases_on_host_memory_may_run_beside_the_stages_of_their_tier_and_of_the_one_before() -> None:
    """They use no GPU, so they disturb no exclusive case. A long one of the full tier would keep the quick tier from ending."""
    long = replace(FULL, invariant="threads.chain")
    cases = [QUICK, FULL, ALONE, long]
    own = [FULL, long]
    assert [fillers_of(stage, cases) for stage in STAGES] == [[QUICK, FULL], [QUICK, FULL], [], own, own, []]


def test_fillers_of_the_quick_tier_are_first() -> None:
    """The run shows a table once the quick tier has ended."""
    fillers = [
        Job(replace(QUICK, tier=tier, parameters=(("n", f"{n}"),)), Isolation.SHARED) for n in range(9) for tier in Tier
    ]
    schedule = Schedule((), "", 2, fillers=fillers)
    assert [schedule.filler()[0].case.tier for _ in fillers] == [Tier.QUICK] * 9 + [Tier.FULL] * 9


def on_gpu(some: list[Job]) -> list[Job]:
    """These jobs, with cases on a GPU."""
    return [replace(job, case=replace(job.case, device=Device.CUDA)) for job in some]


def test_a_job_that_has_become_risky_runs_with_the_risky_ones() -> None:
    """Each of its crashes costs a start, and few processes at a time run such jobs."""
    some = on_gpu(jobs(9))
    deadly = Deadly()
    for _ in range(2):
        deadly.note(died(some[0].case), Isolation.SHARED)
    schedule = Schedule([*some, *jobs(1)], "", 16, deadly.moved)
    assert [job.isolation for job in given(schedule)] == [Isolation.SHARED]
    assert [job.isolation for job in given(schedule)] == [Isolation.RISKY]
    assert len(all_of(schedule)) == 8


def test_when_no_ordinary_job_is_left_all_processes_run_the_others() -> None:
    """However many run already."""
    schedule = Schedule(on_gpu(jobs(3, Isolation.RISKY)), "", 16)
    assert len(all_of(schedule, starting=5, risky=4)) == 3


def test_long_jobs_come_first() -> None:
    """A long job that begins last would keep all other processes waiting."""
    long = Job(replace(QUICK, invariant="threads.chain"), Isolation.SHARED)
    assert all_of(Schedule([*jobs(30), long], "", 2))[0] is long


def test_fillers_are_given_apart_and_the_stage_does_not_wait_for_them() -> None:
    """The processor time of exclusive jobs is not taken away, nor are their turns on the GPU."""
    fillers = [*jobs(4), *jobs(2, Isolation.FRESH)]
    schedule, exclusive = (Schedule((), "", 6, exclusive=alone, fillers=fillers) for alone in (False, True))
    assert schedule.is_empty
    assert not given(schedule)
    assert (schedule.most_filling, exclusive.most_filling) == (6, 3)
    for some, many in ((schedule, 6), (exclusive, 4)):
        found: list[Job] = []
        while batch := some.filler():
            found += batch
        assert len(found) == many
    assert {job.isolation for job in fillers} == {Isolation.SHARED, Isolation.FRESH}


def test_the_order_follows_from_the_ids_and_the_seed() -> None:
    """Neighbours in the plan are alike, so that one could come to depend on the other."""
    some = jobs(50)
    first, again = (all_of(Schedule(each, "", 2)) for each in (some, some[::-1]))
    other = all_of(Schedule(some, "other", 2))
    assert first == again
    assert set(map(str, first)) == set(map(str, some)) == set(map(str, other))
    assert len({tuple(map(str, order)) for order in (some, first, other)}) == 3


@pytest.mark.parametrize(("processes", "most"), [(1, 1), (2, 1), (6, 3), (12, 6)])
def test_few_jobs_at_a_time_start_processes_while_there_are_others(processes: int, most: int) -> None:
    """They begin at once, so that none of them is left for the end."""
    schedule = Schedule([*jobs(9), *jobs(9, Isolation.FRESH)], "", processes)
    first = [job for starting in range(most + 1) for job in given(schedule, starting=starting)]
    assert [job.isolation for job in first] == [Isolation.FRESH] * most + [Isolation.SHARED]


def test_when_nothing_else_is_left_all_processes_start_others() -> None:
    """No process waits."""
    schedule = Schedule(jobs(9, Isolation.CHILD), "", 2)
    assert len(all_of(schedule, starting=2)) == 9
    assert schedule.is_empty


def test_exclusive_jobs_run_one_after_the_other_while_fresh_interpreters_import() -> None:
    """The other processes get nothing else; a forked child has nothing to do before its turn."""
    ordinary, forked, fresh = jobs(3), jobs(2, Isolation.CHILD), jobs(4, Isolation.FRESH)
    schedule = Schedule([*ordinary, *forked, *fresh], "", 3, exclusive=True)
    beside = [job for starting in (0, 1) for job in given(schedule, starting=starting)]
    alone = all_of(schedule, alone=True)
    assert {job.isolation for job in beside} == {Isolation.FRESH}
    assert [job.isolation for job in alone[5:]] == [Isolation.FRESH] * 2
    assert not given(schedule)


def test_jobs_of_a_company_are_given_to_one_process_together() -> None:
    """Nothing else may come between them, and they start a process."""
    first, second = ([replace(job, company=name) for job in jobs(6)[start::2]] for start, name in enumerate("ab"))
    schedule = Schedule([*first, *jobs(3, Isolation.RISKY), *second], "", 3)
    batches = [given(schedule) for _ in range(2)]
    assert sorted({job.company for job in batch}.pop() for batch in batches) == ["a", "b"]
    assert [len(batch) for batch in batches] == [3, 3]
    assert all(job.starts_processes for batch in batches for job in batch)
    assert len(all_of(schedule)) == 3


def died(case: Case) -> Result:
    """A case that has ended its process."""
    return Result(case, Outcome.CRASH, Level.MUST)


def test_an_exchange_that_keeps_ending_processes_runs_with_the_risky_cases() -> None:
    """From its second crash on; other exchanges stay."""
    deadly, (job, *_) = Deadly(), jobs(1)
    deadly.note(died(QUICK), Isolation.SHARED)
    assert deadly.moved(job) is job
    deadly.note(died(FULL), Isolation.SHARED)
    assert deadly.moved(job).isolation is Isolation.RISKY
    others = ({"producer": "three"}, {"consumer": "three"}, {"protocol": "cai"}, {"device": Device.CUDA})
    for change in others:
        other = replace(job, case=replace(job.case, **change))
        assert deadly.moved(other) is other


def test_passes_and_failures_move_nothing() -> None:
    """They cost no process."""
    deadly, (job, *_) = Deadly(), jobs(1)
    for outcome in (Outcome.PASS, Outcome.FAIL, Outcome.REFUSED) * 3:
        deadly.note(Result(QUICK, outcome, Level.MUST), Isolation.SHARED)
    assert deadly.moved(job) is job


@pytest.mark.parametrize("isolation", [Isolation.CHILD, Isolation.FRESH, Isolation.EXIT, Isolation.RISKY])
def test_only_ordinary_jobs_are_moved(isolation: Isolation) -> None:
    """Others have a process of their own, or are with the risky ones."""
    deadly, (job, *_) = Deadly(), jobs(1, isolation)
    for _ in range(3):
        deadly.note(died(QUICK), Isolation.SHARED)
    assert deadly.moved(job) is job


def test_deaths_in_processes_of_their_own_move_nothing() -> None:
    """Their crashes affect no other case."""
    deadly, (job, *_) = Deadly(), jobs(1)
    for isolation in (Isolation.RISKY, Isolation.CHILD, Isolation.EXIT) * 2:
        deadly.note(died(QUICK), isolation)
    assert deadly.moved(job) is job


def test_all_jobs_can_be_given_away_at_once() -> None:
    """To pytest, which hands them out itself."""
    some = [*jobs(3), *jobs(2, Isolation.FRESH)]
    schedule = Schedule(some, "", 2)
    assert sorted(map(str, schedule.all())) == sorted(map(str, some))
    assert schedule.is_empty
