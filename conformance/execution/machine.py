"""Number of processes for which this machine or container has processors and memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MOST_PROCESSES = 16
"""Default limit of processes. CUDA starts in one process at a time, and processes take turns on a GPU, so more would only wait."""
PROCESS_BYTES = 512 << 20
"""Memory that one process of a run may need with its libraries, in bytes. Memory shared with the server counts once."""
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Room:
    """Available processors and free memory in bytes; ``None`` if the kernel does not report it."""

    processors: int
    memory: int | None


@dataclass(frozen=True)
class Processes:
    """Number of processes that run cases. ``why`` is a sentence on why there are fewer than requested."""

    number: int
    why: str = ""


def room(cgroup: Path = _CGROUP, meminfo: Path = Path("/proc/meminfo")) -> Room:
    """Return the processors and memory that this process may use, within the limits of its container."""
    allowed = len(os.sched_getaffinity(0))
    share = _share(cgroup)
    processors = allowed if share is None else min(allowed, max(1, round(share)))
    left = [bytes for bytes in (_available(meminfo), _left_in(cgroup)) if bytes is not None]
    return Room(processors, min(left, default=None))


def processes(asked: int | None, there: Room) -> Processes:
    """Return the requested number of processes, or one per processor up to :data:`MOST_PROCESSES`, within ``there``.

    More processes than processors do not run faster: each takes longer, and can appear to hang.
    """
    wanted = min(there.processors, MOST_PROCESSES) if asked is None else asked
    by_memory = wanted if there.memory is None else max(1, there.memory // PROCESS_BYTES)
    number = min(wanted, there.processors, by_memory)
    if number == wanted:
        return Processes(number)
    limit = _processors(there.processors) if number == there.processors else f"{_gib(there.memory or 0)} of free memory"
    asked_for = "" if asked is None else f"-n {asked}: "
    return Processes(number, f"{asked_for}this machine has {limit}, so {_many(number)} at once")


def _processors(number: int) -> str:
    return f"{number} processor{'s' * (number > 1)}"


def _many(number: int) -> str:
    return "1 process runs" if number == 1 else f"{number} processes run"


def _gib(bytes: int) -> str:
    return f"{bytes / (1 << 30):.1f} GiB"


def _share(cgroup: Path) -> float | None:
    """Return the container's average share of processors, from version 2 or version 1 of cgroups."""
    words = _words(cgroup / "cpu.max") or [
        *_words(cgroup / "cpu/cpu.cfs_quota_us"),
        *_words(cgroup / "cpu/cpu.cfs_period_us"),
    ]
    numbers = _numbers(words)
    return numbers[0] / numbers[1] if len(numbers) == 2 and numbers[0] > 0 and numbers[1] > 0 else None


def _left_in(cgroup: Path) -> int | None:
    """Return the bytes left below the container's memory limit, if it has one."""
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        numbers = _numbers([*_words(cgroup / most), *_words(cgroup / used)])
        if len(numbers) == 2:
            return max(0, numbers[0] - numbers[1])
    return None


def _available(meminfo: Path) -> int | None:
    words = _words(meminfo)
    return 1024 * int(words[words.index("MemAvailable:") + 1]) if "MemAvailable:" in words else None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []


def _numbers(words: Iterable[str]) -> list[int]:
    """Return the numbers among the words. ``max`` is not a number."""
    return [int(word) for word in words if word.lstrip("-").isdigit()]
