"""Runs beside each other on one machine."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.execution import gpu_sharing

HOLDS = """
import pathlib, sys
from conformance.execution import gpu_sharing
gpu_sharing.LOCK = pathlib.Path({lock!r})
with gpu_sharing.gpus(alone={alone}, waits=lambda: True) as granted:
    assert granted
    print("holds", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs of the suite itself on this machine are none of these tests' business."""
    monkeypatch.setattr(gpu_sharing, "LOCK", tmp_path / "lock")
    return gpu_sharing.LOCK


def other_run(*, alone: bool) -> subprocess.Popen[str]:
    """Another process that has the GPUs until its input ends."""
    program = [sys.executable, "-c", HOLDS.format(alone=alone, lock=str(gpu_sharing.LOCK))]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    return process


def test_runs_share_the_gpus() -> None:
    """As long as none has to be alone."""
    other = other_run(alone=False)
    with gpu_sharing.gpus(alone=False, waits=lambda: pytest.fail("there is nothing to wait for")) as granted:
        assert granted
    other.communicate()


@pytest.mark.parametrize(("theirs", "ours"), [(True, False), (False, True), (True, True)])
def test_who_has_to_be_alone_is_alone(*, theirs: bool, ours: bool) -> None:
    """The second run waits, reports that, and continues when the first one ends, here by a kill."""
    other = other_run(alone=theirs)
    told, done = threading.Event(), threading.Event()

    def waits() -> bool:
        told.set()
        return True

    def run() -> None:
        with gpu_sharing.gpus(alone=ours, waits=waits) as granted:
            assert granted
            done.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert told.wait(30)
    assert not done.is_set()
    other.kill()
    other.communicate()
    assert done.wait(30)
    thread.join()


def test_who_does_not_want_to_wait_any_longer_goes_without() -> None:
    """A run that is stopped while it waits ends."""
    other = other_run(alone=True)
    with gpu_sharing.gpus(alone=False, waits=lambda: False) as granted:
        assert not granted
    other.communicate()


def test_the_file_of_another_user_is_not_created_again(lock: Path) -> None:
    """Where everybody may write, the kernel refuses to."""
    lock.touch()
    lock.chmod(0o444)
    with gpu_sharing.gpus(alone=True, waits=lambda: False) as granted:
        assert granted
        assert lock.is_file()


def test_every_user_can_open_the_file(lock: Path) -> None:
    """The user's umask does not apply to the lock."""
    before = os.umask(0o077)
    try:
        with gpu_sharing.gpus(alone=True, waits=lambda: False) as granted:
            assert granted
    finally:
        os.umask(before)
    assert stat.S_IMODE(lock.stat().st_mode) == 0o444


def link(lock: Path) -> None:
    """Create a link to a missing file."""
    lock.symlink_to(lock.with_name("victim"))


def pipe(lock: Path) -> None:
    """Create a pipe without a writer."""
    os.mkfifo(lock, 0o644)


def folder(lock: Path) -> None:
    """Create a folder that other users cannot remove."""
    lock.mkdir()


def closed(lock: Path) -> None:
    """Create a file that only its owner can read."""
    lock.touch(0o600)


@pytest.mark.parametrize("prepared", [link, pipe, folder, closed])
def test_whatever_another_user_has_put_there_runs_still_exclude_each_other(
    prepared: Callable[[Path], None], lock: Path
) -> None:
    """A run never writes through the entry, never waits for it, and never works without the lock."""
    prepared(lock)
    assert not gpu_sharing.can_be_file(lock)
    other = other_run(alone=True)
    with gpu_sharing.gpus(alone=False, waits=lambda: False) as granted:
        assert not granted
    other.communicate()
    with gpu_sharing.gpus(alone=True, waits=lambda: False) as granted:
        assert granted
    assert [path.name for path in lock.parent.iterdir()] == ["lock"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user as well")
@pytest.mark.parametrize("prepared", [link, pipe, folder, closed])
def test_another_user_who_was_there_first_changes_nothing(
    prepared: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sticky folder a user cannot remove another user's entry; the runs of both users still choose the same lock."""
    shared = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        shared.chmod(0o1777)
        monkeypatch.setattr(gpu_sharing, "LOCK", shared / "lock")
        as_another_user(lambda: prepared(shared / "lock"))
        as_another_user(expect_the_same_lock_as(os.stat(shared)))
        expect_the_same_lock_as(os.stat(shared))()
        assert not (shared / "victim").exists()
    finally:
        shutil.rmtree(shared)


def as_another_user(does: Callable[[], None]) -> None:
    """Call the function in a process of another user."""
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setgid(12345)
            os.setuid(12345)
            does()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0


def expect_the_same_lock_as(folder: os.stat_result) -> Callable[[], None]:
    """Return a check that a run locks the folder, regardless of the entries that it could open."""

    def look() -> None:
        lock = gpu_sharing.opened(gpu_sharing.LOCK)
        assert os.path.samestat(os.fstat(lock), folder)
        os.close(lock)

    return look


def test_a_lock_that_was_taken_away_meanwhile_is_not_the_lock(lock: Path) -> None:
    """Another run has created a new file and holds that lock."""
    other = other_run(alone=True)
    asked = 0

    def waits() -> bool:
        nonlocal asked, other
        asked += 1
        if asked == 1:
            lock.unlink()
            newer = other_run(alone=True)
            other.communicate()
            other = newer
        return asked < 3

    with gpu_sharing.gpus(alone=False, waits=waits) as granted:
        assert not granted
    other.communicate()


def test_the_lock_does_not_depend_on_the_folder_for_temporary_files(tmp_path: Path) -> None:
    """Users with different temporary folders share the GPUs."""
    program = [sys.executable, "-c", "from conformance.execution import gpu_sharing; print(gpu_sharing.LOCK)"]
    done = subprocess.run(
        program, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "/tmp/conformance-gpus.lock\n"
