"""Run cells in parallel from one thread. A failure of one cell does not affect the others."""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from conformance import documents, files
from conformance.exits import Exit, UserError
from conformance.files import Unreadable

from . import commands, digests, exit_states, package_tests, records
from .base import Engine
from .candidates import effect
from .model import Cell, Ending, Lifecycle, Placed, Prepared, Task
from .records import Counts, Record, Run
from .stops import Stops

POLL_SECONDS = 0.1
LOG_TAIL, TESTS_LOG_TAIL = 8000, 200_000
"""Number of bytes to read from the end of a log. After a crash, the stacks of many threads can follow the name of pytest's last test."""
_SET_DEATH_SIGNAL = 1
_LIBC = ctypes.CDLL(None)
NOT_SEEN = Ending(
    Lifecycle.NOT_RUN, "it was started, and the runner ended before it finished; `--resume` continues this cell"
)
NOT_COME = Ending(Lifecycle.NOT_RUN, "the run has not reached this cell")
STOPPED_BEFORE = "the run was stopped before this cell started"


@dataclass
class Live:
    """A running cell, with ``check`` or with the package's own tests."""

    task: Task
    process: subprocess.Popen[bytes]
    counts: Counts
    before: tuple[int, int] | None
    log_start: int
    limit: float
    """Timeout in seconds."""
    began: float = field(default_factory=time.monotonic)
    at: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    asked: Ending | None = None
    """Ending to report, once the runner has requested a stop."""
    asked_at: float = 0.0
    killed: bool = False

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began


Watch = Callable[[Sequence[Live]], None]
"""Receives the running cells at each poll."""
Told = Callable[[Record], None]
"""Receives the record of each cell when it ends."""
Place = Callable[[Cell], "tuple[Placed, ...] | Ending"]
"""Unpacks the candidates of a cell."""


@dataclass
class Runner:
    """One run over cells. ``say``, ``watch`` and ``told`` produce the terminal output."""

    run: Run
    out: Path
    engine: Engine
    jobs: int
    say: Callable[[str], None]
    watch: Watch
    told: Told
    stops: Stops
    place: Place = lambda cell: ()
    _anew: frozenset[str] = frozenset()
    """Cells whose earlier results are discarded."""

    def go(self) -> list[Record]:
        """Run every cell without a final ending. Return a record for every planned cell, in the order of the plan."""
        known = {cell.name: records.read_record(self.out, cell) for cell in self.run.cells}
        anew = (Lifecycle.OUT_OF_MEMORY, Lifecycle.NOT_IN_EFFECT)
        self._anew = frozenset(name for name, record in known.items() if record.ending.lifecycle in anew)
        left = [cell for cell in self.run.cells if not self._complete(known[cell.name])]
        for cell in left:
            if not known[cell.name].ending.final:
                tests = package_tests.not_begun(NOT_COME.reason) if self.run.with_tests else None
                known[cell.name] = replace(known[cell.name], ending=_beforehand(cell), tests=tests)
            self._write(known[cell.name])
        waiting = self._prepared([cell for cell in left if not cell.problem], known)
        self._all(waiting, known)
        return [known[cell.name] for cell in self.run.cells]

    def _complete(self, record: Record) -> bool:
        """Return whether both ``check`` and the package's own tests are finished."""
        if not record.ending.final or record.ending.lifecycle is not Lifecycle.DONE or not self.run.with_tests:
            return record.ending.final
        return record.tests is not None and record.tests.final

    def _prepared(self, cells: list[Cell], known: dict[str, Record]) -> list[Prepared]:
        self.stops.raises = True
        try:
            made = self._made(cells)
        except KeyboardInterrupt:
            made = {cell.name: Ending(Lifecycle.NOT_RUN, STOPPED_BEFORE) for cell in cells}
        except (OSError, UserError) as error:
            made = {cell.name: exit_states.build_failed(str(error)) for cell in cells}
        finally:
            self.stops.raises = False
        for cell in cells:
            found = made[cell.name]
            if isinstance(found, Ending):
                self._end(replace(known[cell.name], ending=found, facts=self.engine.facts()), known)
        return [found for cell in cells if isinstance(found := made[cell.name], Prepared)]

    def _made(self, cells: list[Cell]) -> dict[str, Prepared | Ending]:
        """Prepare the candidates, then the images or environments of the cells that they fit."""
        placed = {cell.name: self.place(cell) for cell in cells}
        made = self.engine.prepare([cell for cell in cells if not isinstance(placed[cell.name], Ending)])
        found: dict[str, Prepared | Ending] = {}
        for name, there in placed.items():
            one = there if isinstance(there, Ending) else made[name]
            found[name] = replace(one, placed=there) if isinstance(one, Prepared) and isinstance(there, tuple) else one
        return found

    def _all(self, waiting: list[Prepared], known: dict[str, Record]) -> None:
        live: list[Live] = []
        try:
            while live or (waiting and self.stops.number is None):
                while waiting and len(live) < self.jobs and self.stops.number is None:
                    self._start(waiting.pop(0), live, known)
                for one in list(live):
                    self._look_at(one)
                    if one.process.poll() is not None:
                        live.remove(one)
                        self._over(one, live, known)
                self.watch(live)
                time.sleep(POLL_SECONDS if live else 0)
        finally:
            for one in live:
                self.engine.kill(one.task, one.process)
        for prepared in waiting:
            if not known[prepared.cell.name].ending.final:
                ending = Ending(Lifecycle.NOT_RUN, STOPPED_BEFORE)
                self._end(replace(known[prepared.cell.name], ending=ending), known)

    def _start(self, prepared: Prepared, live: list[Live], known: dict[str, Record]) -> None:
        """Start a cell. Write its record first, so that a killed runner does not leave a started cell without a record."""
        cell, folder = prepared.cell, (self.out / prepared.cell.name).absolute()
        if known[cell.name].ending.final:
            self._start_tests(prepared, live, known)
            return
        anew = cell.name in self._anew
        task = Task(prepared, arguments(self.run, folder, anew=anew), folder, container_name(self.run, cell))
        earlier = known[cell.name].digests if has_begun(folder) and not anew else {}
        record = replace(
            known[cell.name], ending=NOT_SEEN, facts={**self.engine.facts(), **prepared.told},
            digests=_digests(prepared, earlier),
        )  # fmt: skip
        known[cell.name] = record
        self._write(record)
        failed = self._launch(task, folder / records.LOG, self.run.bounds.seconds, live)
        if failed:
            self._end(replace(record, ending=failed), known)

    def _launch(self, task: Task, log: Path, limit: float, live: list[Live]) -> Ending | None:
        """Start the process of a task. Return the ending if it cannot be started."""
        command: Sequence[str] = ("",)
        try:
            with os.fdopen(files.own(log, os.O_WRONLY | os.O_APPEND), "ab") as file:
                start = file.seek(0, os.SEEK_END)
                self.engine.clear(task)
                command = self.engine.command(task)
                self.say(f"+ {shlex.join(command)}")
                # A fast cell can write its results before the runner looks again.
                before = records.stamp(task.out / records.RESULTS)
                process = subprocess.Popen(
                    command, env=dict(self.engine.environment(task)), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                    # Before Python 3.11 the working folder is in the path, and there the package's sources may lie.
                    cwd=task.out if task.tests else None, start_new_session=True, preexec_fn=_die_with_runner,
                )  # fmt: skip
        except OSError as error:
            why = f"{error.filename or command[0]}: {error.strerror}"
            return exit_states.refused(why) or Ending(Lifecycle.ENGINE_GONE, why)
        live.append(Live(task, process, Counts(task.out), before, start, limit))
        return None

    def _start_tests(self, prepared: Prepared, live: list[Live], known: dict[str, Record]) -> None:
        """Start the package's own tests, if ``check`` has finished and has tested the right versions."""
        record, folder = known[prepared.cell.name], (self.out / prepared.cell.name).absolute()
        given, tests = self.run.with_tests, (self.out / package_tests.FOLDER).absolute()
        why = self._why_no_tests(record, prepared, tests)
        if why or given is None:
            self._end_tests(replace(record, tests=package_tests.not_begun(why)), known)
            return
        self._write(replace(record, tests=package_tests.not_begun(NOT_SEEN.reason)))
        try:
            files.remove(folder / package_tests.RESULTS)
        except OSError as error:
            self._end_tests(
                replace(record, tests=package_tests.not_begun(f"{error.filename}: {error.strerror}")), known
            )
            return
        name = f"{container_name(self.run, prepared.cell)}-tests"
        task = Task(prepared, package_tests.arguments(tests), folder, name, tests)
        failed = self._launch(task, folder / package_tests.LOG, given.seconds, live)
        if failed:
            self._end_tests(replace(record, tests=package_tests.account(failed, folder, "", 0.0)), known)

    def _why_no_tests(self, record: Record, prepared: Prepared, tests: Path) -> str:
        if record.ending.lifecycle is not Lifecycle.DONE:
            return f"the cell is: {record.ending.lifecycle.value}"
        if self.stops.number is not None:
            return STOPPED_BEFORE
        hidden = package_tests.in_the_way(tests, prepared.placed)
        if hidden:
            return f"the folder of tests contains {', '.join(hidden)}, and pytest would import it from there; name a folder that contains only tests"
        return ""

    def _look_at(self, one: Live) -> None:
        """Apply the timeout and stop signals: request an orderly stop, and kill the cell if that takes too long or after a second signal."""
        if one.asked is None and one.seconds > one.limit:
            one.asked = Ending(
                Lifecycle.DEADLINE, f"it took longer than {one.limit:g} s; `--resume` continues this cell"
            )
            self._ask(one)
        elif one.asked is None and self.stops.number is not None:
            name = signal.Signals(self.stops.number).name
            one.asked = Ending(Lifecycle.STOPPED, f"the run was stopped by {name}; `--resume` continues this cell")
            self._ask(one)
        late = one.asked is not None and time.monotonic() - one.asked_at > commands.STOP_SECONDS + 5
        if (late or (self.stops.again and one.asked)) and not one.killed:
            one.killed = True
            self.engine.kill(one.task, one.process)

    def _ask(self, one: Live) -> None:
        one.asked_at = time.monotonic()
        self.engine.stop(one.task, one.process)

    def _over(self, one: Live, live: list[Live], known: dict[str, Record]) -> None:
        if one.task.tests is not None:
            self._tests_over(one, known)
            return
        cell = one.task.prepared.cell
        said = _tail(one.task.out / records.LOG, one.log_start, LOG_TAIL)
        after = records.stamp(one.task.out / records.RESULTS)
        wrote = after is not None and after != one.before
        ending = self.engine.ended(one.task, one.process.returncode, said, wrote=wrote)
        if one.asked and not (ending.lifecycle is Lifecycle.DONE and ending.exit in (Exit.OK, Exit.VIOLATIONS)):
            ending = one.asked
        ending = in_effect(ending, cell, one.task.out, also_tested=self.run.with_tests is not None)
        before = known[cell.name]
        start = {
            "at": one.at,
            "seconds": round(one.seconds, 3),
            "lifecycle": ending.lifecycle.value,
            "reason": ending.reason,
        }
        found = digests.joined(before.digests, {"suite": digests.of_suite()})
        results = digests.of_file(one.task.out / records.RESULTS)
        self._end(
            replace(
                before, ending=ending, seconds=before.seconds + one.seconds, starts=(*before.starts, start),
                digests={**found, **({"results": results} if results else {})},
            ),
            known,
        )  # fmt: skip
        if self.run.with_tests:
            self._start_tests(one.task.prepared, live, known)

    def _tests_over(self, one: Live, known: dict[str, Record]) -> None:
        said = _tail(one.task.out / package_tests.LOG, one.log_start, TESTS_LOG_TAIL)
        ending = self.engine.ended(one.task, one.process.returncode, said, wrote=False)
        if one.asked and ending.lifecycle is not Lifecycle.DONE:
            ending = replace(one.asked, exit=ending.exit)
        tests = package_tests.account(ending, one.task.out, said, one.seconds)
        self._end_tests(replace(known[one.task.prepared.cell.name], tests=tests), known)

    def _end_tests(self, record: Record, known: dict[str, Record]) -> None:
        known[record.cell.name] = record
        self._write(record)
        if record.tests:
            self.say(f"  {record.cell.title}: its own tests: {record.tests}, {record.tests.reason}")

    def _end(self, record: Record, known: dict[str, Record]) -> None:
        known[record.cell.name] = record
        self._write(record)
        self.told(record)

    def _write(self, record: Record) -> None:
        folder = self.out / record.cell.name
        try:
            files.make_folder(folder)
            records.write(folder / records.CELL, record.to_json())
        except OSError as error:
            self.say(f"conformance: the record of {record.cell.name} cannot be written: {error.strerror}")


def _beforehand(cell: Cell) -> Ending:
    """Return the ending of a cell that has not been started."""
    if cell.unresolvable:
        return Ending(Lifecycle.UNRESOLVABLE, cell.problem)
    if cell.unfit:
        return Ending(Lifecycle.UNFIT, cell.unfit)
    return Ending(Lifecycle.NOT_RUN, cell.problem) if cell.problem else NOT_COME


def _digests(prepared: Prepared, earlier: dict[str, str]) -> dict[str, str]:
    """Return the digests of the inputs of a start, combined with those of earlier starts that it resumes."""
    cell = prepared.cell
    now = {"suite": digests.of_suite(), **({"lock": digests.of_file(Path(cell.lock))} if cell.lock else {})}
    return digests.joined({k: v for k, v in earlier.items() if k != "results"}, {**now, **prepared.digests})


def has_begun(folder: Path) -> bool:
    """Return whether the folder contains a run of ``check`` that can be resumed."""
    results = (folder / records.JOURNAL, folder / records.RESULTS)
    return files.is_there(folder / records.PLAN) and any(files.is_there(path) for path in results)


def arguments(run: Run, folder: Path, *, anew: bool = False) -> tuple[str, ...]:
    """Return the arguments of ``check``, for a new run or for a resumed one."""
    limit = ("--limit", f"{max(run.bounds.seconds - 60, run.bounds.seconds * 0.9):g}")
    given = () if "--limit" in run.arguments else limit
    if has_begun(folder) and not anew:
        return ("--resume", "{out}", *given)
    return ("--out", "{out}", *given, *run.arguments)


def in_effect(ending: Ending, cell: Cell, folder: Path, *, also_tested: bool) -> Ending:
    """Return the ending, or `candidate not in effect` for a finished cell that did not test its candidates.

    ``also_tested`` is whether the package's own tests test the candidates too, so that the suite needs no case for them.
    """
    if ending.lifecycle is not Lifecycle.DONE or not cell.candidates:
        return ending
    try:
        environment = documents.read(folder / records.ENVIRONMENT, effect.SHAPE)
        planned = None if also_tested else records.libraries(folder)
        troubles = effect.troubles(environment, cell.candidates, planned)
    except Unreadable as error:
        troubles = [f"{records.ENVIRONMENT} does not say which libraries were tested ({error.brief})"]
    return Ending(Lifecycle.NOT_IN_EFFECT, "; ".join(troubles), ending.exit) if troubles else ending


def container_name(run: Run, cell: Cell) -> str:
    """Return the name of the container: unique among all runs, and the same in a resumed run."""
    return f"conformance-{run.id}-{cell.name}"


def _die_with_runner() -> None:
    """Request, between fork and exec, that the kernel kills the child when the runner ends for any reason."""
    if sys.platform == "linux":
        _LIBC.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)


def _tail(log: Path, start: int, most: int) -> str:
    """Return the end of the log after ``start``, at most ``most`` bytes."""
    try:
        with files.opened(log, follow=False) as file:
            return os.pread(file, most, max(start, os.fstat(file).st_size - most)).decode(errors="replace")
    except Unreadable as error:
        return str(error)


def exit_code(run: Sequence[Record], stopped: int | None) -> int:
    """Return the exit code of the run: the worst of its cells. A cell without results is incomplete."""
    if stopped is not None:
        return Exit.INTERRUPTED if stopped == signal.SIGINT else Exit.TERMINATED
    codes = [max(_code(record.ending), _tests_code(record)) for record in run]
    nothing = all(record.ending.lifecycle is Lifecycle.UNRESOLVABLE for record in run)
    return max([*codes, Exit.INCOMPLETE if nothing else Exit.OK])


def _code(ending: Ending) -> int:
    if ending.lifecycle is Lifecycle.DONE:
        return Exit.INCOMPLETE if ending.exit is None else ending.exit
    if ending.lifecycle is Lifecycle.UNRESOLVABLE:
        return Exit.OK
    return Exit.NO_ROOM if ending.lifecycle is Lifecycle.NO_SPACE else Exit.INCOMPLETE


def _tests_code(record: Record) -> int:
    """Return the exit code of the package's own tests; 0 for a cell without results, whose own code counts."""
    return record.tests.code if record.tests and record.ending.lifecycle is Lifecycle.DONE else Exit.OK
