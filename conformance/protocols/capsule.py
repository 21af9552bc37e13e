"""PyCapsules through the C API: create, name, open, rename. This module does not depend on the content of a capsule."""

from __future__ import annotations

import ctypes
from typing import Any

_api = ctypes.pythonapi

_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(("PyCapsule_New", _api))
_get_name = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(("PyCapsule_GetName", _api))
_get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)(("PyCapsule_GetPointer", _api))
_set_name = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_SetName", _api))
_get_destructor = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(("PyCapsule_GetDestructor", _api))
_set_destructor = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(("PyCapsule_SetDestructor", _api))

DESTRUCTOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
"""The type of a capsule destructor in Python. It gets an address and not an object, because the capsule is already dying."""


def is_capsule(thing: Any) -> bool:
    """Return ``True`` for a PyCapsule."""
    return type(thing).__name__ == "PyCapsule"


def new(pointer: int, name: bytes, destructor: int = 0) -> Any:
    """Return a capsule around ``pointer``. The caller keeps ``name`` alive, since a capsule stores only its address (DLP-01)."""
    return _new(pointer, name, destructor)


def name_at(address: int) -> bytes:
    """Return the name of the capsule object at ``address``, even while it is being destroyed."""
    found = _get_name(address)
    return ctypes.string_at(found) if found else b""


def name(capsule: Any) -> bytes:
    """Return the capsule's name. Raise ``TypeError`` for another object."""
    _require(capsule)
    return name_at(id(capsule))


def pointer_at(address: int) -> int:
    """Return the pointer in the capsule object at ``address``, whatever its name."""
    return int(_get_pointer(address, _get_name(address)))


def pointer(capsule: Any) -> int:
    """Return the capsule's pointer, whatever its name. Raise ``TypeError`` for another object."""
    _require(capsule)
    return pointer_at(id(capsule))


def rename(capsule: Any, new_name: bytes) -> None:
    """Rename the capsule. The caller keeps ``new_name`` alive (DLP-25)."""
    _require(capsule)
    _set_name(id(capsule), new_name)


def destructor(capsule: Any) -> int:
    """Return the address of the destructor, or 0."""
    _require(capsule)
    return int(_get_destructor(id(capsule)) or 0)


def set_destructor(capsule: Any, address: int) -> None:
    """Replace the destructor by the function at ``address``. 0 removes it."""
    _require(capsule)
    _set_destructor(id(capsule), address)


def _require(thing: Any) -> None:
    if not is_capsule(thing):
        raise TypeError(f"expected a PyCapsule, got {type(thing).__name__}")
