"""Libraries that release memory late, for example from a cache or on a thread.

A process measures this once for each library, with a plain array. Later checks do not wait for such a library.
"""

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
    """The kind of exchange after which a library must release memory."""

    IMPORT = "an import"
    EXPORT = "an exported array"
    REEXPORT = "an import that it has exported again"


_known: WeakKeyDictionary[Adapter, dict[tuple[Way, Protocol, str], bool]] = WeakKeyDictionary()


def is_late(exchange: Exchange, library: Adapter, way: Way) -> bool:
    """Return whether the library releases a plain float32 array only after the patience or at its documented call.

    Return ``False`` if the library releases it in time, never releases it, or refuses it.
    """
    of_library = _known.setdefault(library, {})
    key = way, exchange.protocol, exchange.device.value
    if key not in of_library:
        of_library[key] = _measured(exchange.apart(), library, way)
    return of_library[key]


def watch(array: Any) -> Event | None:
    """Return a function that returns whether an array is gone, or ``None`` if the array does not support weak references."""
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
    """Return an import to which the caller has the only reference."""
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
    """Return a function that returns whether an import from the reference is released. For DLPack it checks the deleter."""
    if exchange.protocol is not Protocol.DLPACK:
        return watch(array)
    newest = array.log.exports[-1]
    return lambda: bool(newest.deleter_calls)


_EXCHANGES: dict[Way, Callable[[Exchange, Adapter], Event | None]] = {
    Way.IMPORT: _import, Way.EXPORT: _export, Way.REEXPORT: _reexport,
}  # fmt: skip
