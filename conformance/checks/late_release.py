"""Libraries that release late, as by a cache or on a thread. A process finds each of them once, with a plain array, and waits for it no more."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from enum import Enum
from typing import Any
from weakref import WeakKeyDictionary

from conformance.adapters.base import Adapter, Protocol
from conformance.protocols.clauses import Role
from conformance.protocols.dtypes import dtype

from .exchange import Exchange
from .layouts import layout
from .libraries import REFERENCE
from .offers import comes_late
from .outcomes import Failure, Refused
from .steps import Doing

Event = Callable[[], bool]


class Way(Enum):
    """The exchange by which a library holds memory that it has to release."""

    IMPORT = "an import"
    EXPORT = "an exported array"
    REEXPORT = "an import that it has exported again"


_known: WeakKeyDictionary[Adapter, dict[tuple[Way, Protocol, str], bool]] = WeakKeyDictionary()


def is_late(exchange: Exchange, library: Adapter, way: Way) -> bool:
    """Return whether the library releases a plain array of float32 only after the patience, or by its documented call.

    ``False`` for a library that releases in time, for one that never does, and for one that refuses the array.
    """
    of_library = _known.setdefault(library, {})
    key = way, exchange.protocol, exchange.device.value
    if key not in of_library:
        of_library[key] = _measured(exchange.apart(), library, way)
    return of_library[key]


def watch(array: Any) -> Event | None:
    """Return a function that says whether an array is gone; ``None`` for an array that takes no weak reference."""
    try:
        owner = weakref.ref(array)
    except TypeError:
        return None
    return lambda: owner() is None


def _measured(exchange: Exchange, library: Adapter, way: Way) -> bool:
    try:
        with exchange.control():
            event = _EXCHANGES[way](exchange, library)
    except (Failure, Refused):
        return False
    except Exception as error:
        exchange.check_context(error)
        return False
    return event is not None and comes_late(library, event)


def _plain(exchange: Exchange, library: Adapter) -> Any:
    return exchange.make(library, kind=dtype("float32"), form=layout("c-order")).array


def _taken(exchange: Exchange, giver: Adapter, array: Any, taker: Adapter) -> Any:
    """Return an import that only the caller holds."""
    stand_in = "" if taker.name == REFERENCE else taker.name
    with exchange.step(Doing.IMPORT, Role.CONSUMER, stand_in, is_lent=giver.name == REFERENCE):
        taken = taker.take(giver.offer(array, exchange.protocol), exchange.protocol, exchange.device)
        taker.describe(taken)
    return taken


def _import(exchange: Exchange, library: Adapter) -> Event | None:
    reference = exchange.library(REFERENCE)
    array = _plain(exchange, reference)
    taken = _taken(exchange, reference, array, library)
    gone = _released(exchange, array)
    del array, taken
    return gone


def _export(exchange: Exchange, library: Adapter) -> Event | None:
    array = _plain(exchange, library)
    taken = _taken(exchange, library, array, exchange.library(REFERENCE))
    gone = watch(array)
    del array, taken
    return gone


def _reexport(exchange: Exchange, library: Adapter) -> Event | None:
    reference = exchange.library(REFERENCE)
    array = _plain(exchange, reference)
    between = _taken(exchange, reference, array, library)
    gone = _released(exchange, array)
    taken = _taken(exchange, library, between, reference)
    del array, between, taken
    return gone


def _released(exchange: Exchange, array: Any) -> Event | None:
    """Return a function that says whether an import of an array of the reference is released: by its deleter, if there is one."""
    if exchange.protocol is not Protocol.DLPACK:
        return watch(array)
    newest = array.log.exports[-1]
    return lambda: bool(newest.deleter_calls)


_EXCHANGES: dict[Way, Callable[[Exchange, Adapter], Event | None]] = {
    Way.IMPORT: _import, Way.EXPORT: _export, Way.REEXPORT: _reexport,
}  # fmt: skip
