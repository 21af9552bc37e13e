"""The order in which jobs are handed out. Pure, apart from the jobs that it has already given away.

Jobs are mixed by a seed, so no case can come to depend on the one before it. The order follows from the ids and the seed alone, so it is the
same everywhere.
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
"""Deaths of cases of one exchange in shared processes, after which its other cases run with the risky ones."""


class Use(Enum):
    """The GPU as a stage uses it."""

    SHARED = "shared"
    """Many processes use it."""
    EXCLUSIVE = "exclusive"
    """One case at a time uses it."""
    NONE = "none"
    """The cases are on host memory, and start no processes."""


@dataclass(frozen=True)
class Stage:
    """A part of a run: its tiers, and how its cases use the GPU."""

    tiers: tuple[Tier, ...]
    uses: tuple[Use, ...]

    @property
    def is_exclusive(self) -> bool:
        """Whether its cases run one after the other."""
        return Use.EXCLUSIVE in self.uses

    def has(self, case: Case) -> bool:
        """Return whether a case belongs to the stage. Canaries belong to the full tier: they test the run, and some take long."""
        invariant = catalogue()[case.invariant]
        tier = Tier.FULL if invariant.canary else case.tier
        return tier in self.tiers and _use(case) in self.uses


STAGES = tuple(Stage((tier,), (use,)) for tier in (Tier.QUICK, Tier.FULL) for use in Use)
"""In their order: a run that is stopped early has a result for every pair and family.

Cases on host memory are last in their tier, because they also run in processes that have nothing to do in the stages before (:func:`fillers_of`).
"""
FIRST_FULL = Stage((Tier.FULL,), (Use.SHARED,))
"""The first stage after the quick tier."""
REPEATS = (Stage(tuple(Tier), (Use.SHARED, Use.NONE)), Stage(tuple(Tier), (Use.EXCLUSIVE,)))
"""The stages in which failures are repeated. Each stage ends with a wait for its last case, so there are few."""


def cases_of(stage: Stage, left: Iterable[Case]) -> list[Case]:
    """Return the cases that belong to a stage."""
    return [case for case in left if stage.has(case)]


def fillers_of(stage: Stage, left: Iterable[Case]) -> list[Case]:
    """Return the cases on host memory that may run beside a stage, in processes that would wait for it, also those of a later tier.

    A long case of a later tier would keep the stage from ending.
    """
    if Use.NONE in stage.uses:
        return []
    known = catalogue()
    own, later = Stage(stage.tiers, (Use.NONE,)), Stage((Tier.FULL,), (Use.NONE,))
    return [case for case in left if own.has(case) or (later.has(case) and not known[case.invariant].long)]


def _use(case: Case) -> Use:
    """Return the use of the GPU. A case that starts processes belongs to those on the GPU, which also wait for starts."""
    invariant = catalogue()[case.invariant]
    if invariant.exclusive:
        return Use.EXCLUSIVE
    is_light = case.device is Device.HOST and not invariant.isolation.starts_processes
    return Use.NONE if is_light else Use.SHARED


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


class Kind(Enum):
    """Jobs by what they need besides the time of their process."""

    ORDINARY = "ordinary"
    LONG = "long"
    """They mostly wait, or make thousands of exchanges."""
    RISKY = "risky"
    """They may end their process, and the next one needs a start."""
    STARTING = "starting"
    """They start processes."""


_SHARES = {Kind.STARTING: 2, Kind.LONG: 4, Kind.RISKY: 4}
"""One of so many processes runs jobs of this kind, while there are others. Each start costs the driver and the processors seconds."""


class Schedule:
    """The jobs of a stage that are left, in batches. ``processes`` is the number of processes that run jobs at the same time.

    Jobs of one company are a batch; each other job is a batch of its own. ``moved`` may change a job at the moment at which it is given away.
    Of ``exclusive`` jobs only those for fresh interpreters run side by side: they import libraries until it is their turn on the GPU.
    ``fillers`` are for processes that would only wait for the end of the stage, those of the quick tier first. Those that are left then belong
    to a later stage.
    """

    def __init__(
        self, jobs: Iterable[Job], seed: str, processes: int, moved: Callable[[Job], Job] = lambda job: job,
        *, exclusive: bool = False, fillers: Iterable[Job] = (),
    ) -> None:  # fmt: skip
        self._moved = moved
        self.is_exclusive = exclusive
        batches = _batches(sorted(_mixed(fillers, seed), key=lambda job: job.case.tier is Tier.FULL))
        self._fillers = deque(batch for batch in batches if not (exclusive and batch[0].starts_processes))
        """Beside exclusive jobs none that starts processes: an import may use the GPU."""
        self.most_filling = max(1, processes // 2) if exclusive else processes
        """Number of processes that may run fillers at a time: exclusive jobs need processors, too."""
        mixed = _mixed(jobs, seed)
        self._queues: dict[Kind, deque[list[Job]]] = {kind: deque() for kind in Kind}
        for batch in _batches(mixed):
            self._queues[_kind(batch[0], exclusive=exclusive)].append(batch)
        self._most = {kind: max(1, processes // share) for kind, share in _SHARES.items()}

    @property
    def is_empty(self) -> bool:
        """Whether all jobs have been given away."""
        return not any(self._queues.values())

    def all(self) -> list[Job]:
        """Give away all jobs that are left."""
        given = [self._moved(job) for queue in self._queues.values() for batch in queue for job in batch]
        for queue in self._queues.values():
            queue.clear()
        return given

    def next(self, running: Mapping[Kind, int], *, alone: bool = False) -> tuple[Kind, Sequence[Job]]:
        """Give away a batch for one process, empty if there is none. ``running`` counts the running jobs.

        ``alone`` is for the one process that runs exclusive jobs one after the other.
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
                self._queues[Kind.RISKY].append(batch)  # it is among them since an earlier case has ended its process
        return Kind.ORDINARY, ()

    def filler(self) -> Sequence[Job]:
        """Give away a batch for a process that has nothing else to do, empty if there is none."""
        return [self._moved(job) for job in self._fillers.popleft()] if self._fillers else ()


def _mixed(jobs: Iterable[Job], seed: str) -> list[Job]:
    """Mix the jobs. Long ones come first, so that none of them is left for the end."""
    known = catalogue()
    return sorted(jobs, key=lambda job: (not known[job.case.invariant].long, place(seed, job.case.id)))


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


def _kind(job: Job, *, exclusive: bool) -> Kind:
    """Return the kind of a job. A child that is forked needs its turn on the GPU at once, so only fresh interpreters gain from other exclusive jobs."""
    if job.isolation is Isolation.FRESH if exclusive else job.starts_processes:
        return Kind.STARTING
    if catalogue()[job.case.invariant].long:
        return Kind.LONG
    return Kind.RISKY if job.isolation is Isolation.RISKY else Kind.ORDINARY


def place(seed: str, id: str) -> bytes:
    """Return a key that mixes cases: it follows from the seed and the id alone."""
    return hashlib.sha256((seed + id).encode(errors="surrogateescape")).digest()
