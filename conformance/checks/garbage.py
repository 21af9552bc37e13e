"""Garbage collection at chosen moments: objects that Python frees during a check would look like the work of a library."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage inside: the check would take what it frees for the work of a library."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def of_now() -> Iterator[None]:
    """Collect only objects that are made inside: a search through those of large libraries takes a fraction of a second."""
    freezes = not _is_frozen()
    if freezes:
        gc.collect()
        gc.freeze()
    try:
        yield
    finally:
        if freezes:
            gc.unfreeze()


def set_aside() -> None:
    """Collect all garbage, and exempt from later collections what is left: a search through the objects of large libraries takes long.

    All generations are collected: a collection that Python started in the middle of a case may have moved its garbage to the oldest.
    """
    gc.collect()
    gc.freeze()


@lru_cache(maxsize=1)
def _is_frozen() -> bool:
    """Return whether this process began with frozen objects. The answer is kept, because the count takes milliseconds."""
    return gc.get_freeze_count() > 0
