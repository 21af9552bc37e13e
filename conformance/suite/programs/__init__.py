"""What fresh interpreters run. Each module is a program: ``python -m conformance.suite.programs.NAME ARGUMENT…``."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

MARK = "@conformance "
"""Begins every line that is a record; whatever else is printed is the libraries' own."""


IMPORTING = "importing"
"""The key of a record after which a library is imported, up to the next record: that time is not the case's."""


def tell(**record: object) -> None:
    """Write a record, past all buffers, so that it outlives a crash; ``at`` is the time by the monotonic clock, in seconds."""
    sys.stdout.flush()
    os.write(1, f"\n{MARK}{json.dumps({'at': time.monotonic(), **record})}\n".encode())


@contextmanager
def importing(name: str) -> Iterator[None]:
    """A library is imported inside."""
    tell(**{IMPORTING: name})
    yield
    tell(imported=name)
