"""Public calls that accept objects of other libraries directly, and older calling styles.

The suite plans cases from their names alone, so third-party adapters get the same cases as built-in ones.
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
"""The form of a call's name, which is part of a case id."""
DLPACK, CAI, ARRAY_INTERFACE, ARRAY = "__dlpack__", "__cuda_array_interface__", "__array_interface__", "__array__"
BUFFER = "buffer"
"""Stands for the buffer protocol, which is not an attribute: an object that :class:`memoryview` accepts."""
READONLY = "readonly"
"""The read-only array of a case, among the names of layouts."""
_PROTOCOLS = {DLPACK: Protocol.DLPACK, CAI: Protocol.CAI}


@dataclass(frozen=True)
class UserCall:
    """A public call that accepts any object. ``take`` gets the adapter, the object and the device, and lets exceptions propagate.

    ``name`` is the name of the call in its documentation. ``reads`` is the attribute that the call is for; empty if the call accepts several
    kinds of objects. ``knows`` are the attributes of the objects that the documentation of the call names. ``refuses`` are (array, attribute)
    pairs that the library documents as refused. ``may_copy``: the call creates an array, so a copy is as good. ``flattens``: the documentation
    says that a buffer is read as a vector of the default element type. ``queues``: the call does not wait for the device by itself.
    ``on_stream`` is the same call with a stream handle or ``None``.
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
        """The attributes of the objects that the call is documented for."""
        return self.knows or ((self.reads,) if self.reads else ())

    def promises(self, thing: Any, array: str) -> bool:
        """Return whether the documentation says that the call accepts this object, which is the ``array`` of a case."""
        is_refused = any(array == name and has(thing, attribute) for name, attribute in self.refuses)
        return not is_refused and any(has(thing, name) for name in self.attributes)

    @property
    def protocol(self) -> Protocol | None:
        """The protocol that the call is for, or ``None`` if it is not for exactly one protocol."""
        return _PROTOCOLS.get(self.reads)


class Gets(str, Enum):
    """The argument of an older calling style."""

    CAPSULE = "capsule"
    """A bare capsule."""
    ARRAY = "array"
    """An array of another library, passed directly."""
    OWN = "own"
    """An array of the library itself, from which a bare capsule is made."""


@dataclass(frozen=True)
class Style:
    """A calling style that versions of a library drop or add.

    ``run`` gets the adapter and the argument, and lets exceptions propagate.
    """

    name: str
    gets: Gets
    run: Callable[[Any, Any], Any]
    devices: tuple[Device, ...] = EVERYWHERE


def has(thing: Any, name: str) -> bool:
    """Return whether an object has an attribute, or for :data:`BUFFER` the buffer protocol. An attribute that raises does not count."""
    try:
        return memoryview(thing) is not None if name == BUFFER else getattr(thing, name, None) is not None
    except Exception:  # noqa: BLE001 - an attribute may raise anything
        return False
