"""What fresh interpreters run. Each module is a program: ``python -m conformance.suite.programs.NAME ARGUMENT…``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from conformance.suite import children

IMPORTING = "importing"
"""Key of a record that starts an import. The time up to the next record does not count for the case."""
EXITING = "the exit of the interpreter"
"""The last step of a program."""


def tell(**record: object) -> None:
    """Write a record, unbuffered, so that it survives a crash; ``at`` is the monotonic time in seconds."""
    sys.stdout.flush()
    children.tell({"at": time.monotonic(), **record})


@contextmanager
def importing(name: str) -> Iterator[None]:
    """Mark the time inside the context as the import of a library."""
    tell(**{IMPORTING: name})
    yield
    tell(imported=name)
