"""Wrappers that put one fault into a real library, in the capsules that it exports or imports.

A wrapper stands between the real library and its partner. It edits the library's own capsule in place, so all other fields are genuine.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

from conformance.adapters.base import Adapter, Device, Protocol
from conformance.protocols import capsule, dlpack
from conformance.protocols.strided import c_strides

from .model import Partners, Stage


class Opened:
    """A capsule with a writable struct, shape and strides."""

    def __init__(self, made: Any) -> None:
        self.capsule = made
        self.address = capsule.pointer(made)
        self.versioned = capsule.name(made) in (dlpack.VERSIONED, dlpack.USED_VERSIONED)
        kind = dlpack.DLManagedTensorVersioned if self.versioned else dlpack.DLManagedTensor
        self.managed: Any = kind.from_address(self.address)
        self.tensor: dlpack.DLTensor = self.managed.dl_tensor

    @property
    def shape(self) -> Any:
        """The shape, readable and writable."""
        return (ctypes.c_int64 * self.tensor.ndim).from_address(self.tensor.shape or 0)

    @property
    def strides(self) -> Any:
        """The strides in elements, readable and writable. Empty for NULL strides."""
        count = self.tensor.ndim if self.tensor.strides else 0
        return (ctypes.c_int64 * count).from_address(self.tensor.strides or 0)

    def pack(self) -> None:
        """Write the strides of a packed array."""
        if self.tensor.strides:
            self.strides[:] = c_strides(tuple(self.shape))

    def mark(self, *, add: int = 0, remove: int = 0) -> None:
        """Change the flags. A legacy struct has none."""
        if self.versioned:
            self.managed.flags = self.managed.flags & ~remove | add


@dataclass(frozen=True)
class Real:
    """A real library: its name, a function that copies its arrays, and a function that returns the start of an array's memory."""

    name: str
    copy: Callable[[Any], Any]
    start: Callable[[Any], int]


class Wrapper:
    """Base of the wrappers, which changes nothing. A fault overrides one method. ``on`` is the real library."""

    caught_by: ClassVar[tuple[str, ...]]
    """The invariants that must catch the fault."""

    def __init__(self, on: Real) -> None:
        self.on = on

    # Exports

    def told_device(self, device: tuple[int, int]) -> tuple[int, int]:
        """Return the result of ``__dlpack_device__``."""
        return device

    def asked(self, keywords: dict[str, Any]) -> dict[str, Any]:
        """Return the keywords that reach the real ``__dlpack__``."""
        return keywords

    def exported(self, array: Any, keywords: dict[str, Any]) -> Any:
        """Return the result of ``__dlpack__``."""
        made = array.__dlpack__(**self.asked(keywords))
        self.outgoing(Opened(made), array)
        return made

    def outgoing(self, opened: Opened, array: Any) -> None:
        """Change a capsule that the real library has exported."""

    # Imports

    def request(self, offer: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Return the capsule for the real library's call of ``__dlpack__``."""
        made = offer.__dlpack__(*args, **keywords)
        self.incoming(Opened(made))
        return made

    def incoming(self, opened: Opened) -> None:
        """Change a capsule before the real library reads it."""

    def taken(self, take: Callable[..., Any], offer: Any, keywords: dict[str, Any]) -> Any:
        """Return the import."""
        return take(_Incoming(self, offer), **keywords)


class _Outgoing:
    """An array of the real library with the wrapper's export methods."""

    def __init__(self, wrapper: Wrapper, array: Any) -> None:
        self._wrapper = wrapper
        self._array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._wrapper.told_device(self._array.__dlpack_device__())

    def __dlpack__(self, **keywords: Any) -> Any:
        return self._wrapper.exported(self._array, keywords)


class _Incoming:
    """A partner's array with the wrapper's methods, as the real library sees it."""

    def __init__(self, wrapper: Wrapper, offer: Any) -> None:
        self._wrapper = wrapper
        self._offer = offer

    @cached_property
    def __dlpack_device__(self) -> Any:
        return self._offer.__dlpack_device__

    def __dlpack__(self, *args: Any, **keywords: Any) -> Any:
        return self._wrapper.request(self._offer, args, keywords)


def add(stage: Stage, real: Real, *wrappers: type[Wrapper], without: tuple[str, ...] = ()) -> None:
    """Register each wrapper class around a real library as a fault. ``without`` are invariants that the library itself violates."""
    for kind in wrappers:
        spoil = partial(wrap, real, kind)
        caught_by = tuple(name for name in kind.caught_by if name not in without)
        stage.add(kind.__name__, kind.__doc__ or "", caught_by, spoil, ())


def wrap(real: Real, kind: type[Wrapper], partners: Partners) -> None:
    """Put a wrapper around the library, in place."""
    adapter, wrapper = partners[real.name], kind(real)
    exporter, take = adapter.exporter, adapter.take

    def wrapped_exporter(array: Any, protocol: Protocol) -> Any:
        return _Outgoing(wrapper, exporter(array, protocol))

    def wrapped_take(offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        return wrapper.taken(lambda seen, **kept: take(seen, protocol, device, **kept), offer, keywords)

    _replace(adapter, exporter=wrapped_exporter, take=wrapped_take)


def _replace(adapter: Adapter, **methods: Any) -> None:
    """Replace methods of this object, not of its class."""
    vars(adapter).update(methods)
