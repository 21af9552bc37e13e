"""Operations that change an array while another library uses its memory: new memory, a new size, deletion, donation.

An adapter declares such calls as data, so third-party adapters get the same cases as built-in ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .base import Adapter, Device

Apply = Callable[[Any, list[Any], Device], Any]
"""Gets the adapter, a list with the only reference to the array, and the device. The result is kept alive to the end of the case."""
Make = Callable[[Any, bytes, Device], Any]
"""Gets the adapter, the bytes of float32 elements, and the device. Returns a one-dimensional array."""
_BOTH = (Device.HOST, Device.CUDA)


@dataclass(frozen=True)
class Change:
    """One call, or a few, after which the array need not have its memory any more, or the library may reuse that memory.

    ``given`` shows the calls as source code. ``make`` creates an array that the call accepts, if the adapter's usual arrays are not accepted.
    ``waived``: the user takes the responsibility by the call itself, such as an explicit free or a disabled check. The effect on exports is
    only observed then.
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
"""The user drops the last reference. Every library has this change."""
