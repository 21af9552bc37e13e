"""Clauses that the invariants cite: demands of the specifications and of the libraries' own documents, with the side that they bind.

``clauses.json`` has the text, in the suite's own words, with its source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from importlib import resources
from typing import Any

from conformance.verdict import Verdict


class Level(str, Enum):
    """The strength of a clause, which decides the verdict on a violation."""

    MUST = "must"
    SHOULD = "should"
    OBSERVED = "observed"
    ROBUSTNESS = "robustness"
    """No clause applies: the input was illegal, and the suite made it."""

    @property
    def verdict(self) -> Verdict:
        """The verdict on a failure at this level."""
        return _VERDICTS[self]

    def at_most(self, other: Level) -> Level:
        """Return the weaker of two levels."""
        return max(self, other, key=_ORDER.index)


_ORDER = (Level.MUST, Level.SHOULD, Level.OBSERVED, Level.ROBUSTNESS)
"""The levels, strictest first."""
_VERDICTS = {
    Level.MUST: Verdict.VIOLATES,
    Level.SHOULD: Verdict.DEVIATES,
    Level.OBSERVED: Verdict.OBSERVED,
    Level.ROBUSTNESS: Verdict.ROBUSTNESS,
}


class Role(str, Enum):
    """The side of an exchange that a clause binds."""

    PRODUCER = "producer"
    CONSUMER = "consumer"


class NotBound(ValueError):
    """Raised if a clause is cited against a side that it does not bind."""


LIBRARY = "library"
"""A key in place of a role: binds the library that published the document, on either side."""
UNSIDED = ("nobody", "user")
"""Keys in place of a role. The documents are silent or state a fact, or they bind the user, so no library can violate the clause."""


@dataclass(frozen=True)
class Duty:
    """One half of a clause: the source's keyword, and the demand in a sentence.

    A starred keyword (``must*``) is inferred from declarative text, so a violation is a deviation.
    """

    keyword: str
    text: str

    @property
    def level(self) -> Level:
        """The level of a violation."""
        return _LEVELS[self.keyword]

    @property
    def inferred(self) -> bool:
        """``True`` if the suite infers the demand from a source without a keyword."""
        return self.keyword.endswith("*")


@dataclass(frozen=True)
class Clause:
    """One rule. ``duties`` maps a bound party to its duty: a role, :data:`LIBRARY`, or one of :data:`UNSIDED`.

    ``publisher`` is the library that published the document, or empty for a specification.
    """

    id: str
    duties: Mapping[str, Duty]
    source: str
    publisher: str = ""

    def binds(self, role: Role) -> bool:
        """Return ``True`` if the clause binds this side."""
        return self._duty(role) is not None

    def duty(self, role: Role) -> Duty:
        """Return the half of the clause for this side. Raises :class:`NotBound` if there is none."""
        found = self._duty(role) or next((self.duties[who] for who in UNSIDED if who in self.duties), None)
        if found is None:
            raise NotBound(f"{self.id} does not bind the {role.value}")
        return found

    def level(self, role: Role) -> Level:
        """Return the level of a violation by that side. Raises :class:`NotBound` if the clause only binds the other side.

        A clause that binds no side, or the user, can be cited for an observation about either side.
        """
        found = self._duty(role)
        if found is None:
            self.duty(role)
            return Level.OBSERVED
        return found.level

    def level_for(self, role: Role, library: str) -> Level:
        """Return the level for a library by name. Another library's document is at most a recommendation to it."""
        level = self.level(role)
        return level.at_most(Level.SHOULD) if self.publisher not in ("", library) else level

    def _duty(self, role: Role) -> Duty | None:
        return self.duties.get(role.value) or self.duties.get(LIBRARY)

    @property
    def statement(self) -> str:
        """The statements of all halves, each once."""
        return " ".join(dict.fromkeys(duty.text for duty in self.duties.values()))

    @property
    def documents(self) -> str:
        """The full titles of the source's documents, each with the place in it."""
        documents = _text()["sources"]
        parts = (part.split(maxsplit=1) for part in self.source.split(";"))
        return "; ".join(f"{documents[key]['title']}{f' ({place[0]})' if place else ''}" for key, *place in parts)

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of the source's documents that have one."""
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


def clause(id: str) -> Clause:
    """Return the clause of this id. Raise ``KeyError`` if there is none."""
    data = _text()["clauses"][id]
    duties = {who: Duty(**duty) for who, duty in data["duties"].items()}
    return Clause(id, duties, data["source"], data.get("publisher", ""))


def all_clauses() -> tuple[Clause, ...]:
    """Return every clause, in the order of the specification."""
    return tuple(clause(id) for id in _text()["clauses"])


@lru_cache(maxsize=1)
def _text() -> dict[str, Any]:
    content = resources.files(__package__).joinpath("clauses.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(content)
    return loaded
