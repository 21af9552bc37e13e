"""Running cells side by side, from one thread: a failure is its cell's ending and no other's."""

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

from conformance.exits import Exit, UserError

from . import commands, digests, endings, records
from .base import Engine
from .model import Cell, Ending, Lifecycle, Prepared, Task
from .records import Counts, Record, Run
from .stops import Stops

POLL_SECONDS = 0.1
LOG_TAIL = 8000
_SET_DEATH_SIGNAL = 1
_LIBC = ctypes.CDLL(None)
NOT_SEEN = Ending(Lifecycle.NOT_RUN, "it was begun, and the runner ended before it did; `--resume` goes on with it")
NOT_COME = Ending(Lifecycle.NOT_RUN, "the run has not come to it")


@dataclass
class Live:
    """A cell that runs."""

    task: Task
    process: subprocess.Popen[bytes]
    counts: Counts
    before: tuple[int, int] | None
    log_start: int
    began: float = field(default_factory=time.monotonic)
    at: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    asked: Ending | None = None
    """What it will be told to have ended as, because it was asked to end."""
    asked_at: float = 0.0
    killed: bool = False

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began


Watch = Callable[[Sequence[Live]], None]
"""Shown what runs, again and again."""
Told = Callable[[Record], None]
"""Shown each cell as it ends."""


@dataclass
class Runner:
    """One run over cells. ``watch`` and ``told`` are what a person sees."""

    run: Run
    out: Path
    engine: Engine
    jobs: int
    say: Callable[[str], None]
    watch: Watch
    told: Told
    stops: Stops
    _anew: frozenset[str] = frozenset()
    """Cells whose results so far are not gone on with."""

    def go(self) -> list[Record]:
        """Run what has no final ending yet; a record for every planned cell, in the plan's order."""
        known = {cell.name: records.read_record(self.out, cell) for cell in self.run.cells}
        self._anew = frozenset(name for name, r in known.items() if r.ending.lifecycle is Lifecycle.OUT_OF_MEMORY)
        left = [cell for cell in self.run.cells if not known[cell.name].ending.final]
        for cell in left:
            known[cell.name] = replace(known[cell.name], ending=_beforehand(cell))
            self._write(known[cell.name])
        waiting = self._prepared([cell for cell in left if not cell.problem], known)
        self._all(waiting, known)
        return [known[cell.name] for cell in self.run.cells]

    def _prepared(self, cells: list[Cell], known: dict[str, Record]) -> list[Prepared]:
        self.stops.raises = True
        try:
            made = self.engine.prepare(cells)
        except KeyboardInterrupt:
            made = {c.name: Ending(Lifecycle.NOT_RUN, "the run was asked to stop before it was begun") for c in cells}
        except (OSError, UserError) as error:
            made = {cell.name: endings.build_failed(str(error)) for cell in cells}
        finally:
            self.stops.raises = False
        for cell in cells:
            found = made[cell.name]
            if isinstance(found, Ending):
                self._end(replace(known[cell.name], ending=found, facts=self.engine.facts()), known)
        return [found for cell in cells if isinstance(found := made[cell.name], Prepared)]

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
                        self._over(one, known)
                self.watch(live)
                time.sleep(POLL_SECONDS if live else 0)
        finally:
            for one in live:
                self.engine.kill(one.task, one.process)
        for prepared in waiting:
            ending = Ending(Lifecycle.NOT_RUN, "the run was asked to stop before it was begun")
            self._end(replace(known[prepared.cell.name], ending=ending), known)

    def _start(self, prepared: Prepared, live: list[Live], known: dict[str, Record]) -> None:
        """Write down that it begins, so that a runner that is killed leaves no cell that looks as if it had not been tried."""
        cell, folder = prepared.cell, (self.out / prepared.cell.name).absolute()
        anew = cell.name in self._anew
        task = Task(prepared, arguments(self.run, folder, anew=anew), folder, container_name(self.run, cell))
        earlier = known[cell.name].digests if has_begun(folder) and not anew else {}
        record = replace(
            known[cell.name], ending=NOT_SEEN, facts={**self.engine.facts(), **prepared.told},
            digests=_digests(prepared, earlier),
        )  # fmt: skip
        known[cell.name] = record
        self._write(record)
        log = folder / records.LOG
        try:
            with log.open("ab") as file:
                start = file.tell()
                self.engine.clear(task)
                command = self.engine.command(task)
                self.say(f"+ {shlex.join(command)}")
                process = subprocess.Popen(
                    command, env=dict(self.engine.environment(task)), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                    start_new_session=True, preexec_fn=_die_with_runner,
                )  # fmt: skip
        except OSError as error:
            why = f"{error.filename or command[0]}: {error.strerror}"
            full = endings.refused(why)
            self._end(replace(record, ending=full or Ending(Lifecycle.ENGINE_GONE, why)), known)
            return
        live.append(Live(task, process, Counts(folder), records.stamp(folder / records.RESULTS), start))

    def _look_at(self, one: Live) -> None:
        """Deadlines and requests to stop: first in order, then, when that takes too long or somebody insists, at once."""
        if one.asked is None and one.seconds > self.run.bounds.seconds:
            one.asked = Ending(
                Lifecycle.DEADLINE, f"it took longer than {self.run.bounds.seconds:g} s; `--resume` goes on with it"
            )
            self._ask(one)
        elif one.asked is None and self.stops.number is not None:
            name = signal.Signals(self.stops.number).name
            one.asked = Ending(Lifecycle.STOPPED, f"the run was asked to stop ({name}); `--resume` goes on with it")
            self._ask(one)
        late = one.asked is not None and time.monotonic() - one.asked_at > commands.STOP_SECONDS + 5
        if (late or (self.stops.again and one.asked)) and not one.killed:
            one.killed = True
            self.engine.kill(one.task, one.process)

    def _ask(self, one: Live) -> None:
        one.asked_at = time.monotonic()
        self.engine.stop(one.task, one.process)

    def _over(self, one: Live, known: dict[str, Record]) -> None:
        cell = one.task.prepared.cell
        said = _tail(one.task.out / records.LOG, one.log_start)
        after = records.stamp(one.task.out / records.RESULTS)
        wrote = after is not None and after != one.before
        ending = self.engine.ended(one.task, one.process.returncode, said, wrote=wrote)
        if one.asked and not (ending.lifecycle is Lifecycle.DONE and ending.exit in (Exit.OK, Exit.VIOLATIONS)):
            ending = one.asked
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

    def _end(self, record: Record, known: dict[str, Record]) -> None:
        known[record.cell.name] = record
        self._write(record)
        self.told(record)

    def _write(self, record: Record) -> None:
        folder = self.out / record.cell.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            records.write(folder / records.CELL, record.to_json())
        except OSError as error:
            self.say(f"conformance: the record of {record.cell.name} cannot be written: {error.strerror}")


def _beforehand(cell: Cell) -> Ending:
    """What is known of a cell before anything is done with it."""
    if cell.unresolvable:
        return Ending(Lifecycle.UNRESOLVABLE, cell.problem)
    return Ending(Lifecycle.NOT_RUN, cell.problem) if cell.problem else NOT_COME


def _digests(prepared: Prepared, earlier: dict[str, str]) -> dict[str, str]:
    """Of what a start runs, beside those of earlier starts whose results it goes on with."""
    cell = prepared.cell
    now = {"suite": digests.of_suite(), **({"lock": digests.of_file(Path(cell.lock))} if cell.lock else {})}
    return digests.joined({k: v for k, v in earlier.items() if k != "results"}, {**now, **prepared.digests})


def has_begun(folder: Path) -> bool:
    """Whether ``check`` has left something there that it can go on with."""
    return (folder / records.PLAN).exists() and (folder / records.JOURNAL).exists()


def arguments(run: Run, folder: Path, *, anew: bool = False) -> tuple[str, ...]:
    """What ``check`` is asked to do: what it was asked for, or to go on with what it has left."""
    limit = ("--limit", f"{max(run.bounds.seconds - 60, run.bounds.seconds * 0.9):g}")
    given = () if "--limit" in run.arguments else limit
    if has_begun(folder) and not anew:
        return ("--resume", "{out}", *given)
    return ("--out", "{out}", *given, *run.arguments)


def container_name(run: Run, cell: Cell) -> str:
    """Unique among all runs, and the same when one goes on."""
    return f"conformance-{run.id}-{cell.name}"


def _die_with_runner() -> None:
    """Between fork and exec: the kernel kills the child when the runner ends, however that ends."""
    if sys.platform == "linux":
        _LIBC.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)


def _tail(log: Path, start: int) -> str:
    """The end of what was said since then."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - LOG_TAIL))
        return file.read().decode(errors="replace")


def exit_code(run: Sequence[Record], stopped: int | None) -> int:
    """The worst of all cells; a cell without results is incomplete."""
    if stopped is not None:
        return Exit.INTERRUPTED if stopped == signal.SIGINT else Exit.TERMINATED
    codes = [_code(record.ending) for record in run]
    nothing = all(record.ending.lifecycle is Lifecycle.UNRESOLVABLE for record in run)
    return max([*codes, Exit.INCOMPLETE if nothing else Exit.OK])


def _code(ending: Ending) -> int:
    if ending.lifecycle is Lifecycle.DONE:
        return Exit.INCOMPLETE if ending.exit is None else ending.exit
    if ending.lifecycle is Lifecycle.UNRESOLVABLE:
        return Exit.OK
    return Exit.NO_ROOM if ending.lifecycle is Lifecycle.NO_SPACE else Exit.INCOMPLETE
