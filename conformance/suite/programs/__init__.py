"""What fresh interpreters run. Each module is a program: ``python -m conformance.suite.programs.NAME ARGUMENT…``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from conformance.suite import children

IMPORTING = "importing"
"""The key of a record after which a library is imported, up to the next record: that time is not the case's."""


def tell(**record: object) -> None:
    """Write a record, past all buffers, so that it outlives a crash; ``at`` is the time by the monotonic clock, in seconds."""
    sys.stdout.flush()
    children.tell({"at": time.monotonic(), **record})


@contextmanager
def importing(name: str) -> Iterator[None]:
    """A library is imported inside."""
    tell(**{IMPORTING: name})
    yield
    tell(imported=name)
