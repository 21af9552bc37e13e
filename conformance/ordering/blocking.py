"""Did a call block the host? It runs under latches, and a watching thread lets go of them when it provably has not returned.

A call that returns while a latch holds has not waited for it: that needs no clock. A call that does wait never returns by
itself, and no duration proves that; what does is that it has burnt many times the processor time that the same
call needed before, or that its thread sleeps in the kernel and does nothing at all. The scheduler can fake neither.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from conformance.reference.streams import Latch

_LOOK_SECONDS = 0.0003
_TIMES = 20
"""How many times the processor time of the same call, unhindered, is proof that it is waiting."""
_LEAST_NANOSECONDS = 1_000_000
_SLEEPS = 12
"""Looks in a row at a thread that sleeps and has not run in between."""


@dataclass(frozen=True)
class Called:
    """How a call under latches went. ``ended`` counts the latches, from the first, that had to end before it returned.

    ``held_gil`` says that it let nobody else run meanwhile, so that the latches' own limits ended it.
    """

    value: Any
    error: Exception | None
    ended: int
    held_gil: bool
    nanoseconds: int
    """Processor time of the process meanwhile: what blocks with the GIL held may be another thread that the call waits for."""


class _Task:
    """One call that is watched. ``patience`` is nanoseconds of its thread's processor time."""

    def __init__(self, latches: Sequence[Latch], patience: int) -> None:
        self.latches = latches
        self.patience = patience
        self.released = 0
        self._thread, self._native = threading.get_ident(), threading.get_native_id()

    def spent(self) -> int:
        """Nanoseconds of processor time of the calling thread; 0 where that cannot be had."""
        with contextlib.suppress(OSError, AttributeError):
            return time.clock_gettime_ns(time.pthread_getcpuclockid(self._thread))
        return 0

    def sleeps(self) -> bool:
        """Whether the calling thread waits in the kernel; one that only has no processor to run on does not."""
        try:
            status = Path(f"/proc/self/task/{self._native}/stat").read_bytes()
        except OSError:
            return False
        return status.rpartition(b")")[2].split()[0] in (b"S", b"D")


class _Watch:
    """The watching thread of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed = threading.Event()
        self._task: _Task | None = None
        threading.Thread(target=self._run, name="conformance-watch", daemon=True).start()

    def arm(self, task: _Task) -> None:
        """Watch from now on."""
        with self._lock:
            self._task = task
            self._armed.set()

    def disarm(self, task: _Task) -> int:
        """Stop watching; how many latches were let go of."""
        with self._lock:
            self._task = None
            self._armed.clear()
            return task.released

    def _run(self) -> None:
        while True:
            self._armed.wait()
            self._follow()

    def _follow(self) -> None:
        with self._lock:  # the clock of a thread may be asked for only while the thread lives, and its call is not over
            task = self._task
            since = last = task.spent() if task else 0
        sleeps = 0
        while task and self._task is task:
            time.sleep(_LOOK_SECONDS)
            with self._lock:
                if self._task is not task or task.released >= len(task.latches):
                    continue
                now = task.spent()
                sleeps = sleeps + 1 if now == last and task.sleeps() else 0
                last = now
                if now - since > task.patience or sleeps > _SLEEPS:
                    task.latches[task.released].release()
                    task.released += 1
                    since, sleeps = now, 0


@cache
def _watch() -> _Watch:
    return _Watch()


def call(action: Callable[[], Any], latches: Sequence[Latch], usual: int = 0) -> Called:
    """Run ``action`` in this thread while the latches hold, in the order in which they may be let go.

    ``usual`` is the processor time in nanoseconds that the same call took without a latch.
    """
    task = _Task(latches, max(_LEAST_NANOSECONDS, _TIMES * usual))
    _watch().arm(task)
    value, error = None, None
    before = time.process_time_ns()
    try:
        value = action()
    except Exception as raised:
        error = raised
    finally:
        spent = time.process_time_ns() - before
        released = _watch().disarm(task)
    expired = sum(latch.expired for latch in latches)
    return Called(value, error, released + expired, expired > 0, spent)
