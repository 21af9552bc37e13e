"""Garbage, of which the moment matters: what Python frees while somebody is looked at seems to be somebody's doing."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage is collected inside: what it frees would be taken for somebody's doing."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def of_now() -> Iterator[None]:
    """Inside, a collection looks only at what is made inside: a process with large libraries takes a fraction of a second for all else."""
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
    """Exempt the objects of earlier cases from later collections: a search through those of large libraries takes a fraction of a second."""
    gc.collect()
    gc.freeze()


@lru_cache(maxsize=1)
def _is_frozen() -> bool:
    """Whether this process began with frozen objects. Asked once: to count them takes milliseconds."""
    return gc.get_freeze_count() > 0
