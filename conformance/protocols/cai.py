"""``__cuda_array_interface__``, versions 0 to 3: build, check and read a dictionary."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import Any, TypeGuard

NEWEST_VERSION = 3
REQUIRED = ("shape", "typestr", "data", "version")
"""The required keys (CAI-01)."""
_TYPESTR = re.compile(r"[<>|](?P<kind>[tbiufcmMOSUV])(?P<count>[0-9]{1,18})(\[[0-9A-Za-z]+\])?")
"""The array interface's grammar. The unit of a date follows in brackets. The byte count has at most 18 digits."""
_BYTES_PER_CHARACTER = 4
_DEEPEST = 64
"""The depth of nested records in a ``descr`` above which it counts as recursive."""


@dataclass(frozen=True)
class Problem:
    """A violation of the interface in a dictionary: clause, key, expected and actual value."""

    clause: str
    key: str
    expected: str
    seen: str


@dataclass(frozen=True)
class ArrayInterface:
    """The content of a well-formed dictionary. ``strides`` are in **bytes**, or ``None`` for C-contiguous (CAI-10)."""

    shape: tuple[int, ...]
    typestr: str
    address: int
    readonly: bool
    strides: tuple[int, ...] | None
    version: int
    stream: int | None
    mask: Any


def build(
    shape: tuple[int, ...],
    typestr: str,
    address: int,
    *,
    strides: tuple[int, ...] | None = None,
    readonly: bool = False,
    version: int = NEWEST_VERSION,
    stream: int | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """Return a dictionary of this version. ``strides`` are in bytes. Keys that the version lacks are left out."""
    described: dict[str, Any] = {
        "shape": shape,
        "typestr": typestr,
        "data": (address, readonly),
        "version": version,
        "strides": strides,
    }
    if version >= 3:
        described["stream"] = stream
    return {**described, **extra}


def without(described: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return the dictionary without these keys."""
    return {k: v for k, v in described.items() if k not in keys}


def problems(described: Any) -> list[Problem]:
    """Return a problem for every field with a wrong form. A well-formed dictionary has none. Values are not checked."""
    if not isinstance(described, dict):
        return [Problem("CAI-01", "(the whole)", "a dict", _show(described))]
    found = [Problem("CAI-01", key, "present", "missing") for key in REQUIRED if key not in described]
    for key, judge in _FIELDS.items():
        if key in described:
            found += judge(described[key], described)
    return found


def parse(described: Any) -> ArrayInterface:
    """Read a dictionary. Raise ``ValueError`` with every malformed field."""
    wrong = problems(described)
    if wrong:
        raise ValueError("; ".join(f"{p.key}: expected {p.expected}, got {p.seen} ({p.clause})" for p in wrong))
    address, readonly = described["data"]
    return ArrayInterface(
        shape=described["shape"],
        typestr=described["typestr"],
        address=address,
        readonly=readonly,
        strides=described.get("strides"),
        version=described["version"],
        stream=described.get("stream"),
        mask=described.get("mask"),
    )


def _show(value: Any) -> str:
    try:
        return f"{value!r} ({type(value).__name__})"
    except Exception as error:  # noqa: BLE001 - a repr may raise anything
        return f"a {type(value).__name__} with a repr that raises {type(error).__name__}"


def _is_int(value: Any) -> TypeGuard[int]:
    """Return ``True`` for a Python int. NumPy's integers and bools do not count."""
    return isinstance(value, int) and not isinstance(value, bool)


def _ints(value: Any) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and all(_is_int(v) for v in value)


def _shape(value: Any, _: dict[str, Any]) -> list[Problem]:
    if _ints(value) and all(v >= 0 for v in value):
        return []
    return [Problem("CAI-02", "shape", "a tuple of non-negative Python ints", _show(value))]


def _typestr(value: Any, _: dict[str, Any]) -> list[Problem]:
    if _is_typestr(value):
        return []
    return [Problem("CAI-03", "typestr", "a str: byte order, kind, byte count", _show(value))]


def _data(value: Any, _: dict[str, Any]) -> list[Problem]:
    if isinstance(value, tuple) and len(value) == 2 and _is_int(value[0]) and isinstance(value[1], bool):
        return [] if value[0] >= 0 else [Problem("CAI-04", "data[0]", "a non-negative address", _show(value))]
    return [Problem("CAI-04", "data", "a 2-tuple (int, bool)", _show(value))]


def _version(value: Any, _: dict[str, Any]) -> list[Problem]:
    return [] if _is_int(value) else [Problem("CAI-09", "version", "an int", _show(value))]


def _strides(value: Any, described: dict[str, Any]) -> list[Problem]:
    if value is None:
        return []
    if not _ints(value):
        return [Problem("CAI-11", "strides", "None or a tuple of Python ints", _show(value))]
    shape = described.get("shape")
    if _ints(shape) and len(shape) != len(value):
        return [Problem("CAI-11", "strides", f"one stride for each dimension of {shape!r}", _show(value))]
    return []


def _descr(value: Any, described: dict[str, Any]) -> list[Problem]:
    if value is None:
        return []
    typestr = described.get("typestr")
    width = descr_bytes(value)
    if width is None:
        return [Problem("CAI-14", "descr", "a list of (name, typestr) tuples", _show(value))]
    if _is_typestr(typestr) and width != typestr_bytes(typestr):
        expected = f"fields of {typestr_bytes(typestr)} bytes in all, as typestr {typestr!r} says"
        return [Problem("CAI-14", "descr", expected, f"{value!r}: {width} bytes")]
    return []


def _stream(value: Any, described: dict[str, Any]) -> list[Problem]:
    if value is None:
        return []
    version = described.get("version")
    if _is_int(version) and version < 3:
        return []
    if not _is_int(value):
        return [Problem("CAI-16", "stream", "None or a Python int", _show(value))]
    return [] if value != 0 else [Problem("CAI-16", "stream", "not 0, which is ambiguous", "0")]


def _mask(value: Any, _: dict[str, Any]) -> list[Problem]:
    if value is None or _has_interface(value):
        return []
    return [Problem("CAI-15", "mask", "None or an object with the interface", _show(value))]


def _has_interface(value: Any) -> bool:
    """Return ``True`` if the attribute can be read. On a tensor that requires a gradient it raises ``RuntimeError``."""
    try:
        return hasattr(value, "__cuda_array_interface__")
    except Exception:  # noqa: BLE001 - hasattr only catches AttributeError
        return False


def _is_typestr(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and _TYPESTR.fullmatch(value) is not None


def typestr_bytes(typestr: str) -> int:
    """Return the bytes of one element of this ``typestr``. Raise ``ValueError`` if it violates the grammar."""
    found = _TYPESTR.fullmatch(typestr)
    if found is None:
        raise ValueError(f"{typestr!r} is not a typestr")
    count = int(found["count"])
    if found["kind"] == "t":
        return (count + 7) // 8
    return count * _BYTES_PER_CHARACTER if found["kind"] == "U" else count


def descr_bytes(descr: Any) -> int | None:
    """Return the total bytes of the fields of a ``descr`` list, or ``None`` if it is malformed."""
    return _record_bytes(descr, _DEEPEST)


def _record_bytes(descr: Any, deepest: int) -> int | None:
    if not isinstance(descr, list) or not deepest:
        return None
    widths = [_field_bytes(field, deepest - 1) for field in descr]
    return None if None in widths else sum(width or 0 for width in widths)


def _field_bytes(field: Any, deepest: int) -> int | None:
    """Return the bytes of one field: a tuple of name, typestr or nested list, and an optional shape."""
    if not isinstance(field, tuple) or len(field) not in (2, 3) or not isinstance(field[0], (str, tuple)):
        return None
    width = typestr_bytes(field[1]) if _is_typestr(field[1]) else _record_bytes(field[1], deepest)
    if width is None or len(field) == 2:
        return width
    return width * prod(field[2]) if _ints(field[2]) and all(count >= 0 for count in field[2]) else None


_FIELDS = {
    "shape": _shape,
    "typestr": _typestr,
    "data": _data,
    "version": _version,
    "strides": _strides,
    "descr": _descr,
    "stream": _stream,
    "mask": _mask,
}
