"""Detect calls that block the host.

The call runs while latches hold streams. If it returns while a latch still holds, it did not wait for that stream: this proof needs no clock.
A call that does wait never returns by itself, and no duration proves that. A watching thread releases the latches when it has proof:
the call used many times the processor time that it needed before, or its thread sleeps in the kernel without running.
The scheduler can cause neither.
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
"""A call counts as blocked when it has used this many times its normal processor time."""
_LEAST_NANOSECONDS = 1_000_000
"""The least processor time before a call counts as blocked, for calls that are normally very short."""
_SLEEPS = 12
"""A call also counts as blocked when its thread sleeps at this many samples in a row and has not run in between."""


@dataclass(frozen=True)
class Called:
    """The result of a call that ran while latches held streams.

    ``ended`` counts the latches, from the first, that had to end before the call returned. ``held_gil`` is true if no other thread could run
    meanwhile, so that the latches expired by their own time limits.
    """

    value: Any
    error: Exception | None
    ended: int
    held_gil: bool
    nanoseconds: int
    """Processor time of the whole process during the call. A call that blocks with the GIL held may wait for another thread."""


class _Task:
    """One watched call. ``patience`` is the processor time of its thread, in nanoseconds, before it counts as blocked."""

    def __init__(self, latches: Sequence[Latch], patience: int) -> None:
        self.latches = latches
        self.patience = patience
        self.released = 0
        self._thread, self._native = threading.get_ident(), threading.get_native_id()

    def spent(self) -> int:
        """Return the processor time of the calling thread in nanoseconds, or 0 where the system does not report it."""
        with contextlib.suppress(OSError, AttributeError):
            return time.clock_gettime_ns(time.pthread_getcpuclockid(self._thread))
        return 0

    def sleeps(self) -> bool:
        """Return whether the calling thread waits in the kernel. A thread that is ready but not scheduled does not wait."""
        try:
            status = Path(f"/proc/self/task/{self._native}/stat").read_bytes()
        except OSError:
            return False
        return status.rpartition(b")")[2].split()[0] in (b"S", b"D")


class _Watch:
    """The thread that watches calls. There is one for each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed = threading.Event()
        self._task: _Task | None = None
        threading.Thread(target=self._run, name="conformance-watch", daemon=True).start()

    def arm(self, task: _Task) -> None:
        """Start to watch this call."""
        with self._lock:
            self._task = task
            self._armed.set()

    def disarm(self, task: _Task) -> int:
        """Stop watching, and return the number of latches that the thread released."""
        with self._lock:
            self._task = None
            self._armed.clear()
            return task.released

    def _run(self) -> None:
        while True:
            self._armed.wait()
            self._follow()

    def _follow(self) -> None:
        with (
            self._lock
        ):  # reading the clock of a thread that has ended is undefined; under the lock its call is not over
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
    """Run ``action`` in this thread while the latches hold. They are released in the given order.

    ``usual`` is the processor time in nanoseconds that the same call took without latches.
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
