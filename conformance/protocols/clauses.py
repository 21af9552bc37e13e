"""The clauses that the invariants cite: what the specifications and the libraries' own documents demand, and of whom.

The text lies in ``clauses.json`` beside this module: in our own words, with its source.
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
    """How much a clause demands, and so what breaking it means."""

    MUST = "must"
    SHOULD = "should"
    OBSERVED = "observed"
    ROBUSTNESS = "robustness"
    """No clause demands anything: the input itself was illegal, and the suite made it."""

    @property
    def verdict(self) -> Verdict:
        """The verdict on a failure at this level."""
        return _VERDICTS[self]

    def at_most(self, other: Level) -> Level:
        """The weaker of the two."""
        return max(self, other, key=_ORDER.index)


_ORDER = (Level.MUST, Level.SHOULD, Level.OBSERVED, Level.ROBUSTNESS)
"""Strictest first."""
_VERDICTS = {
    Level.MUST: Verdict.VIOLATES,
    Level.SHOULD: Verdict.DEVIATES,
    Level.OBSERVED: Verdict.OBSERVED,
    Level.ROBUSTNESS: Verdict.ROBUSTNESS,
}


class Role(str, Enum):
    """Which side of an exchange a clause is held against."""

    PRODUCER = "producer"
    CONSUMER = "consumer"


class NotBound(ValueError):
    """A clause was held against a side that it does not bind."""


LIBRARY = "library"
"""Bound in place of a role: the library whose own document the clause comes from, on whichever side it stands."""
UNSIDED = ("nobody", "user")
"""In place of a role: documents are silent or only state a fact, or the user is bound. Nothing can be broken by a library."""


@dataclass(frozen=True)
class Duty:
    """One half of a clause: the source's keyword, and the demand in a sentence.

    A starred keyword (``must*``) is inferred from declarative text: breaking it is a deviation.
    """

    keyword: str
    text: str

    @property
    def level(self) -> Level:
        """What breaking it means."""
        return _LEVELS[self.keyword]

    @property
    def inferred(self) -> bool:
        """Whether we infer the demand, because the source states it without a keyword."""
        return self.keyword.endswith("*")


@dataclass(frozen=True)
class Clause:
    """One rule. ``duties`` maps who is bound to the duty: roles, :data:`LIBRARY`, or one of :data:`UNSIDED`.

    ``publisher`` is the library whose document it is, empty for a specification.
    """

    id: str
    duties: Mapping[str, Duty]
    source: str
    publisher: str = ""

    def binds(self, role: Role) -> bool:
        """Whether the clause demands anything of this side."""
        return self._duty(role) is not None

    def duty(self, role: Role) -> Duty:
        """The half of the clause that is about this side. Raises :class:`NotBound` if there is none."""
        found = self._duty(role) or next((self.duties[who] for who in UNSIDED if who in self.duties), None)
        if found is None:
            raise NotBound(f"{self.id} does not bind the {role.value}")
        return found

    def level(self, role: Role) -> Level:
        """What breaking this clause means for that side. Raises :class:`NotBound` if it binds only the other one.

        A clause that binds nobody, or the user, can be cited for an observation about either side.
        """
        found = self._duty(role)
        if found is None:
            self.duty(role)
            return Level.OBSERVED
        return found.level

    def level_for(self, role: Role, library: str) -> Level:
        """As :meth:`level`, for a library by name: another library's document is at most a recommendation to it."""
        level = self.level(role)
        return level.at_most(Level.SHOULD) if self.publisher not in ("", library) else level

    def _duty(self, role: Role) -> Duty | None:
        return self.duties.get(role.value) or self.duties.get(LIBRARY)

    @property
    def statement(self) -> str:
        """All its halves, each once."""
        return " ".join(dict.fromkeys(duty.text for duty in self.duties.values()))

    @property
    def documents(self) -> str:
        """The documents that the source names by their titles, each with the place in it; none is abbreviated."""
        documents = _text()["sources"]
        parts = (part.split(maxsplit=1) for part in self.source.split(";"))
        return "; ".join(f"{documents[key]['title']}{f' ({place[0]})' if place else ''}" for key, *place in parts)

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of the documents that the source names, as far as they have one."""
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
    """The clause of this id; ``KeyError`` if there is none."""
    data = _text()["clauses"][id]
    duties = {who: Duty(**duty) for who, duty in data["duties"].items()}
    return Clause(id, duties, data["source"], data.get("publisher", ""))


def all_clauses() -> tuple[Clause, ...]:
    """Every clause, in the order of the specification."""
    return tuple(clause(id) for id in _text()["clauses"])


@lru_cache(maxsize=1)
def _text() -> dict[str, Any]:
    content = resources.files(__package__).joinpath("clauses.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(content)
    return loaded
