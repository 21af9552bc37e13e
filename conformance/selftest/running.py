"""Run the faults of all stages in several processes, and collect the trials."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from enum import Enum, auto

from conformance import private
from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.libraries import Environment
from conformance.signals import Stops

from . import trials
from .model import Fault, Stage
from .trials import Trial
from .worker import STOPPED, Job, Worker

_PIECE = 400
"""The number of flawless cases in a job, so that they spread over the processes."""
_LONG = frozenset({"lifetime.nothing-left", "lifetime.import-after-thousands", "lifetime.export-after-thousands"})
"""Invariants with thousands of exchanges. They run with flawless partners, and with the faults that they must catch."""
_GLANCE = 0.5
"""The interval in seconds at which a request to stop is checked."""


class Width(Enum):
    """The invariants that each fault is tried on."""

    NAMED = auto()
    """The invariants that must catch the fault."""
    FAMILIES = auto()
    """The invariants of the same families."""
    ALL = auto()


def jobs(chosen: Sequence[Stage], environment: Environment, *, wanted: Sequence[str], width: Width) -> Iterator[Job]:
    """Return the jobs of a selftest. ``wanted`` are names of faults, stages or families."""
    for stage in chosen:
        cases = tuple(stage.cases(environment))
        faults = [fault for fault in stage.faults if is_wanted(fault, stage, wanted)]
        families = frozenset().union(*(fault.families for fault in faults)) if wanted else None
        flawless = _of(cases, families)
        for start in range(0, len(flawless), _PIECE):
            yield Job(stage.name, trials.FLAWLESS, flawless[start : start + _PIECE])
        for fault in faults:
            yield Job(stage.name, fault.name, _for(fault, cases, width))


def is_wanted(fault: Fault, stage: Stage, wanted: Sequence[str]) -> bool:
    """Return ``True`` if a name selects the fault: its own name, its stage or one of its families. No names select all faults."""
    return not wanted or fault.name in wanted or stage.name in wanted or bool(fault.families & set(wanted))


def _for(fault: Fault, cases: tuple[Case, ...], width: Width) -> tuple[Case, ...]:
    """Return the cases that a fault is tried on."""
    if width is Width.ALL:
        return cases
    if width is Width.NAMED:
        return tuple(case for case in cases if case.invariant in fault.caught_by)
    left_out = _LONG.difference(fault.caught_by)
    return tuple(case for case in _of(cases, fault.families) if case.invariant not in left_out)


def _of(cases: tuple[Case, ...], families: frozenset[str] | None) -> tuple[Case, ...]:
    return tuple(case for case in cases if families is None or case.invariant.partition(".")[0] in families)


def run(
    planned: Sequence[Job], processes: int, progress: Callable[[int, int], None], stops: Stops
) -> tuple[list[Trial], list[tuple[Job, str]]]:
    """Return the trials of all jobs, and the jobs without a result with the reason. After a request to stop, all remaining jobs have none.

    On a GPU, cases that check order need it exclusively. They run last, in one process after the other.
    """
    together, alone = split(planned)
    found: list[Trial] = []
    lost: list[tuple[Job, str]] = []
    total, done = len(together) + len(alone), 0
    with private.folder() as folder:
        for part, at_once in ((together, processes), (alone, 1)):
            for job, result in _finished(part, at_once, stops, str(folder)):
                done += 1
                progress(done, total)
                if isinstance(result, str):
                    lost.append((job, result))
                else:
                    found += result
    return found, lost


def split(planned: Sequence[Job]) -> tuple[list[Job], list[Job]]:
    """Split each job into the cases that can share a GPU with others, and those that cannot."""
    together, alone = [], []
    for job in planned:
        exclusive = tuple(case for case in job.cases if _is_exclusive(case))
        shared = tuple(case for case in job.cases if not _is_exclusive(case))
        together += [Job(job.stage, job.fault, shared)] if shared else []
        alone += [Job(job.stage, job.fault, exclusive)] if exclusive else []
    return together, alone


def _is_exclusive(case: Case) -> bool:
    return case.device is Device.CUDA and catalogue()[case.invariant].exclusive


def _finished(
    planned: Sequence[Job], processes: int, stops: Stops, folder: str
) -> Iterator[tuple[Job, list[Trial] | str]]:
    """Yield each job as it ends. One thread for each process waits for its results."""
    local = threading.local()
    workers: list[Worker] = []

    def work(job: Job) -> list[Trial] | str:
        if not hasattr(local, "worker"):
            local.worker = Worker(folder)
            workers.append(local.worker)
        answer: list[Trial] | str = STOPPED if stops.number is not None else local.worker.run(job)
        return answer

    with ThreadPoolExecutor(min(processes, len(planned)) or 1) as pool:
        running = {pool.submit(work, job): job for job in planned}
        try:
            while running:
                for future in wait(running, _GLANCE, FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
                if stops.number is not None:
                    for worker in workers:
                        worker.end()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.end()
