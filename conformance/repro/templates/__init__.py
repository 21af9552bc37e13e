"""Hand-written scripts: a module for each class of cases in which libraries are known to fail."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from conformance.checks.catalogue import Case

from ..text import without_unused


@dataclass(frozen=True)
class Readable:
    """A script without its head. ``how`` describes in words what it does."""

    how: str
    code: str


Template = Callable[[Case], "Readable | None"]
"""Returns the script of a case, or ``None`` if it does not cover the case."""

_registered: dict[str, Template] = {}


def template(*invariants: str) -> Callable[[Template], Template]:
    """Register the decorated function for the cases of these invariants."""

    def register(write: Template) -> Template:
        for name in invariants:
            if name in _registered:
                raise ValueError(f"{name} has two templates")
            _registered[name] = write
        return write

    return register


def readable(case: Case) -> Readable | None:
    """Return the hand-written script of a case; ``None`` if there is no template for it."""
    write = _all().get(case.invariant)
    found = write(case) if write else None
    return found and replace(found, code=without_unused(found.code))


@lru_cache(maxsize=1)
def _all() -> dict[str, Template]:
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}")
    return dict(_registered)
