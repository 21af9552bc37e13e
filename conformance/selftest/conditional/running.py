"""Run conditional faults in several processes: first the flawless run that measures the cases, then the trials."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from conformance import private
from conformance.checks.catalogue import Case
from conformance.signals import Stops

from .matching import is_point
from .trying import Candidate, Tried
from .worker import Lost, Worker

STOPPED = "the selftest was asked to stop"
_GROUP = 10
"""The number of candidates that a process gets at once."""
_GLANCE = 0.5


@dataclass
class Found:
    """The results: trials in the order of the candidates, failed cases of flawless partners, and lost parts."""

    tried: list[Tried] = field(default_factory=list)
    cases: int = 0
    accused: list[tuple[str, str]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def run(
    cases: Sequence[Case],
    library: str,
    streams: Sequence[tuple[Iterator[Candidate], int | None]],
    processes: int,
    progress: Callable[[int, int | None], None],
    stops: Stops,
) -> Found:
    """Try candidates of each stream, all of ``library``, until the given number of them shows. ``None`` means all candidates."""
    found = Found()
    with private.folder() as folder:
        workers = [Worker(str(folder)) for _ in range(processes)]
        try:
            _measure(workers, cases, library, Path(str(folder)), found)
            counts = [wanted for _, wanted in streams]
            planned = None if None in counts else sum(count or 0 for count in counts)
            for candidates, wanted in () if found.lost else streams:
                before = sum(bool(one.witness) for one in found.tried)
                _try(workers, candidates, wanted, found, lambda done: progress(before + done, planned), stops)  # noqa: B023
        except Lost as lost:
            found.lost.append(str(lost))
        finally:
            for worker in workers:
                worker.end()
    return found


def _measure(workers: Sequence[Worker], cases: Sequence[Case], library: str, folder: Path, found: Found) -> None:
    """Measure a share of the cases in each process, then give all of them the result. Points need no measurement."""
    points = [case for case in cases if is_point(case)]
    cases = [case for case in cases if not is_point(case)]
    parts = [folder / f"reach-{number}" for number in range(len(workers))]
    shares = [cases[number :: len(workers)] for number in range(len(workers))]
    with ThreadPoolExecutor(len(workers)) as pool:
        for answer in pool.map(lambda one: one[0].measure(one[1], library, one[2]), zip(workers, shares, parts)):
            found.lost += [answer["lost"]] if "lost" in answer else []
            found.accused += [(case, said) for case, said in answer.get("accused", ())]
            found.cases += 2 * answer.get("cases", 0)
        if not found.lost:
            list(pool.map(lambda worker: worker.load(parts, points), workers))


def _try(
    workers: Sequence[Worker],
    candidates: Iterator[Candidate],
    wanted: int | None,
    found: Found,
    progress: Callable[[int], None],
    stops: Stops,
) -> None:
    """Try groups of candidates. A run that is stopped, or that loses a process, keeps every finished group."""
    idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    for worker in workers:
        idle.put(worker)
    local = threading.local()

    def work(group: list[str]) -> list[Tried]:
        if not hasattr(local, "worker"):
            local.worker = idle.get()
        answer: list[Tried] = local.worker.tried(group)
        return answer

    done: dict[int, list[Tried]] = {}
    shown = begun = ended = 0

    def keep(group: list[Tried]) -> None:
        nonlocal shown
        for one in group:
            if wanted is None or shown < wanted:
                found.tried.append(one)
                shown += bool(one.witness)

    running: dict[Future[list[Tried]], int] = {}
    try:
        with ThreadPoolExecutor(len(workers)) as pool:
            while wanted is None or shown < wanted:
                while len(running) < 2 * len(workers) and stops.number is None:
                    group = [candidate.name for candidate in islice(candidates, _GROUP)]
                    if not group:
                        break
                    running[pool.submit(work, group)] = begun
                    begun += 1
                if not running:
                    found.lost += [STOPPED] if stops.number is not None else []
                    break
                for future in wait(running, _GLANCE, FIRST_COMPLETED).done:
                    done[running[future]] = future.result()
                    del running[future]
                while ended in done:
                    keep(done.pop(ended))
                    ended += 1
                progress(shown)
                if stops.number is not None:
                    found.lost.append(STOPPED)
                    for worker in workers:
                        worker.end()
                    break
            pool.shutdown(cancel_futures=True)
    finally:
        done |= {number: future.result() for future, number in running.items() if _has_ended(future)}
        for number in sorted(done):
            keep(done[number])


def _has_ended(future: Future[list[Tried]]) -> bool:
    """Return ``True`` if the group was tried to the end."""
    return future.done() and not future.cancelled() and future.exception() is None
