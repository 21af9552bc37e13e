"""Special arrays that an adapter declares: elements that DLPack can hardly express, and arrays with memory that does not simply hold their elements.

The suite plans every case about such arrays from these declarations, so third-party adapters get the same cases as built-in ones.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from .base import Adapter, Device, Unsupported
from .calls import Style, UserCall
from .changes import Change
from .making import Making

Use = Callable[[Any, "bytes | None"], None]
"""Called with the array and its elements in row-major order. The elements are ``None`` if none can be exported."""
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
"""The form of a declared name, which is part of a case id."""
_BOTH = (Device.HOST, Device.CUDA)


@dataclass(frozen=True)
class Foreign:
    """An array of elements without a DLPack type code, or without one that every library uses.

    ``build`` gets the adapter and returns a packed array. It may raise anything if this version of the library has no such array. ``words``
    are the (code, bits) pairs of a correct export; without any, the library must refuse. ``clause`` is the clause that a wrong export
    violates: DLP-23, or DLP-12 for a foreign byte order. ``given`` is a phrase for a group of arrays that share one bug, or empty for an
    array that stands alone.
    """

    name: str
    build: Callable[[Any], Any]
    devices: tuple[Device, ...] = (Device.HOST,)
    words: tuple[tuple[int, int], ...] = ()
    clause: str = "DLP-23"
    given: str = ""


@dataclass(frozen=True)
class State:
    """An array with memory that does not simply hold its elements: lazy, symbolic, compressed, donated.

    ``build`` gets the adapter, the device and ``use``. It passes its array to ``use``, once, and may do so inside a transformation, a mode or
    a level that gives the array its state.

    ``inexpressible``: DLPack cannot express the array, so refusing it has an exception class of its own (DLP-23). ``simple``: the array exists
    outside of any transformation. ``unresolved``: memory holds the elements from before a lazy conjugation or negation. ``masked``: the array
    has a mask, which no protocol can pass on, so losing the mask is only observed. ``private``: the constructor that makes the array, if it
    is not a documented call; empty if users can make such an array. ``slow``: the first such array of a process takes seconds, because a
    program is compiled or a large module is imported.
    """

    name: str
    build: Callable[[Any, Device, Use], None]
    devices: tuple[Device, ...] = _BOTH
    inexpressible: bool = True
    simple: bool = True
    unresolved: bool = False
    masked: bool = False
    private: str = ""
    slow: bool = False


_Declared = TypeVar("_Declared", Foreign, State, Change, Making, UserCall, Style)


def on(declared: Iterable[_Declared], device: Device) -> tuple[_Declared, ...]:
    """Return the declarations for this device."""
    return tuple(one for one in declared if device in one.devices)


def named(declared: Iterable[_Declared], name: str) -> _Declared:
    """Return the declaration of this name. Raise ``KeyError`` if there is none."""
    for one in declared:
        if one.name == name:
            return one
    raise KeyError(name)


def use_state(adapter: Adapter, state: State, device: Device, use: Use, warned: list[str] | None = None) -> None:
    """Build the array and use it. Raise :class:`Unsupported` if this version of the library cannot build it.

    Warnings are not printed. Their texts are added to ``warned``, each once.
    """
    used = []

    def once(array: Any, elements: bytes | None) -> None:
        used.append(state.name)
        use(array, elements)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            state.build(adapter, device, once)
        except (AttributeError, NotImplementedError, ImportError, RuntimeError, TypeError) as error:
            if used:
                raise
            raise Unsupported(
                f"this version of {adapter.name} cannot make the array here: {type(error).__name__}: {error}"
            ) from error
        finally:
            if warned is not None:
                warned += dict.fromkeys(" ".join(str(each.message).split()) for each in seen)
