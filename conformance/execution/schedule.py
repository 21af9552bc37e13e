"""The order in which jobs are handed out. Pure, apart from the jobs that it has already given away.

Jobs are mixed by a seed, so no case can come to depend on the one before it. The order follows from the ids and the seed alone, so it is the
same everywhere.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from conformance.suite.catalogue import Case, Isolation, Tier, catalogue

from .jobs import Job
from .results import BAD, Result

_SHARE = 3
"""One of so many processes runs jobs that start processes, while there are others. Each start costs the driver and the processors seconds."""
_MOST_DEATHS = 2
"""Deaths of cases of one exchange in shared processes, after which its other cases run with the risky ones."""


@dataclass(frozen=True)
class Stage:
    """A part of a run: its tier, and whether its cases must have the GPU to themselves."""

    tier: Tier
    exclusive: bool


STAGES = tuple(Stage(tier, exclusive) for tier in (Tier.QUICK, Tier.FULL) for exclusive in (False, True))
"""In their order: a run that is stopped early has a result for every pair and family."""

FIRST_FULL = Stage(Tier.FULL, exclusive=False)
"""The first stage after the quick tier."""


def cases_of(stage: Stage, left: Iterable[Case]) -> list[Case]:
    """Return the cases that belong to a stage. Canaries belong to the full tier: they test the run, and some take long."""
    known = catalogue()
    return [
        case
        for case in left
        if known[case.invariant].exclusive is stage.exclusive
        and (Tier.FULL if known[case.invariant].canary else case.tier) is stage.tier
    ]


class Deadly:
    """Exchanges whose cases keep ending their shared process.

    Each such death costs the company of other cases a new process, so the rest of these exchanges runs with the risky cases.
    """

    def __init__(self) -> None:
        self._deaths: Counter[tuple[str, ...]] = Counter()

    def note(self, result: Result, isolation: Isolation) -> None:
        """Count the death of a case in a shared process. A death in another process ends no company."""
        if result.outcome in BAD and isolation is Isolation.SHARED:
            self._deaths[_exchange(result.case)] += 1

    def moved(self, job: Job) -> Job:
        """Return the job, with the risky cases if its exchange has ended too many processes."""
        is_moved = job.isolation is Isolation.SHARED and self._deaths[_exchange(job.case)] >= _MOST_DEATHS
        return replace(job, isolation=Isolation.RISKY) if is_moved else job


def _exchange(case: Case) -> tuple[str, ...]:
    return (*case.libraries, case.protocol, case.device.value)


class Schedule:
    """The jobs of a stage that are left, in batches. ``processes`` is the number of processes that run jobs at the same time.

    Jobs of one company are a batch; each other job is a batch of its own. ``moved`` may change a job at the moment at which it is given away. Of ``exclusive`` jobs only those for fresh interpreters run side by side: they
    import libraries until it is their turn on the GPU.
    """

    def __init__(
        self, jobs: Iterable[Job], seed: str, processes: int, moved: Callable[[Job], Job] = lambda job: job,
        *, exclusive: bool = False,
    ) -> None:  # fmt: skip
        self._moved = moved
        self.is_exclusive = exclusive
        batches = _batches(sorted(jobs, key=lambda job: place(seed, job.case.id)))
        self._starting = deque(batch for batch in batches if _starts(batch[0], exclusive=exclusive))
        self._ordinary = deque(batch for batch in batches if not _starts(batch[0], exclusive=exclusive))
        self._most = processes if exclusive else max(1, processes // _SHARE)

    @property
    def is_empty(self) -> bool:
        """Whether all jobs have been given away."""
        return not self._starting and not self._ordinary

    def all(self) -> list[Job]:
        """Give away all jobs that are left."""
        given = [self._moved(job) for batch in (*self._starting, *self._ordinary) for job in batch]
        self._starting.clear()
        self._ordinary.clear()
        return given

    def next(self, starting: int, *, alone: bool = False) -> Sequence[Job]:
        """Give away a batch for one process, empty if there is none. ``starting`` is the number of running jobs that start processes.

        ``alone`` is for the one process that runs exclusive jobs one after the other.
        """
        if alone:
            queue = self._ordinary or self._starting
        elif self.is_exclusive:
            queue = self._starting
        else:
            queue = self._starting if self._starting and starting < self._most else self._ordinary or self._starting
        return [self._moved(job) for job in queue.popleft()] if queue else ()


def _batches(jobs: Iterable[Job]) -> list[list[Job]]:
    """Return the jobs of each company together, at the place of the first, and each other job by itself."""
    found: list[list[Job]] = []
    companies: dict[str, list[Job]] = {}
    for job in jobs:
        if job.company in companies:
            companies[job.company].append(job)
            continue
        found.append([job])
        if job.company:
            companies[job.company] = found[-1]
    return found


def _starts(job: Job, *, exclusive: bool) -> bool:
    """Whether a job starts processes. A child that is forked needs its turn on the GPU at once, so only fresh interpreters gain from others."""
    return job.isolation is Isolation.FRESH if exclusive else job.starts_processes


def place(seed: str, id: str) -> bytes:
    """Return a key that mixes cases: it follows from the seed and the id alone."""
    return hashlib.sha256((seed + id).encode(errors="surrogateescape")).digest()
