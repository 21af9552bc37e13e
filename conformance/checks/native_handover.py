"""Import of an array object by a public call of the consumer, and imports of the same array through single protocols."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from conformance.adapters.base import Device, Protocol, Unsupported, View
from conformance.adapters.calls import ARRAY, ARRAY_INTERFACE, BUFFER, CAI, DLPACK, UserCall
from conformance.adapters.special import named
from conformance.protocols.clauses import Role

from .exchange import Exchange, Source, brief
from .outcomes import Refused
from .steps import Doing


class Gives(str, Enum):
    """The result of a call with an array object. The table of calls uses these words."""

    SHARES = "shares"
    COPIES = "copies"
    VECTOR = "shares a vector"
    """The import shares the memory as a 1-d array of the default element type, as the call documents for buffers."""
    BY_HOST = "through the host"
    REFUSES = "refuses"
    WRONG = "broken"


@dataclass(frozen=True)
class Memory:
    """The memory of an array: the address of its first byte, and one past its last."""

    start: int
    end: int

    def covers(self, view: View) -> bool:
        """Return whether an array begins in this memory. An array without elements always counts."""
        return 0 in view.shape or self.start <= view.address < self.end


@dataclass(frozen=True)
class Got:
    """The result of a call: an exception, or the import's description and elements. ``asked`` are the producer's methods that were called."""

    error: Exception | None = None
    view: View | None = None
    values: bytes = b""
    asked: tuple[str, ...] = ()
    taken: Any = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        if self.view is None:
            return brief(self.error)
        view = self.view
        told = f"{view.dtype}{list(view.shape)} at {view.address:#x} with strides {view.strides}"
        return told + ("" if view.readonly is None else ", read-only" if view.readonly else ", writable")


PROBED = ("__dlpack__", "__cuda_array_interface__", "__array_interface__", "__array__", "__buffer__")
"""Methods and properties by which a consumer can import an object. Only those that are written in Python can be observed."""
_WRAPPERS = str(Path(sys.modules[Unsupported.__module__].__file__ or ""))


@contextmanager
def listening(heard: list[str]) -> Iterator[None]:
    """Record the names in :data:`PROBED` that run as Python code inside the context.

    Compiled methods cannot be observed, and wrappers of the suite do not count.
    """
    before = sys.getprofile()

    def note(frame: Any, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_name in PROBED and code.co_filename != _WRAPPERS and code.co_name not in heard:
            heard.append(code.co_name)

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)


def call_of(exchange: Exchange) -> UserCall:
    """Return the consumer's call that the case tests."""
    return named(exchange.consumer.calls, exchange.option("call"))


def native(exchange: Exchange, array: Any, call: UserCall | None = None) -> Any:
    """Return the object that users pass to this call, or to any call.

    Raises:
        Refused: the producer has no such object here.
    """
    protocol = exchange.protocol if call is None else call.protocol or exchange.protocol
    try:
        return exchange.producer.native(array, protocol)
    except Unsupported as missing:
        raise Refused(str(missing)) from missing


def got(exchange: Exchange, take: Callable[[], Any]) -> Got:
    """Run an import, and return its result. The import is described and read at once, because a state may end with its context."""
    heard: list[str] = []
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER), listening(heard):
            taken = take()
        view = exchange.consumer.describe(taken)
        if view.dtype == "object":
            return Got(TypeError("the call returns an array of Python objects"), asked=tuple(heard))
        has_memory = bool(view.address) or 0 in view.shape
        return Got(None, view, exchange.consumer.read(taken) if has_memory else b"", tuple(heard), taken)
    except Exception as error:
        exchange.check_context(error)
        return Got(error.with_traceback(None), asked=tuple(heard))


def natively(exchange: Exchange, array: Any, call: UserCall | None = None) -> Got:
    """Return the result of the case's call, or of another one, for the object itself."""
    call = call or call_of(exchange)
    thing = native(exchange, array, call)
    return got(exchange, lambda: call.take(exchange.consumer, thing, exchange.device))


def by_protocols(exchange: Exchange, array: Any) -> dict[Protocol, Got]:
    """Return the results of the consumer's usual import of the array through each protocol that both libraries support."""
    return {protocol: _behind(exchange, array, protocol) for protocol in shared_protocols(exchange)}


def shared_protocols(exchange: Exchange) -> tuple[Protocol, ...]:
    """Return the protocols that producer and consumer have in common on this device."""
    exports, _ = exchange.producer.protocols(exchange.device)
    _, imports = exchange.consumer.protocols(exchange.device)
    return tuple(protocol for protocol in Protocol if protocol in exports and protocol in imports)


def _behind(exchange: Exchange, array: Any, protocol: Protocol) -> Got:
    def take() -> Any:
        return exchange.consumer.take(exchange.producer.offer(array, protocol), protocol, exchange.device)

    return got(exchange, take)


def raised_by_the_producer(exchange: Exchange, array: Any) -> tuple[type[BaseException], ...]:
    """Return the classes of the exceptions by which the producer refuses to export the array through the common protocols."""
    found = []
    for protocol in shared_protocols(exchange):
        offer = exchange.producer.offer(array, protocol)
        got(exchange, lambda: exchange.consumer.take(offer, protocol, exchange.device))  # noqa: B023 - called at once
        if offer.raised is not None:
            found.append(type(offer.raised))
    return tuple(found)


def memory_of(source: Source) -> Memory:
    """Return the memory of a producer's array."""
    return Memory(source.start - source.before, max(source.start + len(source.block), source.address + 1))


def gives(result: Got, memory: Memory, device: Device) -> Gives:
    """Return the result of a call as an entry of the table of calls."""
    if result.view is None:
        return Gives.REFUSES
    if memory.covers(result.view):
        return Gives.SHARES
    on_host = result.view.device is not None and result.view.device[0] == 1
    through = "__array__" in result.asked or "__array_interface__" in result.asked
    return Gives.BY_HOST if device is Device.CUDA and (on_host or through) else Gives.COPIES


def way(result: Got, others: dict[Protocol, Got]) -> str:
    """Return the way in which the consumer imported an object, as far as it can be observed.

    If the producer's methods are Python code, their calls are observed for an import through a protocol. If none is observed for the object
    itself, the consumer has read its type, a C exchange table or its buffer.
    """
    if result.asked:
        return "by " + ", ".join(f"`{name}`" for name in result.asked)
    is_visible = any(other.asked for other in others.values())
    return (
        "by its type, a C exchange table or a buffer" if is_visible and result.view is not None else "way not observed"
    )


_LOOKED = (DLPACK, "__dlpack_device__", CAI, ARRAY_INTERFACE, "__array_struct__", ARRAY, "__cuda_stream__", BUFFER)
_ALLOWED = (TypeError, BufferError, ValueError)
"""Exceptions by which an object tells :class:`memoryview` that it has no buffer, or none for its element type."""


def raised_by_looks(thing: Any) -> dict[str, str]:
    """Return the protocol lookups that raise another exception than one for a missing protocol, with these exceptions."""
    return {name: told for name in _LOOKED if (told := _raised(thing, name))}


def _raised(thing: Any, name: str) -> str:
    try:
        memoryview(thing) if name == BUFFER else getattr(thing, name)
    except AttributeError:
        return ""
    except Exception as error:
        return "" if name == BUFFER and isinstance(error, _ALLOWED) else brief(error)
    return ""
