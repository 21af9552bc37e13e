"""DLPack C exchange API of dlpack.h 1.3: one table of functions for each Python type (DLX-01 to DLX-06)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import capsule
from .dlpack import DLPackVersion

NAME = b"dlpack_exchange_api"
ATTRIBUTE = "__dlpack_c_exchange_api__"
MAX_TABLES = 16

FROM_PY = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(ctypes.c_void_p))
TO_PY = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.py_object))
BORROW = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p)
CURRENT_STREAM = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(ctypes.c_void_p))
SET_ERROR = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)
"""The callback by which the allocator reports an error, without Python: context, kind, message."""
ALLOCATE = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p, SET_ERROR)

FUNCTIONS = (
    "managed_tensor_allocator",
    "managed_tensor_from_py_object_no_sync",
    "managed_tensor_to_py_object_no_sync",
    "dltensor_from_py_object_no_sync",
    "current_work_stream",
)
OPTIONAL = ("dltensor_from_py_object_no_sync",)


class Header(ctypes.Structure):
    _fields_ = [("version", DLPackVersion), ("prev_api", ctypes.c_void_p)]


class Table(ctypes.Structure):
    _fields_ = [("header", Header), *((name, ctypes.c_void_p) for name in FUNCTIONS)]


@dataclass(frozen=True)
class ExchangeAPI:
    """One decoded table: its address, version, the older table's address (0 for none), and the addresses of its functions."""

    address: int
    version: tuple[int, int]
    previous: int
    functions: dict[str, int]


def table(kind: type[Any]) -> ExchangeAPI | None:
    """Return the table of a Python type, or ``None``. Raise ``ValueError`` if the attribute is malformed."""
    offered = getattr(kind, ATTRIBUTE, None)
    if offered is None:
        return None
    if not capsule.is_capsule(offered):
        raise ValueError(f"{ATTRIBUTE} is a {type(offered).__name__}, not a capsule (DLX-01)")
    if capsule.name(offered) != NAME:
        raise ValueError(f"the capsule is named {capsule.name(offered)!r}, not {NAME!r} (DLX-01)")
    return decode(capsule.pointer(offered))


def chain(newest: ExchangeAPI) -> Iterator[ExchangeAPI]:
    """Yield the older tables behind this one (DLX-02), at most :data:`MAX_TABLES`, since a longer chain may be a cycle."""
    current = newest
    for _ in range(MAX_TABLES):
        if not current.previous:
            return
        current = decode(current.previous)
        yield current


def decode(address: int) -> ExchangeAPI:
    """Copy a table. The functions are only read for a supported major version (DLX-02)."""
    header = Header.from_address(address)
    version = (header.version.major, header.version.minor)
    functions: dict[str, int] = {}
    if version[0] == 1:
        found = Table.from_address(address)
        functions = {name: getattr(found, name) or 0 for name in FUNCTIONS}
    return ExchangeAPI(address, version, header.prev_api or 0, functions)
