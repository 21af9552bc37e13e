"""Pool of the processes that run cases: a fork server and its monitors. The supervisor hands one job at a time to each monitor.

A monitor answers even if the process of its case crashes. If a monitor itself ends, a new one tries its job again.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from conformance.checks import signal_senders

from . import forkserver
from .early_server import Started
from .jobs import Job
from .journal import Event
from .messages import Line
from .output_tail import Tail
from .schedule import Kind, Schedule

Receive = Callable[[dict[str, Any]], None]
"""Receives a record for the journal: a case started, has a result, or cannot run. A record of a trace has no event."""

_PIECE = 1 << 16
_CONNECT_SECONDS = 1.0
_MONITORS = 3
"""Number of monitors that may end during one job before the pool gives up the job."""


class Pool(Protocol):
    """Processes that run the jobs of each stage."""

    @property
    def is_busy(self) -> bool:
        """Whether jobs are left or running."""

    def trouble(self) -> str | None:
        """Receive what has arrived, and return why the processes cannot go on, or ``None``."""

    @property
    def has_begun(self) -> bool:
        """Whether the server has imported everything."""

    @property
    def was_ended(self) -> bool:
        """Whether a signal of another process ended a process that the pool needs."""

    def begin(self, schedule: Schedule, most: int) -> None:
        """Take the jobs of a stage, of which ``most`` may run at a time."""

    def listen(self, seconds: float) -> None:
        """Hand out jobs, and receive what has arrived, waiting at most ``seconds``."""

    def give_up(self, name: str, pid: int) -> None:
        """Kill the process that does not answer for its case."""

    def close(self, seconds: float) -> None:
        """End all processes, and receive their last output for at most ``seconds``."""


@dataclass
class Lane:
    """A monitor with its job. ``lost`` is the number of monitors that ended during this job."""

    name: str
    line: Line | None = None
    pid: int = 0
    job: Any = None
    rest: deque[Job] = field(default_factory=deque)
    """The remaining jobs of its batch."""
    kind: Kind = Kind.ORDINARY
    fills: bool = False
    """Whether its jobs are fillers. The stage does not wait for fillers."""
    is_told: bool = False
    """Whether the start of the job was reported."""
    lost: int = 0


class MonitorPool:
    """A fork server with one monitor for each job that may run at a time. They serve all stages."""

    def __init__(self, started: Started, receive: Receive, words: Tail) -> None:
        self._receive = receive
        self._words = words
        self._is_silent = False
        """Whether all processes have closed their output."""
        self._server = started.server
        self._selector = selectors.DefaultSelector()
        self._selector.register(started.output, selectors.EVENT_READ, None)
        self._started = time.monotonic()
        self._schedule = Schedule((), "", 1)
        self._alone = Lane("alone")
        """Exclusive cases have separate processes: an ordinary case may have set up CUDA with other settings."""
        self._lanes: list[Lane] = []
        self._working: list[Lane] = []
        self.was_ended = False

    @property
    def is_busy(self) -> bool:
        """Whether jobs are left or running."""
        return not self._schedule.is_empty or any(lane.job is not None or lane.rest for lane in self._working)

    @property
    def has_begun(self) -> bool:
        """Whether the server has imported everything."""
        return self._server.has_begun

    def trouble(self) -> str | None:
        """Receive what has arrived, and return why the processes cannot go on, or ``None``."""
        if self._server.ended is not None:
            self.listen(0)
            code = self._server.code
            self.was_ended = code is not None and -code in signal_senders.FOREIGN
            return f"the fork server ended with {self._server.ended}"
        if not self.has_begun and time.monotonic() - self._started > forkserver.START_SECONDS:
            return f"the fork server has not started within {forkserver.START_SECONDS:g} s"
        return None

    def begin(self, schedule: Schedule, most: int) -> None:
        """Take the jobs of a stage, of which ``most`` may run at a time."""
        self._schedule = schedule
        self._lanes += [Lane(f"m{number}") for number in range(len(self._lanes), most)]
        self._working = [self._alone, *self._lanes[: most - 1]] if schedule.is_exclusive else self._lanes[:most]

    def listen(self, seconds: float) -> None:
        """Hand out jobs, and receive what has arrived, waiting at most ``seconds``."""
        if self.has_begun and self._server.ended is None:
            self._hand_out()
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                self._read_words(key.fd)
            else:
                self._read(key.data)

    def give_up(self, name: str, pid: int) -> None:
        """Kill the monitor that does not answer. Its children end with it."""
        for lane in self._working:
            if lane.name == name and lane.pid == pid:
                lane.job = None
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                self._disconnect(lane)

    def close(self, seconds: float) -> None:
        """End all processes, and receive their last output for at most ``seconds``."""
        for lane in (self._alone, *self._lanes):
            self._disconnect(lane)
        self._server.close()
        end = time.monotonic() + seconds
        while not self._is_silent and (left := end - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                self._read_words(key.fd)
        self._server.close_all()
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
        self._selector.close()

    # -- jobs

    def _hand_out(self) -> None:
        for lane in self._working:
            if lane.job is not None:
                continue
            if not lane.rest:
                lane.kind, batch = self._schedule.next(self._running(), alone=lane is self._alone)
                lane.rest.extend(batch)
                lane.fills = False
            if not lane.rest and lane is not self._alone and self._waits_for_others():
                lane.rest.extend(self._schedule.filler())
                lane.fills = True
            if lane.rest:
                lane.job, lane.lost, lane.is_told = lane.rest.popleft(), 0, False
                self._ask(lane)

    def _waits_for_others(self) -> bool:
        """Return whether other processes still work on the stage, and few enough run fillers."""
        busy = [lane for lane in self._working if lane.job is not None]
        filling = sum(lane.fills for lane in busy)
        return (filling < len(busy) or not self._schedule.is_empty) and filling < self._schedule.most_filling

    def _running(self) -> Counter[Kind]:
        return Counter(lane.kind for lane in self._working if lane.job is not None and not lane.fills)

    def _ask(self, lane: Lane) -> None:
        """Send the job of a lane to its monitor. Start a monitor if the lane has none."""
        try:
            if lane.line is None:
                lane.line, lane.pid = Line(self._server.path, _CONNECT_SECONDS), 0
                self._selector.register(lane.line, selectors.EVENT_READ, lane)
                lane.line.send({forkserver.HELLO: True})
            lane.line.send(lane.job.to_json())
        except OSError as error:
            self._lose(lane, error)
        else:
            self._tell_begin(lane)

    def _tell_begin(self, lane: Lane) -> None:
        """Report the start of the job, as soon as the process id of the monitor is known."""
        if lane.pid and not lane.is_told:
            lane.is_told = True
            self._tell(lane, Event.START, case=lane.job.case.id, isolation=lane.job.isolation.value)

    def _read(self, lane: Lane) -> None:
        if lane.line is None:
            return
        messages = lane.line.received()
        if messages is None:
            self._lose(lane, ConnectionResetError("the monitor has ended"))
            return
        for message in messages:
            if forkserver.HELLO in message:
                lane.pid = message[forkserver.HELLO]
                self._tell_begin(lane)
            else:
                self._take(lane, message)

    def _take(self, lane: Lane, answer: dict[str, Any]) -> None:
        job, lane.job = lane.job, None
        if "traced" in answer:
            self._receive({"traced": answer["traced"], "case": job.case.id, "worker": lane.name})
        else:
            self._tell(lane, Event.END, result=answer["result"], process=answer["process"], spent=answer["spent"])

    def _lose(self, lane: Lane, error: OSError) -> None:
        """Give the job of a lost monitor to a new one, up to a limit. If the server has ended, do nothing: the pass ends."""
        self._disconnect(lane)
        lane.lost += 1
        if lane.job is None or self._server.ended is not None:
            return
        if lane.lost < _MONITORS:
            self._ask(lane)
            return
        job, lane.job = lane.job, None
        self._tell(lane, Event.TROUBLE, what=f"no process could run {job.case.id}: {type(error).__name__}: {error}")

    def _disconnect(self, lane: Lane) -> None:
        if lane.line is not None:
            self._selector.unregister(lane.line)
            lane.line.close()
            lane.line = None

    def _tell(self, lane: Lane, event: Event, **facts: Any) -> None:
        record = {"event": event.value, "at": round(time.time(), 3), "worker": lane.name, "pid": lane.pid, **facts}
        self._receive(record)

    def _read_words(self, descriptor: int) -> None:
        piece = os.read(descriptor, _PIECE)
        self._words.add(piece)
        if not piece:
            self._is_silent = True
            self._selector.unregister(descriptor)
            os.close(descriptor)
