"""Real libraries with one thing spoiled on the way out of their arrays, or on the way in.

A wrapper stands between a real library and everybody else. It edits the real capsules in place: shape, strides, flags and pointers
are those that the library itself has written, but for the one that is spoiled.
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
    """A capsule that can be written to: its struct and its arrays, where they lie."""

    def __init__(self, made: Any) -> None:
        self.capsule = made
        self.address = capsule.pointer(made)
        self.versioned = capsule.name(made) in (dlpack.VERSIONED, dlpack.USED_VERSIONED)
        kind = dlpack.DLManagedTensorVersioned if self.versioned else dlpack.DLManagedTensor
        self.managed: Any = kind.from_address(self.address)
        self.tensor: dlpack.DLTensor = self.managed.dl_tensor

    @property
    def shape(self) -> Any:
        """The extents, to be read and written."""
        return (ctypes.c_int64 * self.tensor.ndim).from_address(self.tensor.shape or 0)

    @property
    def strides(self) -> Any:
        """The strides in elements, to be read and written; empty if there are none."""
        count = self.tensor.ndim if self.tensor.strides else 0
        return (ctypes.c_int64 * count).from_address(self.tensor.strides or 0)

    def pack(self) -> None:
        """Strides of a row-major array, whatever they were."""
        if self.tensor.strides:
            self.strides[:] = c_strides(tuple(self.shape))

    def mark(self, *, add: int = 0, remove: int = 0) -> None:
        """Change the flags; a legacy struct has none."""
        if self.versioned:
            self.managed.flags = self.managed.flags & ~remove | add


@dataclass(frozen=True)
class Real:
    """A real library: its name, how its arrays are copied, and where the memory begins that an array is a view of."""

    name: str
    copy: Callable[[Any], Any]
    start: Callable[[Any], int]


class Wrapper:
    """Changes nothing. A fault changes one method; ``on`` is the real library."""

    caught_by: ClassVar[tuple[str, ...]]
    """Invariants that have to notice the fault."""

    def __init__(self, on: Real) -> None:
        self.on = on

    # -- on the way out

    def told_device(self, device: tuple[int, int]) -> tuple[int, int]:
        """What ``__dlpack_device__`` answers."""
        return device

    def asked(self, keywords: dict[str, Any]) -> dict[str, Any]:
        """The keywords that reach the real ``__dlpack__``."""
        return keywords

    def exported(self, array: Any, keywords: dict[str, Any]) -> Any:
        """What ``__dlpack__`` answers."""
        made = array.__dlpack__(**self.asked(keywords))
        self.outgoing(Opened(made), array)
        return made

    def outgoing(self, opened: Opened, array: Any) -> None:
        """Changes a capsule that the real library has made."""

    # -- on the way in

    def request(self, offer: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """What the real library gets for its call of ``__dlpack__``."""
        made = offer.__dlpack__(*args, **keywords)
        self.incoming(Opened(made))
        return made

    def incoming(self, opened: Opened) -> None:
        """Changes a capsule before the real library reads it."""

    def taken(self, take: Callable[..., Any], offer: Any, keywords: dict[str, Any]) -> Any:
        """What the import is."""
        return take(_Incoming(self, offer), **keywords)


class _Outgoing:
    """A real array seen through a wrapper."""

    def __init__(self, wrapper: Wrapper, array: Any) -> None:
        self._wrapper = wrapper
        self._array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._wrapper.told_device(self._array.__dlpack_device__())

    def __dlpack__(self, **keywords: Any) -> Any:
        return self._wrapper.exported(self._array, keywords)


class _Incoming:
    """Somebody's array as the real library gets to see it through a wrapper."""

    def __init__(self, wrapper: Wrapper, offer: Any) -> None:
        self._wrapper = wrapper
        self._offer = offer

    @cached_property
    def __dlpack_device__(self) -> Any:
        return self._offer.__dlpack_device__

    def __dlpack__(self, *args: Any, **keywords: Any) -> Any:
        return self._wrapper.request(self._offer, args, keywords)


def add(stage: Stage, real: Real, *wrappers: type[Wrapper], without: tuple[str, ...] = ()) -> None:
    """Register each of these around a real library as a fault; ``without`` are invariants that it does not keep by itself."""
    for kind in wrappers:
        spoil = partial(wrap, real, kind)
        caught_by = tuple(name for name in kind.caught_by if name not in without)
        stage.add(kind.__name__, kind.__doc__ or "", caught_by, spoil, ())


def wrap(real: Real, kind: type[Wrapper], partners: Partners) -> None:
    """Put a wrapper of this kind around the library, in place."""
    adapter, wrapper = partners[real.name], kind(real)
    exporter, take = adapter.exporter, adapter.take

    def wrapped_exporter(array: Any, protocol: Protocol) -> Any:
        return _Outgoing(wrapper, exporter(array, protocol))

    def wrapped_take(offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        return wrapper.taken(lambda seen, **kept: take(seen, protocol, device, **kept), offer, keywords)

    _replace(adapter, exporter=wrapped_exporter, take=wrapped_take)


def _replace(adapter: Adapter, **methods: Any) -> None:
    """In this object, not in its class."""
    vars(adapter).update(methods)
