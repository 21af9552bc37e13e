"""The real bugs that the suite has learnt from: public ones, of many libraries, each in a sentence.

They lie in ``bugs.json`` beside this module. An invariant names them in its ``bugs``, by key or by the class of bugs (``I07``)
that it is about; a deliberate fault names those that it is drawn from.
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
    """One bug. ``references`` are threads as ``repository#number``; ``libraries`` says who gave to whom; ``status`` how it ended."""

    key: str
    references: tuple[str, ...]
    year: int
    libraries: str
    symptom: str
    status: str


@lru_cache(maxsize=1)
def all_bugs() -> dict[str, Bug]:
    """Every bug by key."""
    return {key: Bug(key, tuple(data.pop("references")), **data) for key, data in _loaded()["bugs"].items()}


def named(keys: Iterable[str]) -> tuple[Bug, ...]:
    """The bugs among these keys, each once; other keys are left out."""
    known = all_bugs()
    return tuple(known[key] for key in dict.fromkeys(keys) if key in known)


def of_classes(keys: Iterable[str]) -> tuple[Bug, ...]:
    """Bugs of the classes among these keys: each class comes with a few that it was found by."""
    classes: dict[str, list[str]] = _loaded()["classes"]
    return named(bug for key in keys for bug in classes.get(key, ()))


def _loaded() -> dict[str, Any]:
    content = resources.files(__package__).joinpath("bugs.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(content)
    return loaded
