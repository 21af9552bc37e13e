"""How every report tells exchanges and what went wrong in them: in words, and what is alike once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from conformance.protocols.clauses import clause

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
