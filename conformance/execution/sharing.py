"""The machine's GPUs among runs: several may use them at once, unless one of them looks at the order of streams.

Work of another process takes turns with ours on the device, so what is held may look held for longer than it is.

Runs of all users meet at one place, in a folder where each of them may put anything. Nothing is ever written there, no link is followed,
and nothing is waited for but the lock. Where something else than a file that everybody can read has the lock's name, the folder itself is
locked. It is root's, so that nobody can exchange it, and all runs see the same. Another user can still hold the lock, as any run does:
the run says that it waits, and goes on to its limit.
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
"""Whatever ``TMPDIR`` says: another user's run has to find it. The kernel lets go of it when a process ends, however it ends."""
_READABLE = 0o444
_POLL_SECONDS = 0.2


@contextmanager
def gpus(*, alone: bool, waits: Callable[[], bool]) -> Iterator[bool]:
    """Use the GPUs beside other runs, or ``alone``; yields whether they were to be had.

    ``waits`` is asked again and again while another run has them, until it does not want to wait any longer.

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
    """A descriptor of the lock's file, which is made if nothing is there; that of its folder, if something else is."""
    if not os.path.lexists(path):
        _make(path)
    try:
        found = os.open(
            path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )  # a pipe would wait for a writer
    except OSError:
        return _folder(path)
    if is_fit(os.fstat(found)):
        return found
    os.close(found)
    return _folder(path)


def can_be_file(path: Path) -> bool:
    """Whether the lock is a file, or will be."""
    try:
        return is_fit(os.lstat(path))
    except FileNotFoundError:
        return True


def is_fit(found: os.stat_result) -> bool:
    """Whether this is a file that every user can open: all have to choose the same lock."""
    return stat.S_ISREG(found.st_mode) and found.st_mode & _READABLE == _READABLE


def _make(path: Path) -> None:
    """The kernel makes no file through a link with ``O_EXCL``. Where nothing can be made, the folder is what is locked."""
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
    """Who comes now has to meet us: neither the file's owner nor whoever clears the folder up has taken it away meanwhile."""
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
