"""Timeout of a case, and the time that counts for it.

Imports of libraries do not count, and neither does the wait for a processor. The process marks its imports in memory
that its parent can read. The kernel reports the wait of each thread (``schedstat``).
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

VARIABLE = "CONFORMANCE_DEADLINE"
"""Environment variable with the timeout of a case in seconds."""
DEFAULT = 60.0
"""Default timeout in seconds. It alone decides whether a case hangs, so it is far above the time of any case."""
IMPORT_SECONDS = 300.0
"""Timeout of the import of one library. The time of an import does not count for the case's timeout."""
MOST = 5.0
"""Factor of the timeout that a case may take in wall-clock time, including the wait for a processor."""
_LOOK = 0.25
"""Seconds until the first check of a process. Most cases end earlier."""


def seconds() -> float:
    """Return the timeout of a case for this process and its children."""
    return float(os.environ.get(VARIABLE, DEFAULT))


# -- time that does not count for the case


class Paused(Protocol):
    """The pauses of a process, whose time does not count."""

    def lasted(self, now: float) -> float:
        """Return the seconds of all pauses up to now, including the current one."""

    @property
    def until(self) -> float | None:
        """End of the current pause at the latest, by the monotonic clock; ``None`` outside a pause."""


class Pauses:
    """Pauses in the clock of a process. Created before a fork, written by the child, read by the parent."""

    _FORM = struct.Struct("=3d")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    @contextmanager
    def pause(self, at_most: float) -> Iterator[None]:
        """Exclude the time inside the context, up to ``at_most`` seconds. A nested pause is part of the outer one."""
        over, since, _ = self._read()
        if since:
            yield
            return
        begun = time.monotonic()
        self._write(over, begun, begun + at_most)
        try:
            yield
        finally:
            self._write(over + time.monotonic() - begun, 0.0, 0.0)

    def lasted(self, now: float) -> float:
        """Return the seconds of all pauses up to now, including the current one."""
        over, since, _ = self._read()
        return over + (now - since if since else 0.0)

    @property
    def until(self) -> float | None:
        """End of the current pause at the latest, by the monotonic clock; ``None`` outside a pause."""
        _, since, until = self._read()
        return until if since else None

    def _read(self) -> tuple[float, float, float]:
        over, since, until = self._FORM.unpack(self._memory[: self._FORM.size])
        return over, since, until

    def _write(self, over: float, since: float, until: float) -> None:
        self._memory[: self._FORM.size] = self._FORM.pack(over, since, until)


_kept: list[Pauses] = []


def keep(pauses: Pauses) -> None:
    """Record the pauses of this process in ``pauses``."""
    _kept[:] = [pauses]


@contextmanager
def not_counted(at_most: float | None = None) -> Iterator[None]:
    """Exclude the time inside the context from the case, up to ``at_most`` seconds (:data:`IMPORT_SECONDS` by default)."""
    if not _kept:
        yield
        return
    with _kept[0].pause(IMPORT_SECONDS if at_most is None else at_most):
        yield


# -- time without a processor

Waited = Mapping[tuple[int, int], float]
"""Seconds that each thread has waited for a processor since it started, by process and thread."""


def waited(group: int) -> dict[tuple[int, int], float]:
    """Return the waits of all threads of a process group; empty if the kernel does not report them."""
    return {
        (process, int(task.name)): _run_delay(task)
        for process in _members(group)
        for task in Path("/proc", str(process), "task").glob("[0-9]*")
    }


def longest(before: Waited, now: Waited) -> float:
    """Return the longest additional wait of any thread, in seconds."""
    return max((seconds - before.get(thread, 0.0) for thread, seconds in now.items()), default=0.0)


def _members(group: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        fields = stat_fields(int(folder.name))
        if fields and int(fields[2]) == group:
            found.append(int(folder.name))
    return found


def stat_fields(process: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` from the state on; empty if there is no such process."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def is_stopped(process: int) -> bool:
    """Return whether a signal or a debugger has stopped the process."""
    return stat_fields(process)[:1] in (["T"], ["t"])


def _run_delay(task: Path) -> float:
    try:
        return int((task / "schedstat").read_text(encoding="utf-8").split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


# -- timeout


class Watch:
    """The timeout of a process group that has just started its work.

    ``late`` describes an expired timeout. ``is_decided`` is false if the group had too little processor time for a
    verdict.
    """

    def __init__(self, group: int, limit: float, pauses: Paused) -> None:
        self._group = group
        self._limit = limit
        self._pauses = pauses
        self._started = time.monotonic()
        self._paused = pauses.lasted(self._started)
        self._before: Waited | None = None
        self._stopped: float | None = None
        self.late = ""
        self.is_decided = True

    @property
    def left(self) -> float:
        """Seconds until the next check, or 0 if the timeout has expired."""
        now = time.monotonic()
        if self._before is None:
            if now < self._started + _LOOK:
                return self._started + _LOOK - now
            self._before = waited(self._group)
        until = self._pauses.until
        if until is not None and is_stopped(self._group):  # a pause applies only to a running process
            self._stopped = self._stopped or now
            return self._more(self._limit, self._limit - (now - self._stopped), "timeout", self._before)
        self._stopped = None
        if until is not None:
            return self._more(IMPORT_SECONDS, until - now, "timeout of an import", self._before)
        used = now - self._started - (self._pauses.lasted(now) - self._paused)
        return self._more(self._limit, self._limit - used, "timeout", self._before)

    def _more(self, limit: float, left: float, what: str, before: Waited) -> float:
        """Return the rest of the limit after the wait for a processor is added, up to :data:`MOST` times the limit."""
        if left > 0:
            return left
        without = longest(before, waited(self._group))
        if left + without <= 0:
            self.late = f"{what} after {limit:g} s"
        elif left <= (1 - MOST) * limit:
            self.is_decided = False
            self.late = f"{what} after {limit - left:.0f} s, with no processor for {without:.0f} s of them"
        return 0.0 if self.late else min(left + without, left + (MOST - 1) * limit)
