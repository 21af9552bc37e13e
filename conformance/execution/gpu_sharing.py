"""GPU access among runs: several runs share the GPUs, except while one of them tests the order of streams.

The device alternates between processes, so an operation can appear to be pending for longer than it is.

Runs of all users meet at one lock in a shared folder. The suite never writes to the lock, follows no link, and waits
for nothing but the lock. If the name belongs to anything but a file that all users can read, the runs lock the folder
itself. Root owns that folder, so no other user can replace it, and all runs see the same one. Another user can still
hold the lock, as any run does. The waiting run reports this and waits until its time limit.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = Path("/tmp/conformance-gpus.lock")
"""Path of the lock, independent of ``TMPDIR`` so that runs of all users find it.

The kernel releases the lock when a process ends for any reason.
"""
_READABLE = 0o444
_POLL_SECONDS = 0.2


@contextmanager
def gpus(*, alone: bool, waits: Callable[[], bool]) -> Iterator[bool]:
    """Use the GPUs with other runs, or ``alone``; yields whether they were available.

    ``waits`` is called repeatedly while another run holds the GPUs; it returns False to stop waiting.

    Raises:
        OSError: neither a file nor the folder can be locked.
    """
    mode = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    while True:
        lock = opened(LOCK)
        try:
            granted = _locked(lock, mode, waits)
            if not granted or _is_still_there(lock):
                yield granted
                return
        finally:
            os.close(lock)


def opened(path: Path) -> int:
    """Return a descriptor of the lock file, which is created if missing, or of its folder if the file is unsuitable."""
    if not os.path.lexists(path):
        _make(path)
    try:
        found = os.open(
            path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )  # O_NONBLOCK: opening a pipe would wait for a writer
    except OSError:
        return _folder(path)
    if is_fit(os.fstat(found)):
        return found
    os.close(found)
    return _folder(path)


def can_be_file(path: Path) -> bool:
    """Return whether the lock is a suitable file, or can be created as one."""
    try:
        return is_fit(os.lstat(path))
    except FileNotFoundError:
        return True


def is_fit(found: os.stat_result) -> bool:
    """Return whether every user can open this file: all runs must choose the same lock."""
    return stat.S_ISREG(found.st_mode) and found.st_mode & _READABLE == _READABLE


def _make(path: Path) -> None:
    """Create the lock file. ``O_EXCL`` follows no link. If creation fails, the caller locks the folder."""
    before = os.umask(0)
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _READABLE))
    except OSError:
        pass
    finally:
        os.umask(before)


def _folder(path: Path) -> int:
    return os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _is_still_there(lock: int) -> bool:
    """Return whether the lock still has its name. If another process removed the file, later runs would use a new one."""
    other = opened(LOCK)
    try:
        return os.path.samestat(os.fstat(lock), os.fstat(other))
    finally:
        os.close(other)


def _locked(lock: int, mode: int, waits: Callable[[], bool]) -> bool:
    while True:
        try:
            fcntl.flock(lock, mode | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if not waits():
                return False
            time.sleep(_POLL_SECONDS)
