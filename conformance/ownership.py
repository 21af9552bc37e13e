"""The lock of a results folder: only one run at a time writes to it, inside and outside the cells."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conformance import files
from conformance.exits import UserError

LOCK = ".lock"


@contextmanager
def owned(out: Path) -> Iterator[None]:
    """Hold the lock of a results folder. The kernel releases it when the process ends, also after a crash.

    Raises UserError if another run holds it.
    """
    try:
        lock = files.own(out / LOCK, os.O_RDWR)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the writer of the results reports a full or read-only folder
            raise
        raise UserError(
            f"{out / LOCK} cannot be used: {error.strerror}; remove it, or choose another folder"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another run is writing to {out}; wait for its end, or choose another folder") from None
        yield
    finally:
        os.close(lock)
