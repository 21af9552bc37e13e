"""Control of garbage collection. Objects that Python frees during a check would look like releases by a library."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache


@contextmanager
def uncollected() -> Iterator[None]:
    """Disable garbage collection inside the context, so that a check does not attribute its releases to a library."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def of_now() -> Iterator[None]:
    """Collect only objects that are created inside the context. A search through the objects of large libraries takes too long."""
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
    """Collect all garbage, and exempt the remaining objects from later collections. A search through large libraries takes long.

    All generations are collected, because an automatic collection during a case may have moved garbage to the oldest generation.
    """
    gc.collect()
    gc.freeze()


@lru_cache(maxsize=1)
def _is_frozen() -> bool:
    """Return whether this process started with frozen objects. The result is cached, because the count takes milliseconds."""
    return gc.get_freeze_count() > 0
