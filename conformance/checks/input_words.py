"""Phrases for the special properties of the input, such as "an array with negative strides".

A phrase ends a sentence in reports, and is a part of the id of a finding. So a change of a phrase changes finding ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from conformance.protocols.dtypes import DTYPES

from .catalogue import Case
from .layouts import EMPTY, HIGH_RANK, NEGATIVE, OFFSET, PLAIN, SCALAR, STRIDED, UNIT, ZERO_STRIDE

PLAIN_DTYPE = "float32"
_OF_DTYPE = "an array of "
_STATE = "a tensor in the state "
_LAYOUTS = {
    **dict.fromkeys(STRIDED, "a strided view"),
    **dict.fromkeys(UNIT, "an array with dimensions of size 1"),
    **dict.fromkeys(NEGATIVE, "an array with negative strides"),
    **dict.fromkeys(ZERO_STRIDE, "a broadcast view"),
    **dict.fromkeys(EMPTY, "an array without elements"),
    **dict.fromkeys(SCALAR, "a 0-d array"),
    **dict.fromkeys((*HIGH_RANK, "rank-65"), "an array of high rank"),
    **dict.fromkeys(OFFSET, "a view with an offset"),
    "pitched": "padded rows",
    **dict.fromkeys(PLAIN, ""),
}


def special(case: Case) -> str:
    """Return the phrase for the case's state, layout or element type, the first of these that is not the default, or an empty string."""
    state = case.option("state", "")
    if state:
        return f"{_STATE}{state}"
    layout = case.option("layout", case.option("array", "c-order"))
    return described(layout, case.option("dtype", PLAIN_DTYPE))


def described(layout: str = "c-order", kind: str = PLAIN_DTYPE) -> str:
    """Return the phrase for an array with this layout and element type. It is empty for a plain array."""
    return _LAYOUTS.get(layout, "") or ("" if kind == PLAIN_DTYPE else f"{_OF_DTYPE}{kind}")


# -- phrases for several special properties

_AND = " that is also "
_WAY = ", "
_SHAPED = {
    "layout": {
        **dict.fromkeys(("transposed", "padded", "stepped"), "a strided view"),
        "reversed": "an array with negative strides", "broadcast": "a broadcast view",
    },
    "rank": {"rank-0": "a 0-d array"},
    "size": {
        "one": "an array of one element", "empty": "an array without elements", "long": "an array with an extent of 300",
        "page": "an array of more than 4 KiB", "large": "an array of more than 64 Ki elements", "huge": "an array with a stride above 2**31",
    },
    "access": {"readonly": "a read-only array"},
    "content": {"zeros": "an array of zeros", "raw": "an array of signalling NaNs or of bool bytes above 1"},
}  # fmt: skip
"""Noun phrases for levels of factors (``points.py``) that describe the array."""
_WAYS = {
    "form": {
        "legacy": "a legacy capsule", "byte-offset": "a capsule with a `byte_offset`", "version-1.0-byte-offset": "a capsule with a `byte_offset`, a capsule for DLPack 1.0", "legacy-byte-offset": "a capsule with a `byte_offset`, a legacy capsule",
        "version-1.0-no-strides": "an array with NULL strides", "legacy-no-strides": "an array with NULL strides, a legacy capsule",
        "dictionary-2": "a dictionary of version 2",
        "strides-told": "explicit strides of a C-contiguous array", "dictionary-2-strides-told": "explicit strides in a dictionary of version 2",
    },
    "path": {
        "view": "a view of an array that is gone", "reexport": "an import that is exported again", "copy": "`copy=True`",
        "shared": "`copy=False`", "after-refusal": "an exchange after a refusal",
        "far-reexport": "an import with a stride above 2**31 that is exported again",
    },
    "count": {
        "second": "a second export", "again": "an export after one that was released", "hundredth": "the hundredth exchange",
        "beside": "an exchange beside that of another view from the same element",
    },
    "place": {
        "in-thread": "an exchange in another thread", "in-fork": "an exchange in a forked process",
        "in-thread-of-fork": "an exchange in a thread of a forked process",
    },
}  # fmt: skip
"""Noun phrases for levels of factors that describe the exchange and not the array."""


def combined(changed: Iterable[tuple[str, str]]) -> str:
    """Return the phrase for an exchange with these levels. It is empty if there are none. :func:`parts` splits it again."""
    levels = tuple(changed)
    arrays = dict.fromkeys(word for name, level in levels if (word := _shaped(name, level)))
    ways = [word for name, level in levels if (word := _way(name, level))]
    return _WAY.join([*([_AND.join(arrays)] if arrays else []), *ways])


def _shaped(name: str, level: str) -> str:
    if name == "dtype":
        return f"{_OF_DTYPE}{level}"
    if name == "offset":
        return "a view with an offset"
    if name == "rank" and level not in _SHAPED["rank"]:
        return f"an array of {level.removeprefix('rank-')} dimension{'s' * (level != 'rank-1')}"
    return _SHAPED.get(name, {}).get(level, "")


def _way(name: str, level: str) -> str:
    known = _WAYS.get(name, {}).get(level, "")
    return (
        f"a capsule for DLPack {level.removeprefix('version-')}"
        if level.startswith("version-") and not known
        else known
    )


def parts(given: str) -> tuple[str, ...]:
    """Return the single phrases of a result of :func:`combined`, in order. Any other phrase is one part."""
    found = pieces(given)
    return found if all(part in _ways() or is_ordinary(part) for part in found) else (given,)


def pieces(given: str) -> tuple[str, ...]:
    """Return the phrase split at its separators, without a check that each piece is known.

    A check may have added its own phrase. A separator in that phrase splits it into pieces without meaning.
    """
    array, *ways = given.split(_WAY)
    return (*array.split(_AND), *ways)


@lru_cache
def _ways() -> frozenset[str]:
    numbered = {f"a capsule for DLPack 1.{minor}" for minor in range(10)}
    ranks = {_shaped("rank", f"rank-{rank}") for rank in range(8)}
    tables = (*_SHAPED.values(), *_WAYS.values())
    return frozenset(word for table in tables for word in table.values()) | numbered | ranks


def is_of_type(given: str) -> bool:
    """Return whether this phrase names the element type of an array, and no other property."""
    return given.startswith(_OF_DTYPE) and given.removeprefix(_OF_DTYPE) in DTYPES


def is_ordinary(given: str) -> bool:
    """Return whether this is the phrase for an ordinary array with some layout, element type or state, and not for crafted input."""
    return not given or given in _LAYOUTS.values() or given.startswith((_OF_DTYPE, _STATE))
