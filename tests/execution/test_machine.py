"""Number of processes for which a machine has processors and memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import Command

from conformance.execution import machine
from conformance.execution.machine import PROCESS_BYTES, Processes, Room, processes, room
from conformance.exits import Exit

GIB = 1 << 30
ROOMY = Room(2, 64 * GIB)


@pytest.mark.parametrize(
    ("asked", "there", "number", "why"),
    [
        (2, ROOMY, 2, ""),
        (1, ROOMY, 1, ""),
        (None, ROOMY, 2, ""),
        (None, Room(64, None), machine.MOST_PROCESSES, ""),
        (32, Room(64, None), 32, ""),
        (32, ROOMY, 2, "-n 32: this machine has 2 processors, so 2 processes run at once"),
        (2, Room(1, None), 1, "-n 2: this machine has 1 processor, so 1 process runs at once"),
        (8, Room(8, 2 * GIB), 4, "-n 8: this machine has 2.0 GiB of free memory, so 4 processes run at once"),
        (None, Room(8, 2 * GIB), 4, "this machine has 2.0 GiB of free memory, so 4 processes run at once"),
        (4, Room(8, PROCESS_BYTES // 2), 1, "-n 4: this machine has 0.2 GiB of free memory, so 1 process runs at once"),
    ],
)
def test_no_more_processes_run_than_there_is_room_for(asked: int | None, there: Room, number: int, why: str) -> None:
    """A reduced number has a reason."""
    assert processes(asked, there) == Processes(number, why)


def files(folder: Path, **texts: str) -> Path:
    """Write files with these texts; two underscores in a name stand for a slash."""
    for name, text in texts.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    """Return the memory report of a machine with 8 GiB of free memory."""
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal: {16 << 20} kB\nMemAvailable: {8 << 20} kB\n")
    return path


def test_the_limits_of_a_container_count(tmp_path: Path, meminfo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test covers both versions of control groups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    second = files(
        tmp_path / "2", **{"cpu.max": "250000 100000\n", "memory.max": f"{4 * GIB}\n", "memory.current": f"{GIB}\n"}
    )
    first = files(
        tmp_path / "1",
        cpu__cpu_cfs_quota_us="",
        **{
            "cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n",
            "memory/memory.limit_in_bytes": f"{2 * GIB}\n", "memory/memory.usage_in_bytes": f"{3 * GIB}\n",
        },
    )  # fmt: skip
    assert room(second, meminfo) == Room(2, 3 * GIB)
    assert room(first, meminfo) == Room(4, 0)


def test_without_limits_the_machine_counts(tmp_path: Path, meminfo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group without a limit has ``max`` or -1; missing files mean that the limit is unknown."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    free = files(tmp_path / "2", **{"cpu.max": "max 100000\n", "memory.max": "max\n", "memory.current": "1\n"})
    old = files(tmp_path / "1", **{"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"})
    assert room(free, meminfo) == room(old, meminfo) == Room(16, 8 * GIB)
    assert room(tmp_path / "none", tmp_path / "none") == Room(16, None)


def test_a_share_of_a_processor_is_one(tmp_path: Path, meminfo: Path) -> None:
    """A run needs at least one process."""
    assert room(files(tmp_path / "2", **{"cpu.max": "10000 100000\n"}), meminfo).processors == 1


def test_a_run_says_why_it_has_fewer_processes(conformance: Command) -> None:
    """The output and the journal have the sentence."""
    done = conformance("check", "--between", "reference", "--family", "pointer", "--tier", "quick", "-n", "999")
    assert done.code == Exit.INCOMPLETE, done.stderr
    (begin,) = (record for record in done.journal if record["event"] == "begin")
    assert begin["processes"] <= len(os.sched_getaffinity(0))
    assert begin["why_fewer"].startswith("-n 999: this machine has ")
    assert begin["why_fewer"] in " ".join(done.stdout.split())
