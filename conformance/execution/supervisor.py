"""Run a plan here: drive pytest over it, watch over the processes, and keep the ledger.

This process loads no framework and touches no CUDA. It alone writes the journal, so nothing that happens to another process can
spoil it, and a full disk is met in one place.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter, defaultdict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from conformance import files, private, temporary
from conformance.adapters.base import Device
from conformance.exits import why
from conformance.signals import Stops
from conformance.suite import deadline, senders
from conformance.suite.catalogue import Case, Invariant, catalogue
from conformance.suite.libraries import REFERENCE
from conformance.suite.outcomes import Outcome

from . import accusing, folder, forkserver, harness, jobs, journal, monitor, repeating, sharing
from .child import REAP_SECONDS, limit_of
from .hazards import isolation_of
from .journal import Event
from .ledger import Ledger, NoRoom, Progress, lost, phase_cases
from .link import Inbox
from .results import Result, Where, put_together, write_lines
from .tail import Tail

DEFAULT_LIMIT = 6 * 3600.0
"""Seconds a run may take."""
_POLL_SECONDS = 0.1
_SILENCE = 300.0
"""Seconds without a word from anybody while no case runs: importing and collecting take a fraction of it."""
_FIRST_WORD = 120.0
"""Seconds without a message before any worker has sent its first one, when no case can keep the machine busy."""
_FUTILE = 2
"""Passes without a single result before the rest is given up."""
_MOST_ENDED = 20
"""Consecutive passes without a result, ended by outside signals, before the run gives up."""
_LOG_BYTES = 64_000
_LINE = 300
"""Number of characters of a last output line that a message quotes."""


class Phase(str, Enum):
    """Cases that must have the GPU to themselves run after all the others, in one process."""

    SHARED = "shared"
    EXCLUSIVE = "exclusive"


@dataclass(frozen=True)
class Settings:
    """Settings of a run: number of worker processes, seed of the case order, and time limit in seconds.

    ``why_fewer`` says why there are fewer processes than requested.
    """

    processes: int
    seed: str = ""
    limit: float = DEFAULT_LIMIT
    why_fewer: str = ""


@dataclass(frozen=True)
class Run:
    """A run that is over. ``stopped`` says why it is not complete, if it was stopped; ``signal`` by which signal.

    ``unsettled`` counts the failures of a run that is not complete of which it would still have found out whom they accuse.
    """

    results: tuple[Result, ...]
    seconds: float
    stopped: str = ""
    signal: int | None = None
    unsettled: int = 0

    @property
    def lost(self) -> tuple[str, ...]:
        """Ids of cases that were planned and have no outcome."""
        return tuple(r.case.id for r in self.results if r.outcome is Outcome.LOST)


def run(
    cases: list[Case],
    out: Path,
    settings: Settings,
    progress: Progress,
    known: dict[str, Result] | None = None,
    deadly: frozenset[str] = frozenset(),
) -> Run:
    """Run what of the plan in ``out`` is not ``known``; the folder has been prepared, or left by an interrupted run.

    ``deadly`` are cases known to kill their process. Raises :class:`NoRoom` where results cannot be written.
    """
    started = time.monotonic()
    ledger = Ledger(cases, known or {}, out / journal.FILE)
    with private.folder() as ours, Stops() as stops:
        with temporary.room():
            supervisor = Supervisor(ledger, out, settings, progress, ours, stops, deadly)
        try:
            supervisor.work(started + settings.limit)
        finally:
            supervisor.close()
    results = ledger.results(supervisor.why_not)
    try:
        write_lines(out / folder.RESULTS, (result.to_json() for result in results))
    except OSError as error:
        raise NoRoom(error, ledger.decided) from error
    waiting = repeating.unsettled(ledger.known, deadly) if supervisor.stopped else ()
    return Run(results, time.monotonic() - started, supervisor.stopped, stops.number, len(waiting))


@dataclass
class Open:
    """A worker that has begun a case: since when, by the monotonic clock, and its process."""

    case: Case
    since: float
    pid: int


@dataclass
class Pass:
    """One start of pytest, and what came of it."""

    results: int = 0
    trouble: str = ""
    is_final: bool = False
    """Whether every further start would have the same problem."""
    was_ended: bool = False
    """Whether a signal from another process ended the pass."""
    open: dict[str, Open] = field(default_factory=dict)
    heard: float = field(default_factory=time.monotonic)


class Words(Tail):
    """What the processes of a pass write, until the last of them has ended."""

    def __init__(self) -> None:
        super().__init__(_LOG_BYTES)
        self.ended = False

    def add(self, piece: bytes) -> None:
        """What comes next; nothing at the end."""
        super().add(piece)
        self.ended = self.ended or not piece


class Supervisor:
    """Owns the processes of one run."""

    def __init__(
        self, ledger: Ledger, out: Path, settings: Settings, progress: Progress, private: Path, stops: Stops,
        deadly: frozenset[str],
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self._catalogue = catalogue()
        self._out = out
        self._settings = settings
        self._progress = progress
        self._private = private
        self._stops = stops
        self._deadly = deadly
        self._silenced: Counter[str] = Counter()
        """How often the worker of a case had to be killed."""
        self._companies: dict[int, list[str]] = defaultdict(list)
        """The cases that each process has run, by its id."""
        self._before: dict[str, tuple[int, int]] = {}
        """Of each case that failed its process, and how many cases that had run before."""
        self._words = Words()
        self._pass = Pass()
        self._has_begun = False
        """Whether any worker has begun a case."""
        self._preloads = True
        """Whether the server imports libraries before it forks. This saves time, but a library may end the server."""
        self.stopped = ""
        self._neutral = private / "neutral"
        """Working folder of the processes that load libraries, which is empty."""
        self._neutral.mkdir(mode=0o700)
        self._inbox = Inbox(str(private / "report"), self._receive)

    # -- the run

    def work(self, end: float) -> None:
        """Both phases, each until all its cases have a result or nothing helps any more."""
        self._ledger.note(
            Event.BEGIN,
            plan=folder.digest(self._out),
            planned=len(self._ledger.cases),
            known=self._ledger.decided,
            processes=self._settings.processes,
            why_fewer=self._settings.why_fewer,
            seed=self._settings.seed,
        )
        self._phases(end)
        self._repeat(end)
        self._ledger.add_trials(accusing.untried(self._ledger.known))
        self._phases(end)
        self._repeat(end)
        left = len(self._ledger.left())
        self._ledger.note(
            Event.STOP, why=self.stopped or (f"{left} cases left: {self.why_not}" if left else journal.COMPLETE)
        )

    def _repeat(self, end: float) -> None:
        """Of the failures that were seen in company one of each kind has to show alone; where it does not, each of its kind has to."""
        for some in (repeating.smallest, repeating.all_of):
            kinds = [] if self.stopped else repeating.unproven(self._ledger.known.values(), self._deadly)
            if not kinds:
                return
            self._ledger.repeat(some(kinds))
            self._phases(end)
            if not self.stopped:
                self._give_up_repeats()

    def _give_up_repeats(self) -> None:
        """A failure that could not be tried alone accuses nobody."""
        for first in list(self._ledger.again.values()):
            self._conclude(lost(first.case, self.why_not), 0)

    def _phases(self, end: float) -> None:
        for phase, most in ((Phase.SHARED, self._settings.processes), (Phase.EXCLUSIVE, 1)):
            self._work_off(phase, most, end)

    @property
    def why_not(self) -> str:
        """Why a case has no outcome."""
        return self.stopped or self._pass.trouble or "nothing was reported"

    def _work_off(self, phase: Phase, most: int, end: float) -> None:
        futile = ended = 0
        while (left := self._left(phase)) and not self.stopped and futile < _FUTILE and ended < _MOST_ENDED:
            with self._among_runs(left, phase, end) as granted:
                if granted:
                    self._start_and_drive(left, most, end)
            is_ended = self._pass.was_ended and not self._pass.results
            futile = 0 if self._pass.results else futile + (not is_ended)
            ended = ended + 1 if is_ended else 0
            if not self._has_begun and self._pass.is_final and not self.stopped and not is_ended:
                self.stopped = f"no process can begin a case: {self._pass.trouble}"

    def _left(self, phase: Phase) -> list[Case]:
        return phase_cases(self._ledger.left(), exclusive=phase is Phase.EXCLUSIVE)

    def _among_runs(self, cases: list[Case], phase: Phase, end: float) -> AbstractContextManager[bool]:
        """Other runs on this machine are waited for where one of them has to be alone on the GPUs."""

        def waits() -> bool:
            self._progress(self._ledger.status("waiting for another run on this machine's GPUs"))
            return not self._over(end)

        if any(case.device is Device.CUDA for case in cases):
            return sharing.gpus(alone=phase is Phase.EXCLUSIVE, waits=waits)
        return nullcontext(True)

    def close(self) -> None:
        """Hear what is still to be heard. What the run's own processes wrote is worth a file, but not the results."""
        self._inbox.drain()
        self._inbox.close()
        if self._pass.trouble:
            try:
                files.write_own(self._out / folder.DIAGNOSTICS, self._words.text)
            except OSError as error:
                self._ledger.full = self._ledger.full or error
        self._ledger.close()

    # -- one pass

    def _start_and_drive(self, left: list[Case], most: int, end: float) -> None:
        """Run one pass. If the system cannot start a process, the run ends with that reason."""
        try:
            self._drive(left, most, end)
        except OSError as error:
            self.stopped = f"the processes of the run cannot be started: {why(error)}"

    def _drive(self, left: list[Case], most: int, end: float) -> None:
        """Start a server and pytest over these cases, and listen until they are done or have to be stopped."""
        self._pass = Pass()
        try:
            with temporary.room():
                write_jobs(self._private / "jobs", self._jobs(left))
        except temporary.NoTemporaryFiles as error:
            self.stopped = str(error)
            return
        reading, writing = os.pipe()
        self._words = Words()
        self._inbox.watch(reading, self._words.add)
        names = dict.fromkeys(n for case in left for n in case.libraries if n != REFERENCE)
        place = self._private / f"server{time.monotonic_ns()}"
        preloaded = tuple(names) if self._preloads else ()
        server = forkserver.Server(preloaded, str(place), writing, self._neutral)
        pytest = self._started(min(most, len(left)), server, writing)
        os.close(writing)
        try:
            while pytest.poll() is None and not self._over(end) and not self._hopeless(server):
                self._inbox.listen(_POLL_SECONDS)
                self._end_the_silent()
                self._progress(self._ledger.status())
        finally:
            is_ended = self._is_ended_by_others(pytest.poll(), server.code)
            self._pass.was_ended = self._pass.was_ended or is_ended
            _end(pytest)
            server.close()
            self._hear_the_last(server)
        if pytest.returncode > 0 and not self._pass.results:
            self._pass.is_final = True
            ended = f"pytest ended with exit code {pytest.returncode}"
            if not self._pass.trouble:
                self._trouble(f"{ended}{self._last_words()}; {folder.DIAGNOSTICS} has its output")
        self._progress(self._ledger.status())

    def _is_ended_by_others(self, pytest: int | None, server: int | None) -> bool:
        """Return whether an outside signal ended pytest, the server, or a worker within a case.

        The arguments are exit codes; ``None`` for a running process.
        """
        is_pytest = pytest is not None and pytest < 0  # it loads no library, so no signal is a library's fault
        is_server = server is not None and -server in senders.FOREIGN
        return is_pytest or is_server or (bool(self._pass.open) and not server)

    def _hear_the_last(self, server: forkserver.Server) -> None:
        """Wait for the end of all that this pass has started: only monitors hold its output open now, and they end what they have."""
        end = time.monotonic() + REAP_SECONDS
        while not self._words.ended and time.monotonic() < end:
            self._inbox.listen(_POLL_SECONDS)
        server.close_all()
        self._inbox.drain()

    def _jobs(self, left: list[Case]) -> list[jobs.Job]:
        alone = {*self._deadly, *self._ledger.again}
        return [jobs.Job(case, isolation_of(case, self._catalogue[case.invariant], alone)) for case in left]

    def _started(self, processes: int, server: forkserver.Server, output: int) -> subprocess.Popen[bytes]:
        variables = {
            jobs.JOBS: str(self._private / "jobs"),
            jobs.REPORT: str(self._private / "report"),
            jobs.SEED: self._settings.seed,
            forkserver.SOCKET: server.path,
        }
        return harness.start(processes, self._private, output, variables)

    def _over(self, end: float) -> bool:
        """Whether the whole run has to end now, and why."""
        if self._ledger.full is not None:
            self.stopped = f"no room for results: {why(self._ledger.full)}"
        elif self._stops.number is not None:
            self.stopped = f"the run was stopped by {signal.Signals(self._stops.number).name}"
        elif time.monotonic() > end:
            self.stopped = f"the run reached its limit of {self._settings.limit:g} s"
        return bool(self.stopped)

    def _hopeless(self, server: forkserver.Server) -> bool:
        """Whether this pass has to end now, and why."""
        if server.ended is not None:
            self._trouble(f"the server that forks processes ended with {server.ended}")
            self._preloads = self._preloads and server.has_begun
        elif not self._has_begun and time.monotonic() - self._pass.heard > _FIRST_WORD:
            self._pass.is_final = True
            self._trouble(
                f"no worker has sent a message for {_FIRST_WORD:g} s{self._last_words()}; {folder.DIAGNOSTICS} has the whole output"
            )
        elif not self._pass.open and time.monotonic() - self._pass.heard > _SILENCE:
            self._trouble(f"nothing was heard of any worker for {_SILENCE:g} s")
        return bool(self._pass.trouble)

    def _end_the_silent(self) -> None:
        """The second of three deadlines: a monitor keeps that of a case, but who keeps the monitor's?"""
        for name, begun in list(self._pass.open.items()):
            if time.monotonic() - begun.since < patience(self._catalogue[begun.case.invariant]):
                continue
            del self._pass.open[name]
            try:
                os.kill(begun.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._give_up(begun)

    def _give_up(self, begun: Open) -> None:
        """Run the case again, alone, the first time. The second time it is inconclusive: the suite's own process is stuck."""
        self._silenced[begun.case.id] += 1
        told = f"its worker did not answer within {patience(self._catalogue[begun.case.invariant]):g} s"
        self._ledger.note(Event.TROUBLE, what=f"{begun.case.id}: {told}")
        self._deadly |= {begun.case.id}
        if self._silenced[begun.case.id] > 1:
            level = self._catalogue[begun.case.invariant].level
            reason = f"{told}, and had to be killed, twice: a process of the run itself was stopped"
            self._conclude(Result(begun.case, Outcome.INCONCLUSIVE, level, reason=reason), begun.pid)

    def _conclude(self, result: Result, process: int) -> None:
        """A result that no worker has told."""
        result = self._put_together(result)
        self._ledger.note(Event.END, result=result.to_json(), process=process)
        self._take(result)

    # -- what is heard

    def _receive(self, record: dict[str, Any]) -> None:
        """A message of a worker: into the journal first."""
        self._pass.heard = time.monotonic()
        event, name = Event(record["event"]), record.get("worker", "")
        result = self._ended(record) if event is Event.END else None
        if not self._ledger.write(record if result is None else {**record, "result": result.to_json()}):
            return
        if event is Event.START:
            self._has_begun = True
            self._pass.open[name] = Open(self._ledger.case(record["case"]), time.monotonic(), record["pid"])
        elif event is Event.TROUBLE:
            self._pass.trouble = self._pass.trouble or record["what"]
            self._pass.is_final = self._pass.is_final or record.get("final", False)
            self._pass.was_ended = self._pass.was_ended or record.get("ended_by_others", False)
        if result is not None:
            self._pass.open.pop(name, None)
            self._take(result)

    def _ended(self, record: dict[str, Any]) -> Result:
        """The result that a worker tells; put together with the one that was seen in company, if there is one."""
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
        return put_together(first, tuple(self._companies[process][:many]), Where.SHARED, result)

    def _take(self, result: Result) -> None:
        self._pass.results += 1
        self._ledger.take(result)

    def _last_words(self) -> str:
        """Return the last output line of this pass's processes, as part of a sentence."""
        lines = [line.strip() for line in self._words.text.splitlines() if line.strip()]
        return f", and the last line of output was {lines[-1][:_LINE]!r}" if lines else ""

    def _trouble(self, what: str) -> None:
        self._pass.trouble = what
        self._ledger.note(Event.TROUBLE, what=what)


def write_jobs(path: Path, to_do: list[jobs.Job]) -> None:
    """Write the workers' jobs. Raises ``OSError`` if there is no space."""
    write_lines(path, (job.to_json() for job in to_do))


def patience(invariant: Invariant) -> float:
    """Return the timeout of a worker for one case, in seconds: all tries, their ends and the check of the GPU."""
    probing = monitor.PROBES * (monitor.PROBE_SECONDS + monitor.PAUSE_SECONDS)
    one = monitor.PATIENCE * deadline.MOST * limit_of(invariant) + deadline.IMPORT_SECONDS
    return monitor.MOST_TRIES * (one + REAP_SECONDS + probing) + forkserver.START_SECONDS


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that it has started; those end with it."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()
