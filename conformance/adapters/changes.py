"""Operations on an array while another library uses its memory: other memory, a new size, an end, a gift.

An adapter declares such calls as data, so a library of an entry point gets the same cases as a built-in one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .base import Adapter, Device

Apply = Callable[[Any, list[Any], Device], Any]
"""Gets the adapter, a list with the array in it, which nobody else holds, and the device. What it returns is kept to the end of the case."""
Make = Callable[[Any, bytes, Device], Any]
"""Gets the adapter, the bytes of float32 elements, and the device; makes a one-dimensional array."""
_BOTH = (Device.HOST, Device.CUDA)


@dataclass(frozen=True)
class Change:
    """One call, or a few, after which the array has no claim to its memory any more, or the library may use that for something else.

    ``given`` are the calls as in source code. ``make`` makes an array that the call accepts, where one of the adapter's own is not of
    that kind. ``waived`` says that the user takes the responsibility by the call itself, by freeing an allocation by name or by switching a
    check off: what becomes of exports is only observed then.
    """

    name: str
    given: str
    apply: Apply
    devices: tuple[Device, ...] = _BOTH
    make: Make | None = None
    waived: bool = False


def _deleted(adapter: Adapter, held: list[Any], device: Device) -> None:
    held.clear()


DELETE = Change("delete", "`del array`", _deleted, (*_BOTH, Device.SIMULATED))
"""The last reference of the user goes. Every library has that."""
