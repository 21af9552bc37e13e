"""The machine's GPUs among runs: several may use them at once, unless one of them looks at the order of streams.

Work of another process takes turns with ours on the device, so what is held may look held for longer than it is.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "conformance-gpus.lock"
"""A file in the machine's folder for temporary files. The kernel lets go of it when a process ends, however it ends."""


@contextmanager
def gpus(*, alone: bool, waiting: Callable[[], None]) -> Iterator[None]:
    """Use the GPUs beside other runs, or ``alone``; ``waiting`` is called if that has to be waited for."""
    lock = os.open(Path(tempfile.gettempdir(), NAME), os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        mode = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        try:
            fcntl.flock(lock, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, mode)
        yield
    finally:
        os.close(lock)
