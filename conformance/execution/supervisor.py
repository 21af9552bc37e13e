"""Supervisor of a run: it hands the cases of a plan to processes, monitors these processes, and keeps the ledger.

The supervisor loads no library and uses no CUDA. It alone writes the journal, so no other process can damage it, and only one process has to
handle a full disk.
"""

from __future__ import annotations

import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from conformance import files, private, temporary
from conformance.adapters.base import Device
from conformance.checks import deadline
from conformance.checks.catalogue import Case, Invariant, Isolation, catalogue
from conformance.checks.libraries import REFERENCE
from conformance.checks.outcomes import Outcome
from conformance.exits import why
from conformance.signals import Stops

from . import (
    accusations,
    canaries,
    early_server,
    forkserver,
    gpu_sharing,
    journal,
    monitor,
    repeats,
    run_folder,
    tracing,
)
from .child import REAP_SECONDS, limit_of
from .hazards import isolation_of
from .jobs import Job
from .journal import Event
from .ledger import Ledger, NoRoom, Progress, lost
from .output_tail import Tail
from .pool import MonitorPool, Pool
from .pytest_pool import PytestPool
from .results import Result, Where, put_together, write_lines
from .schedule import FIRST_FULL, REPEATS, STAGES, Deadly, Schedule, Stage, cases_of, fillers_of
from .workbench import WITH_STATES

Preview = Callable[[Sequence[Result]], None]

DEFAULT_LIMIT = 6 * 3600.0
"""Default time limit of a run, in seconds."""
_POLL_SECONDS = 0.1
_SILENCE = 300.0
"""Seconds without a message while no case runs, after which the pass is given up. Imports and collection take a fraction of it."""
_FUTILE = 2
"""Consecutive passes without a result before the run gives up the remaining cases."""
_MOST_ENDED = 20
"""Consecutive passes without a result that signals from outside ended, before the run gives up the remaining cases."""
_LOG_BYTES = 64_000
_LINE = 300
"""Number of characters of a last output line that a message quotes."""


@dataclass(frozen=True)
class Settings:
    """Settings of a run: number of processes that run cases, seed of the case order, and time limit in seconds.

    With ``by_pytest``, pytest hands out the cases. ``why_fewer`` is the reason why there are fewer processes than requested.
    """

    processes: int
    seed: str = ""
    by_pytest: bool = False
    limit: float = DEFAULT_LIMIT
    why_fewer: str = ""


@dataclass(frozen=True)
class Run:
    """A finished run. ``stopped`` is the reason if it was stopped, and ``signal`` the signal that stopped it.

    ``unsettled`` is the number of failures for which a stopped run did not determine the accused side any more.
    """

    results: tuple[Result, ...]
    seconds: float
    stopped: str = ""
    signal: int | None = None
    unsettled: int = 0

    @property
    def lost(self) -> tuple[str, ...]:
        """Ids of planned cases without a result."""
        return tuple(r.case.id for r in self.results if r.outcome is Outcome.LOST)

    @property
    def unexplained(self) -> tuple[str, ...]:
        """Ids of cases that crashed after other cases and survived alone, and that no trace could explain.

        A hang does not count: a fork of a process with threads may hang by chance.
        """
        victims = (result for result in canaries.without(self.results) if tracing.is_victim(result))
        return tuple(victim.case.id for victim in victims if victim.attempts[0].outcome is not Outcome.HANG)


def run(
    cases: list[Case],
    out: Path,
    settings: Settings,
    progress: Progress,
    known: dict[str, Result] | None = None,
    deadly: frozenset[str] = frozenset(),
    preview: Preview = lambda results: None,
    early: early_server.Started | None = None,
) -> Run:
    """Run the cases without a ``known`` result. The folder ``out`` has the plan; it was prepared, or is left from an interrupted run.

    ``deadly`` are cases known to crash their process. ``preview`` receives the results of the quick tier, if the full tier follows. ``early`` is
    a server that was started before. Raises :class:`NoRoom` if results cannot be written.
    """
    started = time.monotonic()
    ledger = Ledger(cases, known or {}, out / journal.FILE)
    with private.folder() as ours, Stops() as stops:
        with temporary.room():
            supervisor = Supervisor(ledger, out, settings, progress, ours, stops, deadly, preview, early)
        try:
            supervisor.work(started + settings.limit)
        finally:
            supervisor.close()
    results = ledger.results(supervisor.why_not)
    try:
        write_lines(out / run_folder.RESULTS, (result.to_json() for result in results))
    except OSError as error:
        raise NoRoom(error, ledger.decided) from error
    waiting = repeats.unsettled(ledger.known, deadly) if supervisor.stopped else ()
    return Run(results, time.monotonic() - started, supervisor.stopped, stops.number, len(waiting))


@dataclass
class Open:
    """A running case: its start on the monotonic clock, the monitor that answers for it, and the kind of its process."""

    case: Case
    since: float
    pid: int
    isolation: Isolation


@dataclass
class Pass:
    """One attempt to run the remaining cases of a stage."""

    results: int = 0
    was_ended: bool = False
    """Whether a signal of another process ended the pass."""
    open: dict[str, Open] = field(default_factory=dict)
    heard: float = field(default_factory=time.monotonic)


class Supervisor:
    """Owns the processes of one run."""

    def __init__(
        self, ledger: Ledger, out: Path, settings: Settings, progress: Progress, private: Path, stops: Stops,
        deadly: frozenset[str], preview: Preview, early: early_server.Started | None,
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self._catalogue = catalogue()
        self._out = out
        self._settings = settings
        self._progress = progress
        self._private = private
        self._stops = stops
        self._deadly = deadly
        self._preview: Preview | None = preview
        self._early = early
        self._silenced: Counter[str] = Counter()
        """Number of times that the monitor of a case was killed."""
        self._companies: dict[int, list[str]] = defaultdict(list)
        """Cases that each process has run, by process id."""
        self._before: dict[str, tuple[int, int]] = {}
        """For each failed case, its process and the number of cases that had run there before."""
        self._pass = Pass()
        self._has_begun = False
        """Whether any case has started."""
        self._preloads = True
        """Whether the server imports libraries before it forks. This saves time, but a library may crash the server."""
        self._pool: Pool | None = None
        self._words = Tail(_LOG_BYTES)
        """The output of the run's own processes."""
        self._newest_trouble = ""
        self._killers = Deadly()
        self._seconds: dict[str, str] = {}
        """For each failure under repeat, the name of its second process."""
        self._traced: set[str] = set()
        """Victims with a finished trace."""
        self._culprits: list[Case] = []
        self.stopped = ""
        self._neutral = private / "neutral"
        """Empty working folder of the processes that load libraries."""
        self._neutral.mkdir(mode=0o700)

    # -- the run

    def work(self, end: float) -> None:
        """Run all stages, first for the planned cases and then for trials. Stop when every case has a result, or no pass makes progress."""
        self._ledger.note(
            Event.BEGIN,
            plan=run_folder.digest(self._out),
            planned=len(self._ledger.cases),
            known=self._ledger.decided,
            processes=self._settings.processes,
            why_fewer=self._settings.why_fewer,
            seed=self._settings.seed,
        )
        self._run_left(end)
        self._ledger.add_trials(accusations.untried(self._ledger.known))
        self._run_left(end)
        left = len(self._ledger.left())
        self._ledger.note(
            Event.STOP, why=self.stopped or (f"{left} cases left: {self.why_not}" if left else journal.COMPLETE)
        )

    def _run_left(self, end: float) -> None:
        self._stages(STAGES, end)
        self._trace(end)
        self._repeat(end)

    def _repeat(self, end: float) -> None:
        """Repeat one failure of each kind in a second process, if it occurred in a shared process.

        If it does not repeat, every other failure of its kind is repeated alone.
        """
        for some in (repeats.smallest, repeats.all_of):
            kinds = [] if self.stopped else repeats.unproven(self._ledger.known.values(), self._deadly)
            if not kinds:
                return
            cases = some(kinds)
            is_first = some is repeats.smallest and not self._settings.by_pytest
            lasted = {result.case.id: result.duration for members in kinds for result in members}
            self._seconds = repeats.companies(cases, lasted, self._deadly) if is_first else {}
            self._ledger.repeat(cases)
            self._stages(REPEATS, end)
            self._seconds = {}
            if not self.stopped:
                self._give_up_repeats()

    def _give_up_repeats(self) -> None:
        """Make each failure without a second try inconclusive."""
        for first in list(self._ledger.again.values()):
            self._conclude(lost(first.case, self.why_not), 0)

    def _stages(self, stages: Iterable[Stage], end: float) -> None:
        for stage in stages:
            if stage == FIRST_FULL:
                self._show_preview()
            self._work_off(stage, end)

    def _show_preview(self) -> None:
        """Show the results of the quick tier, once, before the rest runs."""
        if self._preview is not None and self._pass.results and not self.stopped and self._ledger.left():
            self._preview(self._ledger.so_far())
            self._preview = None

    def _trace(self, end: float) -> None:
        """Trace losses to earlier cases. This runs after all other cases, because a trace starts many processes."""
        for exclusive in (False, True):
            victims = [result for result in self._ledger.known.values() if self._is_victim(result, exclusive)]
            if victims and not self.stopped:
                if self._settings.by_pytest:  # pytest cannot run a trace, which is no test
                    self._close_pool()
                with self._among_runs([victim.case for victim in victims], exclusive, end) as granted:
                    if granted:
                        self._start_and_drive([self._trace_of(victim) for victim in victims], exclusive, end)
                if self._settings.by_pytest:
                    self._close_pool()

    def _is_victim(self, result: Result, exclusive: bool) -> bool:
        known = self._catalogue.get(result.case.invariant)
        is_new = known is not None and known.exclusive is exclusive and result.case.id not in self._traced
        return is_new and tracing.is_victim(result) and bool(self._before_of(result))

    def _trace_of(self, victim: Result) -> Job:
        return Job(victim.case, Isolation.CHILD, self._before_of(victim))

    def _before_of(self, victim: Result) -> tuple[Case, ...]:
        """Return the cases that its process had run before. A resumed run may have another plan."""
        return tuple(self._ledger.case(id) for id in victim.attempts[0].after if self._ledger.has(id))

    @property
    def why_not(self) -> str:
        """Reason for cases without a result."""
        return self.stopped or self._newest_trouble or "no process reported a result"

    def _work_off(self, stage: Stage, end: float) -> None:
        futile = ended = 0
        while (left := cases_of(stage, self._ledger.left())) and not self._is_over(futile, ended):
            exclusive = stage.is_exclusive
            with self._among_runs(left, exclusive, end) as granted:
                if granted:
                    fillers = self._jobs(fillers_of(stage, self._ledger.left()))
                    self._start_and_drive(self._jobs(left), exclusive, end, fillers)
            is_ended = self._pass.was_ended and not self._pass.results
            futile = 0 if self._pass.results else futile + (not is_ended)
            ended = ended + 1 if is_ended else 0
        if left and not self._has_begun and not self.stopped:
            self.stopped = f"no process can begin a case: {self.why_not}"

    def _is_over(self, futile: int, ended: int) -> bool:
        return bool(self.stopped) or futile >= _FUTILE or ended >= _MOST_ENDED

    def _among_runs(self, cases: list[Case], exclusive: bool, end: float) -> AbstractContextManager[bool]:
        """Share the machine's GPUs with other runs. An exclusive stage waits until it has them alone."""

        def waits() -> bool:
            self._progress(self._ledger.status("waiting for another run on this machine's GPUs"))
            return not self._over(end)

        if any(case.device is Device.CUDA for case in cases):
            return gpu_sharing.gpus(alone=exclusive, waits=waits)
        return nullcontext(True)

    def close(self) -> None:
        """End all processes. After a problem, write the output of the run's own processes to a file. Never put it into a result."""
        self._close_pool()
        if self._newest_trouble:
            try:
                files.write_own(self._out / run_folder.DIAGNOSTICS, self._words.text)
            except OSError as error:
                self._ledger.full = self._ledger.full or error
        self._ledger.close()

    # -- one pass

    def _start_and_drive(self, jobs: list[Job], exclusive: bool, end: float, fillers: Sequence[Job] = ()) -> None:
        """Run one pass. If the system cannot start a process, the run ends with that reason."""
        self._pass = Pass()
        try:
            self._drive(jobs, exclusive, end, fillers)
        except OSError as error:
            self.stopped = f"the processes of the run cannot be started: {why(error)}"

    def _drive(self, jobs: list[Job], exclusive: bool, end: float, fillers: Sequence[Job]) -> None:
        """Run these jobs until they are done, or until the pool fails."""
        most = min(self._settings.processes, len(jobs) + len(fillers))
        self._pool = pool = self._pool or self._started(jobs)
        seed = self._settings.seed
        pool.begin(Schedule(jobs, seed, most, self._ready, exclusive=exclusive, fillers=fillers), most)
        while pool.is_busy and not self._over(end) and not self._is_hopeless(pool):
            pool.listen(_POLL_SECONDS)
            self._end_the_silent(pool)
            self._progress(self._ledger.status())
        self._pass.was_ended = pool.was_ended
        if pool.is_busy:
            self._close_pool()
        self._progress(self._ledger.status())

    def _ready(self, job: Job) -> Job:
        """Return a job at the moment at which it is handed out, with the newest facts."""
        return replace(job, suspects=tuple(self._culprits)) if job.before else self._killers.moved(job)

    def _started(self, jobs: list[Job]) -> Pool:
        """Start the processes. The server imports the libraries of all cases, not only of these."""
        cases = list(self._ledger.cases.values()) if self._ledger.left() else [job.case for job in jobs]
        names = dict.fromkeys(n for case in cases for n in case.libraries if n != REFERENCE)
        in_states = {case.producer for case in cases if case.option("state", "")}
        preloaded = tuple(f"{n}{WITH_STATES * (n in in_states)}" for n in names) if self._preloads else ()
        if self._settings.by_pytest and not any(job.before for job in jobs):
            seed = self._settings.seed
            return PytestPool(preloaded, self._private, self._neutral, self._receive, self._words, seed)
        return MonitorPool(self._server(names, preloaded), self._receive, self._words)

    def _server(self, names: Iterable[str], preloaded: tuple[str, ...]) -> early_server.Started:
        """Return the server that was started before the run, if it imported these libraries; otherwise a new one."""
        early, self._early = self._early, None
        if early is not None:
            if self._preloads and early.serves(names):
                early.is_taken = True
                return early
            early.end()
        return early_server.start(preloaded, self._private / f"server{time.monotonic_ns()}", self._neutral)

    def _close_pool(self) -> None:
        if self._pool is not None:
            self._pool.close(REAP_SECONDS)
            self._pool = None

    def _jobs(self, left: list[Case]) -> list[Job]:
        alone = {*self._deadly, *self._ledger.again}
        return [self._job(case, self._catalogue[case.invariant], alone) for case in left]

    def _job(self, case: Case, invariant: Invariant, alone: Collection[str]) -> Job:
        company = self._seconds.get(case.id, "") if case.id in alone else invariant.company_of(case)
        return Job(case, isolation_of(case, invariant, alone), company=company)

    def _over(self, end: float) -> bool:
        """Return whether the run has to stop now, and record the reason."""
        if self._ledger.full is not None:
            self.stopped = f"no room for results: {why(self._ledger.full)}"
        elif self._stops.number is not None:
            self.stopped = f"the run was stopped by {signal.Signals(self._stops.number).name}"
        elif time.monotonic() > end:
            self.stopped = f"the run reached its limit of {self._settings.limit:g} s"
        return bool(self.stopped)

    def _is_hopeless(self, pool: Pool) -> bool:
        """Return whether this pass has to stop now, and record the reason."""
        trouble = pool.trouble()
        if trouble is not None:
            self._preloads = self._preloads and pool.has_begun
            trouble += self._last_words()
        elif not self._pass.open and pool.has_begun and time.monotonic() - self._pass.heard > _SILENCE:
            trouble = f"no process has sent a message for {_SILENCE:g} s"
        if trouble is not None:
            self._trouble(trouble)
        return trouble is not None

    def _last_words(self) -> str:
        """Return the last output line of the run's processes, as part of a sentence."""
        lines = [line.strip() for line in self._words.text.splitlines() if line.strip()]
        return f", and the last line of output was {lines[-1][:_LINE]!r}" if lines else ""

    def _end_the_silent(self, pool: Pool) -> None:
        """Kill each monitor that exceeds its own timeout. This is the second of three: case, monitor, run."""
        for name, begun in list(self._pass.open.items()):
            if time.monotonic() - begun.since < patience(self._catalogue[begun.case.invariant]):
                continue
            del self._pass.open[name]
            pool.give_up(name, begun.pid)
            self._give_up(begun)

    def _give_up(self, begun: Open) -> None:
        """Repeat the case alone after the first loss of its monitor. After the second it is inconclusive: a process of the suite is stuck."""
        self._silenced[begun.case.id] += 1
        told = f"its monitor did not answer within {patience(self._catalogue[begun.case.invariant]):g} s"
        self._ledger.note(Event.TROUBLE, what=f"{begun.case.id}: {told}")
        self._deadly |= {begun.case.id}
        if self._silenced[begun.case.id] > 1:
            level = self._catalogue[begun.case.invariant].level
            reason = f"{told}, and was killed, twice: a process of the run itself was stopped"
            self._conclude(Result(begun.case, Outcome.INCONCLUSIVE, level, reason=reason), begun.pid)

    def _conclude(self, result: Result, process: int) -> None:
        """Record a result that the supervisor itself determines."""
        result = self._put_together(result)
        self._ledger.note(Event.END, result=result.to_json(), process=process)
        self._take(result)

    # -- what is heard

    def _receive(self, record: dict[str, Any]) -> None:
        """Process a message. It goes to the journal first."""
        self._pass.heard = time.monotonic()
        if "traced" in record:
            self._pass.open.pop(record["worker"], None)
            self._take_trace(self._ledger.known[record["case"]], tracing.Traced.from_json(record["traced"]))
            return
        event, name = Event(record["event"]), record.get("worker", "")
        result = self._ended(record) if event is Event.END else None
        if not self._ledger.write(record if result is None else {**record, "result": result.to_json()}):
            return
        if event is Event.START:
            self._has_begun = True
            isolation = Isolation(record["isolation"])
            self._pass.open[name] = Open(self._ledger.case(record["case"]), time.monotonic(), record["pid"], isolation)
        elif event is Event.TROUBLE:
            self._newest_trouble = record["what"]
        if result is not None:
            begun = self._pass.open.pop(name, None)
            if begun is not None:
                self._killers.note(result, begun.isolation)
            self._take(result)

    def _take_trace(self, victim: Result, traced: tracing.Traced) -> None:
        """Record the results that a trace changes."""
        self._traced.add(victim.case.id)
        self._pass.results += 1
        if traced.culprit is not None:
            self._culprits.append(traced.culprit.case)
        for result in tracing.settled(victim, traced):
            self._ledger.note(Event.END, result=result.to_json(), process=0)
            self._take(result)

    def _ended(self, record: dict[str, Any]) -> Result:
        """Return the result that a monitor reports, combined with the first try if this is a repeat."""
        result, company = Result.from_json(record["result"]), self._companies[record["process"]]
        if result.outcome is Outcome.FAIL:
            self._before.setdefault(result.case.id, (record["process"], len(company)))
        company.append(result.case.id)
        return self._put_together(result)

    def _put_together(self, result: Result) -> Result:
        first = self._ledger.again.get(result.case.id)
        if first is None:
            return result
        process, many = self._before.get(result.case.id, (0, 0))
        where = Where.SECOND if result.case.id in self._seconds else Where.ALONE
        return put_together(first, tuple(self._companies[process][:many]), Where.SHARED, result, where)

    def _take(self, result: Result) -> None:
        self._pass.results += 1
        self._ledger.take(result)

    def _trouble(self, what: str) -> None:
        self._newest_trouble = what
        self._ledger.note(Event.TROUBLE, what=what)


def patience(invariant: Invariant) -> float:
    """Return the timeout of a monitor for one case, in seconds: all tries, their ends, and the check of the GPU."""
    probing = monitor.PROBES * (monitor.PROBE_SECONDS + monitor.PAUSE_SECONDS)
    one = monitor.PATIENCE * deadline.MOST * limit_of(invariant) + deadline.IMPORT_SECONDS
    return monitor.MOST_TRIES * (one + REAP_SECONDS + probing) + forkserver.START_SECONDS
