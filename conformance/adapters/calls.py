"""Calls by which a library's users take objects of other libraries as they are, and older styles of calling that exist in the wild.

Cases about them are planned from the names alone, so a library of an entry point gets the same cases as a built-in one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .base import Device, Protocol

EVERYWHERE = tuple(Device)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""The name of a call stands between the slashes of a case id."""
DLPACK, CAI, ARRAY_INTERFACE, ARRAY = "__dlpack__", "__cuda_array_interface__", "__array_interface__", "__array__"
BUFFER = "buffer"
"""Not an attribute: what :class:`memoryview` takes."""
READONLY = "readonly"
"""The array of a case that must not be written, among the names of layouts."""
_PROTOCOLS = {DLPACK: Protocol.DLPACK, CAI: Protocol.CAI}


@dataclass(frozen=True)
class UserCall:
    """A public call that takes any object. ``take`` gets the adapter, the object and the device, and lets exceptions out.

    ``name`` is that of the call in its documentation. ``reads`` is the attribute that the call is for, empty if the call takes whatever it
    knows. ``knows`` are the attributes by which an object is one that the documentation of the call names among its arguments.
    ``refuses`` are arrays that the library says it does not take by this call: the array of a case, and the attribute by which it would be taken.
    ``may_copy`` says that the call makes an array, so that a copy is as good. ``flattens`` says that the documentation has it read a buffer
    as a vector of the default element type. ``queues`` says that the call does not wait for the device by itself. ``on_stream`` is the same call with
    a stream: its handle, or ``None``.
    """

    name: str
    take: Callable[[Any, Any, Device], Any]
    reads: str = ""
    devices: tuple[Device, ...] = EVERYWHERE
    knows: tuple[str, ...] = ()
    refuses: tuple[tuple[str, str], ...] = ()
    may_copy: bool = False
    flattens: bool = False
    queues: bool = True
    on_stream: Callable[[Any, Any, Device, int | None], Any] | None = None

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes of objects that the call is documented for."""
        return self.knows or ((self.reads,) if self.reads else ())

    def promises(self, thing: Any, array: str) -> bool:
        """Whether the documentation says that the call takes this object, which is the ``array`` of a case."""
        is_refused = any(array == name and has(thing, attribute) for name, attribute in self.refuses)
        return not is_refused and any(has(thing, name) for name in self.attributes)

    @property
    def protocol(self) -> Protocol | None:
        """The protocol that the call is for, if it is for one of ours alone."""
        return _PROTOCOLS.get(self.reads)


class Gets(str, Enum):
    """The argument of an older calling style."""

    CAPSULE = "capsule"
    """A bare capsule."""
    ARRAY = "array"
    """An array of another library, as it is."""
    OWN = "own"
    """An array of the library itself, of which a bare capsule is made."""


@dataclass(frozen=True)
class Style:
    """A style of calling that exists in the wild and that versions of a library drop or add.

    ``run`` gets the adapter and the argument, and lets exceptions out.
    """

    name: str
    gets: Gets
    run: Callable[[Any, Any], Any]
    devices: tuple[Device, ...] = EVERYWHERE


def has(thing: Any, name: str) -> bool:
    """Whether an object answers for an attribute, or for :data:`BUFFER`; one that raises does not."""
    try:
        return memoryview(thing) is not None if name == BUFFER else getattr(thing, name, None) is not None
    except Exception:  # noqa: BLE001 - however it fails, it does not answer
        return False
