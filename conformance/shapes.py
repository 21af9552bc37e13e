"""Validation of JSON data. The module that reads the data declares its shape.

A shape is ``str``, ``int``, ``float`` (any finite number), ``bool``, ``None``, ``True``, ``False`` or :data:`ANYTHING`.
It can also be a list of one shape (a list of such values), a tuple of shapes (one of them), or a set of texts (one of
them). A mapping is an object with these keys and possibly others, and :class:`Each` is an object with any keys.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

LEVELS = 50
"""Limit of the nesting depth."""
_MOST = 1 << 63
"""Exclusive limit of the magnitude of numbers."""


class _Anything:
    """The shape of a value that the suite does not use."""


ANYTHING = _Anything()


@dataclass(frozen=True)
class Each:
    """An object whose values share one shape, with any keys or with keys from a set."""

    shape: Any
    keys: frozenset[str] | None = None


@dataclass(frozen=True)
class Maybe:
    """The value of an optional key."""

    shape: Any


_SINGLE = (None, True, False)
_NAMES: dict[Any, str] = {
    str: "a string", int: "an integer", float: "a number", bool: "true or false", None: "null", True: "true", False: "false",
}  # fmt: skip


def mistake(value: object, shape: Any, what: str = "it") -> str:
    """Return a sentence about the first part of ``value`` with another shape; empty if there is none.

    The sentence names the part after ``what`` and says what it has to be.
    """
    return _mistake(value, shape, what, LEVELS)


def _mistake(value: object, shape: Any, what: str, levels: int) -> str:
    if not levels:
        return f"{what} is nested too deeply"
    if isinstance(shape, tuple):
        found = [_mistake(value, one, what, levels) for one in shape]
        return "" if "" in found else found[_nearest(value, shape)]
    if shape is ANYTHING:
        return _too_deep(value, what, levels)
    if isinstance(shape, list):
        if not isinstance(value, (list, tuple)):
            return _is_no(value, "a list", what)
        return _first(((f"{what}[{n}]", one, shape[0]) for n, one in enumerate(value)), levels)
    if isinstance(shape, Each):
        if not isinstance(value, dict):
            return _is_no(value, "an object", what)
        strange = next((key for key in value if shape.keys is not None and key not in shape.keys), None)
        if strange is not None:
            return f"{what} has {reprlib.repr(strange)}, which is unknown"
        return _first(((_part(what, key), one, shape.shape) for key, one in value.items()), levels)
    if isinstance(shape, Mapping):
        return _mistake_of_object(value, shape, what, levels)
    if isinstance(shape, Set):
        known = isinstance(value, str) and value in shape
        return "" if known else f"{what} is {reprlib.repr(value)}, which is unknown"
    return "" if _is(value, shape) else _is_no(value, _NAMES[shape], what)


def _mistake_of_object(value: object, shape: Mapping[str, Any], what: str, levels: int) -> str:
    if not isinstance(value, dict):
        return _is_no(value, "an object", what)
    for key, wanted in shape.items():
        if key not in value and not isinstance(wanted, Maybe):
            return f"{what} has no {key!r}"
    parts = ((_part(what, key), value[key], _bare(shape[key])) for key in shape if key in value)
    others = ((_part(what, key), one, ANYTHING) for key, one in value.items() if key not in shape)
    return _first(parts, levels) or _first(others, levels)


def _bare(shape: Any) -> Any:
    return shape.shape if isinstance(shape, Maybe) else shape


def _first(parts: Any, levels: int) -> str:
    return next((told for what, value, shape in parts if (told := _mistake(value, shape, what, levels - 1))), "")


def _too_deep(value: object, what: str, levels: int) -> str:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return _first(((what, one, ANYTHING) for one in inside), levels)


def _nearest(value: object, shapes: tuple[Any, ...]) -> int:
    """Return the index of the most likely shape: for an object the one of an object, for a list the one of a list."""
    wanted = (Mapping, Each) if isinstance(value, dict) else (list,) if isinstance(value, list) else ()
    meant = [n for n, shape in enumerate(shapes) if isinstance(shape, wanted)]
    return next(iter([*meant, *(n for n, shape in enumerate(shapes) if shape is not None)]))


def _is(value: object, shape: Any) -> bool:
    if shape in _SINGLE:
        return value is shape
    if shape is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and abs(value) < _MOST  # type: ignore[arg-type]
    if shape is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MOST
    return isinstance(value, shape)


def _part(what: str, key: str) -> str:
    short = reprlib.repr(key)[1:-1]
    return short if what == "it" else f"{what}.{short}"


def _is_no(value: object, wanted: str, what: str) -> str:
    return f"{what} is {reprlib.repr(value)}, but must be {wanted}"
