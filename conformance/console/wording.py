"""Wording of exchanges, clauses and failure reasons, shared by all reports. Equal things are named only once."""

from __future__ import annotations

import re
from collections.abc import Iterable

from conformance.protocols.clauses import LIBRARY, UNSIDED, Clause, Duty, Role, clause

PROTOCOLS = {"dlpack": "DLPack", "cai": "CUDA Array Interface", "none": "Imports and contexts"}
CLAIMS = "Documented calls"
NATIVE = "Objects as they are"
_BY_CALL = {"claim": CLAIMS, "native": NATIVE, "style": NATIVE}
NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")
"""Parts of a reason that differ between runs: addresses and numbers."""
_CORE = 80


def way(invariant: str, protocol: str) -> str:
    """Return the name of the exchange path: a protocol, or a library's own call.

    The families of documented calls and of objects as they are test the call, which may use any protocol internally.
    """
    return _BY_CALL.get(invariant.partition(".")[0]) or PROTOCOLS.get(protocol, protocol)


def where(exchanges: Iterable[tuple[str, str, tuple[str, ...]]]) -> str:
    """Return ``a, b → c, DLPack on cuda`` for each path and device. An exchange is a path, a device and its libraries. Chains are listed separately."""
    places: dict[tuple[str, str, int], list[tuple[str, ...]]] = {}
    for name, device, libraries in exchanges:
        places.setdefault((name, device, len(libraries)), []).append(libraries)
    return "; ".join(
        f"{' → '.join(map(_names, zip(*members)))}, {name} on {device}" for (name, device, _), members in places.items()
    )


def core(reason: str) -> str:
    """Return the beginning of a reason without numbers, so that reasons with other addresses or counts compare equal."""
    return NUMBERS.sub("", reason)[:_CORE]


def many(count: int, one: str, several: str = "") -> str:
    """Return a number with its noun in the singular or plural: ``1 case``, ``2 cases``."""
    return f"{count} {one if count == 1 else several or one + 's'}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


# -- clauses

INFERRED = ", as we infer from the text"
"""Suffix of a requirement that a document only implies (a keyword with a star)."""
_UNSIDED = {"nobody": "binds no library", "user": "binds the user"}


def duty(clause: Clause) -> str:
    """Return the sides that a clause binds, with their keywords: ``the producer must, the consumer should, as we infer from the text``."""
    bound = clause.duties.get(LIBRARY)
    if bound is not None:
        return f"documented by {clause.publisher or 'the library'}"
    sides = [_strength(role, clause.duty(role)) for role in Role if clause.binds(role)]
    rest = [_UNSIDED[name] for name in UNSIDED if name in clause.duties]
    return ", ".join((*sides, *(f"the rest {text}" if sides else text for text in rest)))


def _strength(role: Role, duty: Duty) -> str:
    return f"the {role.value} {duty.keyword.rstrip('*')}{INFERRED if duty.inferred else ''}"


def known(id: str) -> Clause | None:
    """Return the clause with this id, or ``None`` if this version of the suite does not know it."""
    try:
        return clause(id)
    except KeyError:
        return None


def demand(id: str, role: Role | None) -> str:
    """Return the id of a clause with its requirement for one side. Return only the id of a clause that this version does not know."""
    found = known(id)
    if found is None:
        return id
    if role is None or not (found.binds(role) or set(UNSIDED) & found.duties.keys()):
        return f"{id}: {found.statement}"
    duty = found.duty(role)
    text = f"{duty.text.rstrip('.')}{INFERRED}." if duty.inferred else duty.text
    return f"{id}: {text}"
