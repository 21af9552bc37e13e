"""How everything that is told to people tells exchanges, clauses, and what went wrong: in words, and what is alike once."""

from __future__ import annotations

import re
from collections.abc import Iterable

from conformance.protocols.clauses import LIBRARY, UNSIDED, Clause, Duty, Role, clause

PROTOCOLS = {"dlpack": "DLPack", "cai": "CUDA Array Interface", "none": "Imports and contexts"}
CLAIMS = "Documented calls"
NATIVE = "Objects as they are"
_BY_CALL = {"claim": CLAIMS, "native": NATIVE, "style": NATIVE}
NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")
"""What differs from run to run in sentences that say the same."""
_CORE = 80


def way(invariant: str, protocol: str) -> str:
    """How the array changes hands; a documented claim is about a library's own call, whatever lies below it.

    So is a call that gets an object as it is.
    """
    return _BY_CALL.get(invariant.partition(".")[0]) or PROTOCOLS.get(protocol, protocol)


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


def many(count: int, one: str, several: str = "") -> str:
    """A number with its noun."""
    return f"{count} {one if count == 1 else several or one + 's'}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


# -- clauses

INFERRED = ", as we infer from the text"
"""What stands behind a demand that a document does not make in so many words (a starred keyword)."""
_UNSIDED = {"nobody": "binds no library", "user": "binds the user"}


def duty(clause: Clause) -> str:
    """Whom a clause binds, and how strongly: ``the producer must, the consumer should, as we infer from the text``."""
    bound = clause.duties.get(LIBRARY)
    if bound is not None:
        return f"documented by {clause.publisher or 'the library'}"
    sides = [_strength(role, clause.duty(role)) for role in Role if clause.binds(role)]
    rest = [_UNSIDED[who] for who in UNSIDED if who in clause.duties]
    return ", ".join((*sides, *(f"the rest {told}" if sides else told for told in rest)))


def _strength(role: Role, duty: Duty) -> str:
    return f"the {role.value} {duty.keyword.rstrip('*')}{INFERRED if duty.inferred else ''}"


def known(id: str) -> Clause | None:
    """The clause; ``None`` for one that is unknown here, as in the results of another version of the suite."""
    try:
        return clause(id)
    except KeyError:
        return None


def demand(id: str, role: Role | None) -> str:
    """The half of a clause that is about this side, in a sentence, with its id; only the id of a clause that is unknown here."""
    found = known(id)
    if found is None:
        return id
    if role is None or not (found.binds(role) or set(UNSIDED) & found.duties.keys()):
        return f"{id}: {found.statement}"
    told = found.duty(role)
    text = f"{told.text.rstrip('.')}{INFERRED}." if told.inferred else told.text
    return f"{id}: {text}"
