"""Time that a process spends on other work than checks, by purpose.

The journal records it for the optimization of run times (``tests/benchmarks/run_time.py``). No verdict depends on it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum


class Purpose(str, Enum):
    """Work of a process besides the check of a case."""

    START = "start"
    """From the fork of a child to its first request."""
    IMPORT = "import"
    """Imports of libraries in the process of the case."""
    CUDA = "cuda"
    """The first use of the driver: initialisation, and the primary context of each GPU."""
    INTERPRETERS = "interpreters"
    """New interpreters, from their start to their end."""
    SETTLE = "settle"
    """Garbage collection and clearing of caches after a case."""


_spent: defaultdict[str, float] = defaultdict(float)


@contextmanager
def on(purpose: Purpose) -> Iterator[None]:
    """Add the time inside the context, in seconds."""
    begun = time.monotonic()
    try:
        yield
    finally:
        add(purpose, time.monotonic() - begun)


def add(purpose: Purpose, seconds: float) -> None:
    """Add a time in seconds."""
    _spent[purpose.value] += seconds


def take() -> dict[str, float]:
    """Return the seconds by purpose since the last call."""
    taken = {name: round(seconds, 4) for name, seconds in _spent.items() if seconds >= 0.0001}
    _spent.clear()
    return taken
