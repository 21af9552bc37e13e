"""Factors of an exchange and their levels, as an exporter or an importer knows them at a call."""

from __future__ import annotations

from functools import lru_cache
from math import prod

from conformance.protocols.dtypes import DLCode
from conformance.protocols.strided import Strided, c_strides, same_strides, span
from conformance.reference.exporter import NEWEST
from conformance.suggestions import meant

Level = tuple[str, str]
"""A factor and one of its levels."""
State = frozenset[Level]
"""All levels at one moment. Several levels of a factor can hold at once: a long array can be larger than a page."""

WIDTH, KIND, LAYOUT, RANK, SIZE, OFFSET, ACCESS, FORM, STRIDES, PATH, COUNT, THREAD, FORK = (
    "width", "kind", "layout", "rank", "size", "offset", "access", "form", "strides", "path", "count", "thread", "fork",
)  # fmt: skip

FACTORS: dict[str, tuple[str, ...]] = {
    WIDTH: ("1", "2", "4", "8", "16"),
    KIND: ("bool", "int", "uint", "float", "bfloat", "complex", "float8"),
    LAYOUT: ("packed", "transposed", "padded", "stepped", "reversed", "broadcast"),
    RANK: ("0", "1", "2", "3", "4", "5", "6", "7"),
    SIZE: ("empty", "one", "few", "long", "page", "large", "huge"),
    OFFSET: ("0", "some"),
    ACCESS: ("writable", "readonly"),
    FORM: ("newest", "1.0", "legacy"),
    STRIDES: ("given", "none"),
    PATH: ("own", "view", "reexport", "second", "again", "copy", "shared", "after-refusal"),
    COUNT: ("2", "100"),
    THREAD: ("other",),
    FORK: ("child",),
}
"""All factors with their levels, in a fixed order."""

DEFAULTS: dict[str, str] = {
    WIDTH: "4", KIND: "float", LAYOUT: "packed", RANK: "2", SIZE: "few", OFFSET: "0", ACCESS: "writable", FORM: "newest",
    PATH: "own",
}  # fmt: skip
"""The level of each factor in an ordinary exchange. The other factors have no level there."""

WORDS: dict[str, str] = {
    WIDTH: "elements of {} bytes",
    KIND: "elements of kind {}",
    LAYOUT: "a {} layout",
    RANK: "rank {}",
    SIZE: "size '{}'",
    OFFSET: "offset '{}'",
    ACCESS: "a {} array",
    FORM: "the form '{}'",
    STRIDES: "strides '{}' in the dictionary or capsule",
    PATH: "the path '{}'",
    COUNT: "exchange number {} and later ones",
    THREAD: "a thread that is not the main one",
    FORK: "a forked process",
}
"""The words for a level in a sentence."""

LONG = 256
"""The extent from which an array is long: it does not fit into 8 bits."""
PAGE = 4096
"""The number of bytes above which an array is larger than a page."""
LARGE = 1 << 16
"""The number of elements above which an array is large: the number does not fit into 16 bits."""
HUGE = 1 << 31
"""The span in bytes from which an array is huge: offsets do not fit into 31 bits."""
FEW = 64
"""The highest number of elements of a small array."""
ALIGNMENT = 256
"""The alignment in bytes of the reference library's blocks. Another address has an offset."""

_KINDS = {
    DLCode.BOOL: "bool", DLCode.INT: "int", DLCode.UINT: "uint", DLCode.FLOAT: "float", DLCode.BFLOAT: "bfloat",
    DLCode.COMPLEX: "complex",
}  # fmt: skip
_FLOAT8 = range(DLCode.FLOAT8_E3M4, DLCode.FLOAT8_E8M0FNU + 1)


@lru_cache(maxsize=4096)
def of_array(code: int, bits: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> State:
    """Return the levels of the element type and the view. ``strides`` are in bytes. An element of 3 bytes has no level of width."""
    found = {(LAYOUT, _layout(shape, strides, bits // 8 or 1)), (RANK, str(len(shape))), *of_type(code, bits)}
    found |= {(SIZE, size) for size in _sizes(shape, strides, bits // 8 or 1)}
    return frozenset(level for level in found if level[1] in FACTORS[level[0]])


def of_type(code: int, bits: int) -> State:
    """Return the levels of an element type: its kind, and its width if that is a number of bytes."""
    found = {(WIDTH, str(bits // 8))} if bits % 8 == 0 else set()
    kind = "float8" if code in _FLOAT8 else _KINDS.get(DLCode(code)) if code in tuple(DLCode) else None
    if kind:
        found.add((KIND, kind))
    return frozenset(found)


def _layout(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> str:
    """Return the first matching layout of packed, broadcast, reversed, transposed, stepped and padded."""
    if same_strides(shape, strides, tuple(s * itemsize for s in c_strides(shape))):
        return "packed"
    taken = [stride for extent, stride in zip(shape, strides) if extent > 1]
    if 0 in taken:
        return "broadcast"
    if any(stride < 0 for stride in taken):
        return "reversed"
    if taken != sorted(taken, reverse=True):
        return "transposed"
    return "stepped" if shape[-1] > 1 and strides[-1] > itemsize else "padded"


def _sizes(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> list[str]:
    count = prod(shape)
    if count < 2:
        return ["empty" if count == 0 else "one"]
    low, high = span(Strided(shape, strides))
    checks = {
        "few": count <= FEW,
        "long": max(shape) >= LONG,
        "page": count * itemsize > PAGE,
        "large": count > LARGE,
        "huge": high - low >= HUGE,
    }
    return [size for size, holds in checks.items() if holds]


def of_version(version: tuple[int, int] | None) -> State:
    """Return the level of form for a struct's version or a requested version. Versions in between have none."""
    if version is None or version[0] < 1:
        return _LEGACY
    if version == (1, 0):
        return _FIRST
    return _NEWEST if version >= NEWEST else _NONE


_LEGACY, _FIRST, _NEWEST = (frozenset({(FORM, level)}) for level in ("legacy", "1.0", "newest"))
_NONE: State = frozenset()


def name_of(condition: tuple[Level, ...]) -> str:
    """Return a name such as ``width=8,layout=transposed``. The factors have a fixed order, so each condition has one name."""
    order = list(FACTORS)
    return ",".join(f"{f}={level}" for f, level in sorted(condition, key=lambda pair: order.index(pair[0])))


def parsed(name: str) -> tuple[Level, ...]:
    """Return the condition for a name of :func:`name_of`. Raise ``ValueError`` for an unknown factor or level."""
    found = []
    for part in name.split(","):
        factor, _, level = part.partition("=")
        if factor not in FACTORS:
            hint = meant(factor, FACTORS, f"the factors are {', '.join(FACTORS)}")
            raise ValueError(f"{part!r}: there is no factor {factor!r}{hint}")
        if level not in FACTORS[factor]:
            raise ValueError(f"{part!r}: {factor} has no level {level!r}; its levels are {', '.join(FACTORS[factor])}")
        found.append((factor, level))
    return tuple(found)


def in_words(condition: tuple[Level, ...]) -> str:
    """Return the condition as the end of a sentence."""
    return " and ".join(WORDS[factor].format(level) for factor, level in condition)
