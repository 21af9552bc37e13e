"""Lock for cases that need exclusive use of the GPU. One process of a run holds it at a time.

A program imports its libraries before it acquires the lock, because an import does not use the GPU. The kernel releases the lock when a process
ends for any reason.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from . import deadline
from .outcomes import Inconclusive

VARIABLE = "CONFORMANCE_TURN"
"""Environment variable with the path of the lock file of a run. Without it, no other process of a run uses the GPU."""
SECONDS = 240.0
"""Timeout of the wait for the lock. It is below the timeout of an import, which does not count for a case either."""
_PAUSE = 0.001


@contextmanager
def alone() -> Iterator[None]:
    """Hold exclusive use of the GPU inside the context. The wait does not count for the case's timeout.

    Raises:
        Inconclusive: the lock was not free within :data:`SECONDS`.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        yield
        return
    lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with deadline.not_counted():
            _acquire(lock)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # closing is not enough: a fork of this process may keep the file open
    finally:
        os.close(lock)


def _acquire(lock: int) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # poll, because a blocking flock has no timeout
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise Inconclusive(f"the case did not get exclusive use of the GPU within {SECONDS:g} s") from None
            time.sleep(_PAUSE)
