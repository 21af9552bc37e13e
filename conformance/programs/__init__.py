"""Programs that checks run in new interpreters: ``python -m conformance.programs.NAME ARGUMENT…``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from conformance.checks import children, gpu_turns
from conformance.checks.children import IMPORTING, NO_TURN
from conformance.checks.outcomes import Inconclusive


def tell(**record: object) -> None:
    """Write a record, unbuffered, so that it survives a crash. ``at`` is the monotonic time in seconds."""
    sys.stdout.flush()
    children.tell({"at": time.monotonic(), **record})


@contextmanager
def importing(name: str) -> Iterator[None]:
    """Mark the time inside the context as the import of a library."""
    tell(**{IMPORTING: name})
    yield
    tell(imported=name)


@contextmanager
def gpu_alone() -> Iterator[None]:
    """Hold exclusive use of the GPU inside the context. A program of an exclusive invariant does all work except its imports there.

    The wait is reported as an import, so it does not count for the case's timeout.
    """
    with ExitStack() as turn:
        with importing("the turn on the GPU"):
            try:
                turn.enter_context(gpu_turns.alone())
            except Inconclusive as undecided:
                tell(**{NO_TURN: str(undecided)})
                sys.exit(0)
        yield
