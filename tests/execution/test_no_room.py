"""Full disk: one message, a separate exit code, and files that can be read and resumed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Command

from conformance.execution.results import read_lines
from conformance.exits import Exit

SELECTION = ("--between", "numpy", "--family", "pointer,layout,dtype", "--device", "host", "-n", "2")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"this user cannot mount a file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder: Path, leave: int) -> None:
    """Leave so many bytes."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    (folder / "filling").write_bytes(b"x" * max(free - leave, 0))


def test_a_run_that_fills_the_disk_says_so_and_leaves_whole_lines(conformance: Command, small_disk: Path) -> None:
    """Earlier results stay, and the rest runs after there is room again."""
    planned = 1 + len(conformance("list", "--cases", *SELECTION[:-2]).stdout.splitlines()) - 1
    fill(small_disk, 700_000)
    out = small_disk / "out"
    full = conformance("check", *SELECTION, "--out", str(out))
    assert (full.code, full.stderr.count("Traceback")) == (Exit.NO_ROOM, 0)
    assert "No space left on device" in full.stderr
    assert "make room" in full.stderr
    for file in ("plan.jsonl", "journal.jsonl"):
        text = (out / file).read_text()
        assert text.endswith("\n")
        assert [json.loads(line) for line in text.splitlines()]
    known = sum(record["event"] == "end" for record in read_lines(out / "journal.jsonl"))
    assert 0 < known < planned
    assert f"{known} of {planned} cases have an outcome" in full.stderr
    assert conformance("report", str(out)).code == Exit.INCOMPLETE
    (small_disk / "filling").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    done = conformance("check", "--resume", str(out), "-n", "2")
    assert done.code == Exit.OK, done.stderr
    assert len(list(read_lines(out / "results.jsonl"))) == planned


def test_a_disk_without_room_for_the_plan_runs_nothing(conformance: Command, small_disk: Path) -> None:
    """And leaves no half of it."""
    fill(small_disk, 20_000)
    full = conformance("check", *SELECTION, "--out", str(small_disk / "out"))
    assert (full.code, full.stderr.count("Traceback")) == (Exit.NO_ROOM, 0)
    assert "no case was run" in full.stderr
    assert not list(small_disk.glob("out/plan*"))


def test_a_full_folder_for_temporary_files_is_told_as_that(conformance: Command, small_disk: Path) -> None:
    """The folder for results has space, and the message blames no library."""
    fill(small_disk, 40_000)  # with less space Python itself chooses another folder
    full = conformance("check", *SELECTION, TMPDIR=str(small_disk))
    assert (full.code, full.stderr.count("Traceback")) == (Exit.NO_ROOM, 0), full.stderr
    assert f"temporary files cannot be written to {small_disk}: No space left on device" in full.stderr
    assert "results cannot be written" not in full.stderr
    assert "not to be trusted" not in full.stdout + full.stderr
