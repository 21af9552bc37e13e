"""Special inputs that together are one: every element type of a width, every rank from some on, every larger array."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from conformance.checks.input_words import combined, pieces
from conformance.checks.points import RANKS
from conformance.protocols.dtypes import DTYPES

_HIGHEST = 7
"""Dimensions of the points of the family ``combination``, at most."""
_FEWEST = 3
"""Ranks that have to be special before all higher ones are said to be."""
_BASIC = ("bool", "int8", "uint8", "int16", "uint16", "float16", "int64", "uint64", "float64")
"""The element types of which a library is asked before its width is held to be the cause: libraries lack the others."""


@dataclass(frozen=True)
class Wider:
    """The phrase ``told`` in place of others, if each of ``needed`` is special; those of ``also`` are then part of it."""

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
"""In this order: the widest of each kind first."""


def widened(givens: Collection[str]) -> dict[str, str]:
    """The wider input by each that was given in cases of one mistake; the same one where nothing wider fits.

    Two inputs that are special in further respects are alike only if all of these are the same.
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
    """The phrases put together as they were: what joins two of them stays."""
    text = told
    for old, new in zip(pieces(told), rest):
        text = text.replace(old, new, 1) if old != new else text
    return text
