"""Order of the jobs of a run.

A seed shuffles the jobs, so that no case can come to depend on the one before it. The order follows only from the ids and the seed, so it is
the same on every machine.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, Isolation, Tier, catalogue

from .jobs import Job
from .results import BAD, Result

_MOST_DEATHS = 2
"""Number of cases of one exchange that may lose a shared process before its other cases run with the risky ones."""


class Use(Enum):
    """Use of the GPU by a stage."""

    SHARED = "shared"
    """Many processes use the GPU at a time."""
    EXCLUSIVE = "exclusive"
    """One case at a time uses the GPU."""
    NONE = "none"
    """The cases use host memory, and start no processes."""


@dataclass(frozen=True)
class Stage:
    """A part of a run: the tiers and the GPU use of its cases."""

    tiers: tuple[Tier, ...]
    uses: tuple[Use, ...]

    @property
    def is_exclusive(self) -> bool:
        """Whether its cases run one at a time."""
        return Use.EXCLUSIVE in self.uses

    def has(self, case: Case) -> bool:
        """Return whether a case belongs to the stage. Canaries belong to the full tier: they test the run, and some take long."""
        invariant = catalogue()[case.invariant]
        tier = Tier.FULL if invariant.canary else case.tier
        return tier in self.tiers and _use(case) in self.uses


STAGES = tuple(Stage((tier,), (use,)) for tier in (Tier.QUICK, Tier.FULL) for use in Use)
"""All stages in order. So a run that is stopped early has a result for every pair and family.

Cases on host memory are last in their tier, because they also run in processes that are idle in the stages before (:func:`fillers_of`).
"""
FIRST_FULL = Stage((Tier.FULL,), (Use.SHARED,))
"""The first stage after the quick tier."""
REPEATS = (Stage(tuple(Tier), (Use.SHARED, Use.NONE)), Stage(tuple(Tier), (Use.EXCLUSIVE,)))
"""Stages for repeated failures. Each stage waits for its last case, so there are few stages."""


def cases_of(stage: Stage, left: Iterable[Case]) -> list[Case]:
    """Return the cases that belong to a stage."""
    return [case for case in left if stage.has(case)]


def fillers_of(stage: Stage, left: Iterable[Case]) -> list[Case]:
    """Return the cases on host memory that may run beside a stage, in processes that would be idle. They may belong to a later tier.

    Long cases of a later tier are left out: they would delay the end of the stage.
    """
    if Use.NONE in stage.uses:
        return []
    known = catalogue()
    own, later = Stage(stage.tiers, (Use.NONE,)), Stage((Tier.FULL,), (Use.NONE,))
    return [case for case in left if own.has(case) or (later.has(case) and not known[case.invariant].long)]


def _use(case: Case) -> Use:
    """Return the GPU use of a case. A case that starts processes runs in a stage on the GPU, because other cases there also wait for starts."""
    invariant = catalogue()[case.invariant]
    if invariant.exclusive:
        return Use.EXCLUSIVE
    is_light = case.device is Device.HOST and not invariant.isolation.starts_processes
    return Use.NONE if is_light else Use.SHARED


class Deadly:
    """Exchanges that repeatedly lose their shared process.

    Each loss costs the following cases a new process, so the other cases of these exchanges run with the risky ones.
    """

    def __init__(self) -> None:
        self._deaths: Counter[tuple[str, ...]] = Counter()

    def note(self, result: Result, isolation: Isolation) -> None:
        """Count the loss of a shared process. A loss in another kind of process costs no other case."""
        if result.outcome in BAD and isolation is Isolation.SHARED:
            self._deaths[_exchange(result.case)] += 1

    def moved(self, job: Job) -> Job:
        """Return the job. If its exchange has lost too many processes, the job is moved to the risky ones."""
        is_moved = job.isolation is Isolation.SHARED and self._deaths[_exchange(job.case)] >= _MOST_DEATHS
        return replace(job, isolation=Isolation.RISKY) if is_moved else job


def _exchange(case: Case) -> tuple[str, ...]:
    return (*case.libraries, case.protocol, case.device.value)


class Kind(Enum):
    """Kind of a job, by the resources that it needs besides its process."""

    ORDINARY = "ordinary"
    LONG = "long"
    """They mostly wait, or make thousands of exchanges."""
    RISKY = "risky"
    """They may lose their process, and the next one needs a start."""
    STARTING = "starting"
    """They need a new process, for a case or for a company."""


_SHARES = {Kind.STARTING: 2, Kind.LONG: 4, Kind.RISKY: 4}
"""Of this many processes, one runs jobs of the kind while other jobs exist. Each start takes the driver and the processors seconds."""


class Schedule:
    """Queue of the jobs of a stage, in batches. ``processes`` is the number of processes that run jobs at the same time.

    Jobs of one company form a batch; each other job is a batch by itself. ``moved`` may change a job when it is handed out. With ``exclusive``,
    only jobs in fresh interpreters run in parallel: they import libraries until their turn on the GPU. ``fillers`` are for processes that would
    only wait for the end of the stage. Those of the quick tier come first. Fillers that are not handed out belong to a later stage.
    """

    def __init__(
        self, jobs: Iterable[Job], seed: str, processes: int, moved: Callable[[Job], Job] = lambda job: job,
        *, exclusive: bool = False, fillers: Iterable[Job] = (),
    ) -> None:  # fmt: skip
        self._moved = moved
        self.is_exclusive = exclusive
        batches = _batches(sorted(_mixed(fillers, seed), key=lambda job: job.case.tier is Tier.FULL))
        self._fillers = deque(batch for batch in batches if not (exclusive and batch[0].starts_processes))
        """Batches of fillers. Those that start processes do not run beside exclusive jobs, because an import may use the GPU."""
        self.most_filling = max(1, processes // 2) if exclusive else processes
        """Maximum number of processes that run fillers at a time. Exclusive jobs need processors, too."""
        mixed = _mixed(jobs, seed)
        self._queues: dict[Kind, deque[list[Job]]] = {kind: deque() for kind in Kind}
        for batch in _batches(mixed):
            self._queues[_kind(batch[0], exclusive=exclusive)].append(batch)
        self._most = {kind: max(1, processes // share) for kind, share in _SHARES.items()}

    @property
    def is_empty(self) -> bool:
        """Whether all jobs are handed out."""
        return not any(self._queues.values())

    def all(self) -> list[Job]:
        """Hand out all jobs that are left."""
        given = [self._moved(job) for queue in self._queues.values() for batch in queue for job in batch]
        for queue in self._queues.values():
            queue.clear()
        return given

    def next(self, running: Mapping[Kind, int], *, alone: bool = False) -> tuple[Kind, Sequence[Job]]:
        """Hand out a batch for one process; empty if there is none. ``running`` counts the running jobs by kind.

        ``alone`` is for the one process that runs exclusive jobs one at a time.
        """
        if alone:
            order = [Kind.LONG, Kind.ORDINARY, Kind.RISKY, Kind.STARTING]
        elif self.is_exclusive:
            order = [Kind.STARTING]
        else:
            order = [kind for kind in _SHARES if running.get(kind, 0) < self._most[kind]] + [Kind.ORDINARY, *_SHARES]
        for kind in order:
            while self._queues[kind]:
                batch = [self._moved(job) for job in self._queues[kind].popleft()]
                if kind is not Kind.ORDINARY or batch[0].isolation is not Isolation.RISKY:
                    return kind, batch
                self._queues[Kind.RISKY].append(batch)  # its exchange lost a process since the jobs were queued
        return Kind.ORDINARY, ()

    def filler(self) -> Sequence[Job]:
        """Hand out a batch for an idle process; empty if there is none."""
        return [self._moved(job) for job in self._fillers.popleft()] if self._fillers else ()


def _mixed(jobs: Iterable[Job], seed: str) -> list[Job]:
    """Shuffle the jobs. Long ones come first, so that none of them starts at the end."""
    known = catalogue()
    return sorted(jobs, key=lambda job: (not known[job.case.invariant].long, place(seed, job.case.id)))


def _batches(jobs: Iterable[Job]) -> list[list[Job]]:
    """Return the batches: the jobs of each company together, at the place of its first job, and each other job by itself."""
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


def _kind(job: Job, *, exclusive: bool) -> Kind:
    """Return the kind of a job. Among exclusive jobs only fresh interpreters gain from parallel starts: a forked child needs the GPU at once."""
    if job.isolation is Isolation.FRESH if exclusive else job.starts_processes:
        return Kind.STARTING
    if catalogue()[job.case.invariant].long:
        return Kind.LONG
    return Kind.RISKY if job.isolation is Isolation.RISKY else Kind.ORDINARY


def place(seed: str, id: str) -> bytes:
    """Return a sort key that shuffles cases. It depends only on the seed and the id."""
    return hashlib.sha256((seed + id).encode(errors="surrogateescape")).digest()
