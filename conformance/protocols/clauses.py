"""The clauses that the invariants cite: what the specifications and the libraries' own documents promise.

The text lies in ``clauses.json`` beside this module: in our own words, with its source.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from importlib import resources
from typing import Any


class Level(str, Enum):
    """How much a clause demands, and so what breaking it means."""

    MUST = "must"
    SHOULD = "should"
    OBSERVED = "observed"

    @property
    def verdict_on_failure(self) -> str:
        """What a failure at this level is called."""
        return {"must": "violates", "should": "deviates", "observed": "observed"}[self.value]


class Role(str, Enum):
    """Which side of an exchange a clause is held against."""

    PRODUCER = "producer"
    CONSUMER = "consumer"


@dataclass(frozen=True)
class Clause:
    """One rule. ``producer`` and ``consumer`` are the source's keyword for either side.

    A starred keyword (``must*``) is inferred from declarative text: breaking it is a deviation.
    """

    id: str
    statement: str
    binds: str
    producer: str
    consumer: str
    source: str

    def keyword(self, role: Role) -> str:
        """The source's keyword for that side."""
        return self.producer if role is Role.PRODUCER else self.consumer

    def level(self, role: Role) -> Level:
        """What breaking this clause means for that side."""
        return _LEVELS[self.keyword(role)]

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the documents lie that the source begins its parts with, as far as they have an address."""
        documents = _text()["sources"]
        keys = (part.split()[0] for part in self.source.split(";") if part.split())
        found = (documents[key]["url"] for key in keys if key in documents)
        return tuple(dict.fromkeys(url for url in found if url))


_LEVELS = {
    "must": Level.MUST,
    "documented": Level.MUST,
    "must*": Level.SHOULD,
    "should": Level.SHOULD,
    "should*": Level.SHOULD,
    "may": Level.OBSERVED,
    "fact": Level.OBSERVED,
    "grey": Level.OBSERVED,
}
_ORDER = (Level.MUST, Level.SHOULD, Level.OBSERVED)


def clause(id: str) -> Clause:
    """The clause of this id; ``KeyError`` if there is none."""
    return Clause(id=id, **_text()["clauses"][id])


def all_clauses() -> tuple[Clause, ...]:
    """Every clause, in the order of the specification."""
    return tuple(clause(id) for id in _text()["clauses"])


def strictest(ids: tuple[str, ...], role: Role) -> Level:
    """The highest level among these clauses for that side; a failure that breaks several is judged by it."""
    levels = {clause(id).level(role) for id in ids}
    return next((level for level in _ORDER if level in levels), Level.OBSERVED)


@lru_cache(maxsize=1)
def _text() -> dict[str, Any]:
    content = resources.files(__package__).joinpath("clauses.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(content)
    return loaded
