"""Arrays that an adapter declares besides plain ones: elements that DLPack can hardly express, and arrays that are more than their memory.

Every case about such arrays is planned from these declarations, so a library of an entry point gets the same cases as a built-in one.
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
"""Called with the array and its elements in row-major order, ``None`` if it has none that could be exported."""
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
"""A declared name stands between the slashes of a case id."""
_BOTH = (Device.HOST, Device.CUDA)


@dataclass(frozen=True)
class Foreign:
    """An array of elements for which DLPack has no type code, or none that every library uses.

    ``build`` gets the adapter and makes a packed array. It may raise anything where this version of the library has no such array.
    ``words`` are the (code, bits) by which an export is true all the same; without any it has to be refused. ``clause`` is broken by an
    export as other elements: DLP-23, or DLP-12 for a foreign byte order. ``given`` says in words what the array has in common with others
    that the same mistake is made with; their own name if it is empty.
    """

    name: str
    build: Callable[[Any], Any]
    devices: tuple[Device, ...] = (Device.HOST,)
    words: tuple[tuple[int, int], ...] = ()
    clause: str = "DLP-23"
    given: str = ""


@dataclass(frozen=True)
class State:
    """An array whose memory does not simply hold its elements: lazy, symbolic, compressed, given away.

    ``build`` gets the adapter, the device and ``use``. It hands its array to ``use``, once, and may do so inside whatever makes the array
    what it is: a transformation that is being traced, a mode, a level.

    ``inexpressible``: DLPack has no words for it, so its refusal has a class of its own (DLP-23). ``simple``: the array exists by itself,
    outside of any transformation. ``unresolved``: memory holds the elements as they are before a conjugation or a negation that the
    library has put off. ``masked``: it has a mask, of which no protocol speaks, so that losing it is observed. ``private``: the constructor
    that makes it, where that is none of the library's documented calls; empty where users can make such an array. ``slow``: the first
    one of a process takes seconds, because a program is compiled or a large module is imported.
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
    """Return what the library has on this device."""
    return tuple(one for one in declared if device in one.devices)


def named(declared: Iterable[_Declared], name: str) -> _Declared:
    """Return the one of this name; raise ``KeyError`` if there is none."""
    for one in declared:
        if one.name == name:
            return one
    raise KeyError(name)


def use_state(adapter: Adapter, state: State, device: Device, use: Use, warned: list[str] | None = None) -> None:
    """Make the array and use it; :class:`Unsupported` where this version of the library cannot make it.

    A warning meanwhile is printed nowhere: its text goes into ``warned``, once.
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
                f"this {adapter.name} makes no such array here: {type(error).__name__}: {error}"
            ) from error
        finally:
            if warned is not None:
                warned += dict.fromkeys(" ".join(str(each.message).split()) for each in seen)
