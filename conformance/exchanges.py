"""How everything that is told to people tells exchanges, clauses, and what went wrong: in words, and what is alike once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from conformance.protocols.clauses import Clause, Role, clause

PROTOCOLS = {"dlpack": "DLPack", "cai": "CUDA Array Interface", "none": "Imports and contexts"}
CLAIMS = "Documented calls"
NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")
"""What differs from run to run in sentences that say the same."""
_CORE = 80
_CITED = 2


def way(invariant: str, protocol: str) -> str:
    """How the array changes hands; a documented claim is about a library's own call, whatever lies below it."""
    return CLAIMS if invariant.startswith("claim.") else PROTOCOLS.get(protocol, protocol)


def where(exchanges: Iterable[tuple[str, str, tuple[str, ...]]]) -> str:
    """``a, b → c, DLPack on cuda`` for each way and device, of exchanges as way, device and libraries; chains apart."""
    places: dict[tuple[str, str, int], list[tuple[str, ...]]] = {}
    for name, device, libraries in exchanges:
        places.setdefault((name, device, len(libraries)), []).append(libraries)
    return "; ".join(
        f"{' → '.join(map(_names, zip(*members)))}, {name} on {device}" for (name, device, _), members in places.items()
    )


def core(reason: str) -> str:
    """The reason without numbers, so that addresses and counts do not keep like from like."""
    return NUMBERS.sub("", reason)[:_CORE]


def cited(clauses: Sequence[str]) -> str:
    """The first two clauses in words; one that this version does not know is left to its id."""
    return f"[{' | '.join(map(_told, clauses[:_CITED]))}]" if clauses else ""


def _told(id: str) -> str:
    try:
        return f"{id}: {clause(id).statement}"
    except KeyError:
        return id


def _names(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


# -- clauses

KEYWORDS = {
    "must": "must",
    "must*": "must, as we infer",
    "should": "should",
    "should*": "should, as we infer",
    "may": "may",
    "documented": "documented by the library",
    "fact": "a fact",
    "grey": "left open",
}
"""A source's keyword in words. A starred one is inferred from its text, so that breaking it only deviates."""
_UNSIDED = {"library": "{}", "nobody": "nobody is bound: {}", "user": "the user {}"}
"""Clauses that ask nothing of producer or consumer as such."""


def duty(clause: Clause) -> str:
    """Of whom it asks something, and how strongly."""
    if clause.binds in _UNSIDED:
        return _UNSIDED[clause.binds].format(KEYWORDS[clause.producer])
    return ", ".join(f"the {role.value} {KEYWORDS[clause.keyword(role)]}" for role in Role if binds(clause, role))


def binds(clause: Clause, role: Role) -> bool:
    """Whether a clause asks anything of this side."""
    return role.value in clause.binds.split() or clause.binds == "library"
