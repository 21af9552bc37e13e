"""Groups of special input: every element type of a width, every rank from some rank on, every larger array."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from conformance.checks.input_words import combined, pieces
from conformance.checks.points import RANKS
from conformance.protocols.dtypes import DTYPES

_HIGHEST = 7
"""Maximum number of dimensions in the family ``combination``."""
_FEWEST = 3
"""Number of ranks that must fail before the sentence says "N or more dimensions"."""
_BASIC = ("bool", "int8", "uint8", "int16", "uint16", "float16", "int64", "uint64", "float64")
"""Element types that must fail before the width is the cause. Libraries may lack other types."""


@dataclass(frozen=True)
class Wider:
    """The phrase ``told`` replaces other phrases if each of ``needed`` fails. Those of ``also`` then join the group."""

    told: str
    needed: frozenset[str]
    also: frozenset[str] = frozenset()


def _of_width(nbytes: int) -> Wider:
    names = [name for name, kind in DTYPES.items() if kind.itemsize == nbytes]
    phrases = {name: combined([("dtype", name)]) for name in names}
    told = f"an array of {nbytes}-byte elements"
    return Wider(told, frozenset(phrases[name] for name in names if name in _BASIC), frozenset(phrases.values()))


def _from_rank(rank: int) -> Wider:
    higher = (combined([("rank", name)]) for name in RANKS if int(name.removeprefix("rank-")) >= rank)
    return Wider(f"an array of {rank} or more dimensions", frozenset(higher))


_LONG, _PAGE, _LARGE = (combined([("size", size)]) for size in ("long", "page", "large"))
_WIDER = (
    *(_of_width(nbytes) for nbytes in (1, 2, 8)),
    *(_from_rank(rank) for rank in range(3, _HIGHEST - _FEWEST + 2)),
    Wider("an array with an extent of 300 or more", frozenset({_LONG, _PAGE, _LARGE})),
    Wider(_PAGE, frozenset({_PAGE, _LARGE})),
)
"""Tried in this order: the widest group of each kind first."""


def widened(givens: Collection[str]) -> dict[str, str]:
    """Return the wider input for each input of one mistake, or the same input if no group applies.

    Inputs with further special properties form a group only if these properties are equal.
    """
    found = {given: given for given in givens}
    for wider in _WIDER:
        by_rest: dict[tuple[str, ...], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for given, told in found.items():
            split = pieces(told)
            for n, part in enumerate(split):
                if part in wider.needed | wider.also:
                    by_rest[(*split[:n], wider.told, *split[n + 1 :])][part].append(given)
        for rest, members in by_rest.items():
            if wider.needed <= members.keys():
                for given in (one for of_part in members.values() for one in of_part):
                    found[given] = _replaced(found[given], rest)
    return found


def _replaced(told: str, rest: tuple[str, ...]) -> str:
    """Replace the phrases, and keep the words that join them."""
    text = told
    for old, new in zip(pieces(told), rest):
        text = text.replace(old, new, 1) if old != new else text
    return text
