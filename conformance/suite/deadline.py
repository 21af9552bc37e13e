"""How long one case may take before it counts as hanging, and which time counts.

The time in which a process imports a library is not the case's, nor is the time in which it waits for a processor. The first is marked by
the process itself, in memory that its parent can read; the second is the kernel's account of each thread (``schedstat``).
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
"""Environment variable with the seconds a case may take."""
DEFAULT = 60.0
"""A hang is decided by this limit alone, so it lies far above what any case needs."""
IMPORT_SECONDS = 300.0
"""What the import of one library may take. It is no part of the deadline of the case that needs it."""
MOST = 5.0
"""How many times its limit a case may take by the clock on the wall, however long it has to wait for a processor."""
_LOOK = 0.25
"""Seconds after which a process is looked at for the first time: most cases have ended by then."""


def seconds() -> float:
    """The limit for one case, in this process and its children."""
    return float(os.environ.get(VARIABLE, DEFAULT))


# -- the time that is not the case's


class Paused(Protocol):
    """What is known of the time that does not count."""

    def lasted(self, now: float) -> float:
        """Seconds of all pauses up to now, that which is going on included."""

    @property
    def until(self) -> float | None:
        """When the pause that is going on has to be over, by the monotonic clock; ``None`` if there is none."""


class Pauses:
    """When the clock of a process stands still. Made before a fork, written in the child, read in the parent."""

    _FORM = struct.Struct("=3d")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    @contextmanager
    def pause(self, at_most: float) -> Iterator[None]:
        """The time inside does not count, up to so many seconds. A pause within a pause is a part of it."""
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
        """Seconds of all pauses up to now, that which is going on included."""
        over, since, _ = self._read()
        return over + (now - since if since else 0.0)

    @property
    def until(self) -> float | None:
        """When the pause that is going on has to be over, by the monotonic clock; ``None`` if there is none."""
        _, since, until = self._read()
        return until if since else None

    def _read(self) -> tuple[float, float, float]:
        over, since, until = self._FORM.unpack(self._memory[: self._FORM.size])
        return over, since, until

    def _write(self, over: float, since: float, until: float) -> None:
        self._memory[: self._FORM.size] = self._FORM.pack(over, since, until)


_kept: list[Pauses] = []


def keep(pauses: Pauses) -> None:
    """Mark the pauses of this process there."""
    _kept[:] = [pauses]


@contextmanager
def not_counted(at_most: float | None = None) -> Iterator[None]:
    """The time inside is not the case's, up to so many seconds; :data:`IMPORT_SECONDS`, if it is not said."""
    if not _kept:
        yield
        return
    with _kept[0].pause(IMPORT_SECONDS if at_most is None else at_most):
        yield


# -- the time without a processor

Waited = Mapping[tuple[int, int], float]
"""Seconds that each thread, by process and thread, has waited for a processor since it began."""


def waited(group: int) -> dict[tuple[int, int], float]:
    """The threads of all processes of a group; nothing where the kernel does not tell."""
    return {
        (process, int(task.name)): _run_delay(task)
        for process in _members(group)
        for task in Path("/proc", str(process), "task").glob("[0-9]*")
    }


def longest(before: Waited, now: Waited) -> float:
    """Seconds that the thread which had to wait most has waited meanwhile."""
    return max((seconds - before.get(thread, 0.0) for thread, seconds in now.items()), default=0.0)


def _members(group: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        fields = stat_fields(int(folder.name))
        if fields and int(fields[2]) == group:
            found.append(int(folder.name))
    return found


def stat_fields(process: int) -> list[str]:
    """What the kernel tells of a process, from its state's letter on; nothing if there is none."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def is_stopped(process: int) -> bool:
    """Whether somebody has stopped it, by a signal or with a debugger."""
    return stat_fields(process)[:1] in (["T"], ["t"])


def _run_delay(task: Path) -> float:
    try:
        return int((task / "schedstat").read_text(encoding="utf-8").split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


# -- both


class Watch:
    """The deadline of a process group that has begun to work on something just now.

    ``late`` says that it is over: no end of what, after how many seconds. ``is_decided`` is false where the group had too little time on a
    processor for that to say anything.
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
        """Seconds after which to look again; 0 if the time is over."""
        now = time.monotonic()
        if self._before is None:
            if now < self._started + _LOOK:
                return self._started + _LOOK - now
            self._before = waited(self._group)
        until = self._pauses.until
        if until is not None and is_stopped(self._group):  # a pause is for what goes on
            self._stopped = self._stopped or now
            return self._more(self._limit, self._limit - (now - self._stopped), "no end", self._before)
        self._stopped = None
        if until is not None:
            return self._more(IMPORT_SECONDS, until - now, "no end of an import", self._before)
        used = now - self._started - (self._pauses.lasted(now) - self._paused)
        return self._more(self._limit, self._limit - used, "no end", self._before)

    def _more(self, limit: float, left: float, what: str, before: Waited) -> float:
        """What is left of this limit once the time without a processor is added, up to :data:`MOST` of it."""
        if left > 0:
            return left
        without = longest(before, waited(self._group))
        if left + without <= 0:
            self.late = f"{what} after {limit:g} s"
        elif left <= (1 - MOST) * limit:
            self.is_decided = False
            self.late = f"{what} after {limit - left:.0f} s, with no processor for {without:.0f} s of them"
        return 0.0 if self.late else min(left + without, left + (MOST - 1) * limit)
