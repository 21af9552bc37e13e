"""An object handed over as it is, by a public call of the consumer, and the same array behind one protocol: what either gives."""

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
    """What comes of handing an object over. Tables of calls are made of these words."""

    SHARES = "shares"
    COPIES = "copies"
    VECTOR = "shares a vector"
    """The memory, as a vector of the default element type: what a call is documented to make of a buffer."""
    BY_HOST = "through the host"
    REFUSES = "refuses"
    WRONG = "broken"


@dataclass(frozen=True)
class Memory:
    """The bytes that an array lies in: the first one, and one past the last."""

    start: int
    end: int

    def covers(self, view: View) -> bool:
        """Whether an array begins in this memory; one without elements does not say."""
        return 0 in view.shape or self.start <= view.address < self.end


@dataclass(frozen=True)
class Got:
    """What a call gave: an exception, or how the consumer describes and reads what it took. ``asked`` are the methods that were called."""

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
"""Methods and properties by which an object can be taken, as far as they are written in Python."""
_WRAPPERS = str(Path(sys.modules[Unsupported.__module__].__file__ or ""))


@contextmanager
def listening(heard: list[str]) -> Iterator[None]:
    """Note which of :data:`PROBED` run as Python code inside; one that is compiled is not seen, and a wrapper of ours does not count."""
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
    """The consumer's call that the case is about."""
    return named(exchange.consumer.calls, exchange.option("call"))


def native(exchange: Exchange, array: Any, call: UserCall | None = None) -> Any:
    """The object that users hand to this call, or to any; a library that has none here refuses the case."""
    protocol = exchange.protocol if call is None else call.protocol or exchange.protocol
    try:
        return exchange.producer.native(array, protocol)
    except Unsupported as missing:
        raise Refused(str(missing)) from missing


def got(exchange: Exchange, take: Callable[[], Any]) -> Got:
    """What comes of a call. What it took is described and read at once, because a state may end with its context."""
    heard: list[str] = []
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER), listening(heard):
            taken = take()
        view = exchange.consumer.describe(taken)
        if view.dtype == "object":
            return Got(TypeError("the object becomes an element of an array of objects"), asked=tuple(heard))
        has_memory = bool(view.address) or 0 in view.shape
        return Got(None, view, exchange.consumer.read(taken) if has_memory else b"", tuple(heard), taken)
    except Exception as error:
        exchange.check_context(error)
        return Got(error.with_traceback(None), asked=tuple(heard))


def natively(exchange: Exchange, array: Any, call: UserCall | None = None) -> Got:
    """What the case's call, or another one, gives for the object itself."""
    call = call or call_of(exchange)
    thing = native(exchange, array, call)
    return got(exchange, lambda: call.take(exchange.consumer, thing, exchange.device))


def by_protocols(exchange: Exchange, array: Any) -> dict[Protocol, Got]:
    """What the consumer's usual import gives for the same array behind each protocol that both have, in the order of the protocols."""
    return {protocol: _behind(exchange, array, protocol) for protocol in shared_protocols(exchange)}


def shared_protocols(exchange: Exchange) -> tuple[Protocol, ...]:
    """The protocols that producer and consumer have in common here."""
    exports, _ = exchange.producer.protocols(exchange.device)
    _, imports = exchange.consumer.protocols(exchange.device)
    return tuple(protocol for protocol in Protocol if protocol in exports and protocol in imports)


def _behind(exchange: Exchange, array: Any, protocol: Protocol) -> Got:
    def take() -> Any:
        return exchange.consumer.take(exchange.producer.offer(array, protocol), protocol, exchange.device)

    return got(exchange, take)


def raised_by_the_producer(exchange: Exchange, array: Any) -> tuple[type[BaseException], ...]:
    """The kinds of exceptions by which the producer itself refuses to show the array by the protocols that both have."""
    found = []
    for protocol in shared_protocols(exchange):
        offer = exchange.producer.offer(array, protocol)
        got(exchange, lambda: exchange.consumer.take(offer, protocol, exchange.device))  # noqa: B023 - called at once
        if offer.raised is not None:
            found.append(type(offer.raised))
    return tuple(found)


def memory_of(source: Source) -> Memory:
    """The memory of a producer's array."""
    return Memory(source.start - source.before, max(source.start + len(source.block), source.address + 1))


def gives(result: Got, memory: Memory, device: Device) -> Gives:
    """What came of a call, in the words of the table."""
    if result.view is None:
        return Gives.REFUSES
    if memory.covers(result.view):
        return Gives.SHARES
    on_host = result.view.device is not None and result.view.device[0] == 1
    through = "__array__" in result.asked or "__array_interface__" in result.asked
    return Gives.BY_HOST if device is Device.CUDA and (on_host or through) else Gives.COPIES


def way(result: Got, others: dict[Protocol, Got]) -> str:
    """By which way an object was taken, as far as it can be seen.

    A producer whose methods are Python code shows them behind a protocol. Where none of them is called for the object itself, the
    consumer has read its type or a table of that type.
    """
    if result.asked:
        return "by " + ", ".join(f"`{name}`" for name in result.asked)
    is_visible = any(other.asked for other in others.values())
    return "by its type, a table or a buffer" if is_visible and result.view is not None else "way not seen"


_LOOKED = (DLPACK, "__dlpack_device__", CAI, ARRAY_INTERFACE, "__array_struct__", ARRAY, "__cuda_stream__", BUFFER)
_ALLOWED = (TypeError, BufferError, ValueError)
"""How :class:`memoryview` is told that there is no buffer, or none of such elements."""


def raised_by_looks(thing: Any) -> dict[str, str]:
    """The looks for a protocol that raise something else than that there is none, with the exceptions in words."""
    return {name: told for name in _LOOKED if (told := _raised(thing, name))}


def _raised(thing: Any, name: str) -> str:
    try:
        memoryview(thing) if name == BUFFER else getattr(thing, name)
    except AttributeError:
        return ""
    except Exception as error:
        return "" if name == BUFFER and isinstance(error, _ALLOWED) else brief(error)
    return ""
