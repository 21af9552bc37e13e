"""Who may write to a folder of results: one run at a time, inside the cells and outside of them alike."""

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
    """Be the only run that writes here; the kernel lets go when a process ends, however it ends.

    Raises UserError where another one does.
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
