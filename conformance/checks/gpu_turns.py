"""The turn of a case that must have the GPU to itself: of the processes of one run, one at a time has it.

Such cases run one after the other. A program that imports libraries first does so beside them, because an import uses no GPU; it takes its turn
afterwards. The kernel gives the turn back when a process ends for any reason.
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
"""Environment variable with the path of the lock file of a run. Without it, nothing else of a run works on the GPU."""
SECONDS = 240.0
"""Limit of the wait for a turn. It is shorter than the time of an import, which does not count for a case either."""
_PAUSE = 0.001


@contextmanager
def alone() -> Iterator[None]:
    """Have the GPU alone inside the context. The wait is not the case's time.

    Raises:
        Inconclusive: no turn came within :data:`SECONDS`.
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
            fcntl.flock(lock, fcntl.LOCK_UN)  # a fork of this process may keep the file open
    finally:
        os.close(lock)


def _acquire(lock: int) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise Inconclusive(f"the case did not get the GPU for itself within {SECONDS:g} s") from None
            time.sleep(_PAUSE)
