"""Public bugs of real libraries that the invariants are based on, each with a one-sentence description.

The data are in ``bugs.json``. An invariant refers to bugs in its ``bugs``, by key or by class of bugs (such as ``I07``). A deliberate fault
refers to the bugs that it imitates.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Bug:
    """One bug. ``references`` are issues as ``repository#number``. ``libraries`` names producer and consumer, ``status`` the resolution."""

    key: str
    references: tuple[str, ...]
    year: int
    libraries: str
    symptom: str
    status: str


@lru_cache(maxsize=1)
def all_bugs() -> dict[str, Bug]:
    """Return all bugs by key."""
    return {key: Bug(key, tuple(data.pop("references")), **data) for key, data in _loaded()["bugs"].items()}


def named(keys: Iterable[str]) -> tuple[Bug, ...]:
    """Return the bugs with these keys, without duplicates. Keys that are not bugs are ignored."""
    known = all_bugs()
    return tuple(known[key] for key in dict.fromkeys(keys) if key in known)


def of_classes(keys: Iterable[str]) -> tuple[Bug, ...]:
    """Return example bugs for the classes among these keys."""
    classes: dict[str, list[str]] = _loaded()["classes"]
    return named(bug for key in keys for bug in classes.get(key, ()))


def _loaded() -> dict[str, Any]:
    content = resources.files(__package__).joinpath("bugs.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(content)
    return loaded
