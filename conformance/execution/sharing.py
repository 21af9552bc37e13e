"""The machine's GPUs among runs: several may use them at once, unless one of them looks at the order of streams.

Work of another process takes turns with ours on the device, so what is held may look held for longer than it is.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "conformance-gpus.lock"
"""A file in the machine's folder for temporary files. The kernel lets go of it when a process ends, however it ends."""
_POLL_SECONDS = 0.2


@contextmanager
def gpus(*, alone: bool, waits: Callable[[], bool]) -> Iterator[bool]:
    """Use the GPUs beside other runs, or ``alone``; yields whether they were to be had.

    ``waits`` is asked again and again while another run has them, until it does not want to wait any longer.
    """
    lock = _opened(Path(tempfile.gettempdir(), NAME))
    try:
        yield _locked(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, waits)
    finally:
        os.close(lock)


def _opened(path: Path) -> int:
    """Where everybody may write, the kernel lets nobody create a file that is another user's; opening it is allowed.

    Whatever somebody has put there is not waited for: a lock on a pipe is one, too.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o644)


def _locked(lock: int, mode: int, waits: Callable[[], bool]) -> bool:
    while True:
        try:
            fcntl.flock(lock, mode | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if not waits():
                return False
            time.sleep(_POLL_SECONDS)
