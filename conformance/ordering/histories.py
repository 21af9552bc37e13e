"""Arrays with a history: earlier work of a library on an array, or on its memory, before the observed exchange.

Some libraries cache objects and memory. A new array may then reuse memory with pending or earlier work, and the result would depend on the cases
that ran before. So a case names the history of its array, and proves it: by an address, by the bytes in memory, or by the size of the library's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from conformance.adapters.base import Adapter, Device, Protocol, Trait, Unsupported
from conformance.checks.exchange import brief, collect
from conformance.checks.libraries import REFERENCE, Pair
from conformance.checks.outcomes import Inconclusive, Refused

MOST = 64
"""The number of arrays that are made at most until one reuses the memory of a dropped one."""


class History(str, Enum):
    """The history of an array before the exchange."""

    FRESH = "fresh"
    """The array is new, and the library has emptied its caches."""
    WRITTEN = "written"
    """The library wrote it on another stream. The write is done, and the elements were read."""
    REEXPORT = "reexport"
    """It is a DLPack import of an array of the suite, which is now exported again."""
    REEXPORT_CAI = "reexport-cai"
    """It is a CUDA Array Interface import of an array of the suite, which is now exported again."""
    CACHED = "cached"
    """It reuses the memory of an array that was written on another stream and then dropped."""


_BY = {History.REEXPORT: Protocol.DLPACK, History.REEXPORT_CAI: Protocol.CAI}


def pasts(pair: Pair) -> tuple[str, ...]:
    """Return the histories that an array of the producer can have, as values of a parameter.

    A library whose arrays only describe memory does not record writes, so ``written`` is left out there.
    """
    source, on_host = pair.source, pair.device is Device.HOST
    remembers = pair.producer.has(Trait.STREAMS) and not pair.producer.has(Trait.VIEW_ONLY)
    found = [History.WRITTEN] if remembers and not on_host else []
    found += [past for past, protocol in _BY.items() if protocol in source.imports]
    is_simulated = pair.producer.name == REFERENCE and pair.device is Device.SIMULATED
    if is_simulated or (pair.producer.has(Trait.CACHE) and not on_host):
        found.append(History.CACHED)
    return tuple(past.value for past in found)


@dataclass(frozen=True)
class Maker:
    """The functions that make a library's arrays.

    ``make`` makes a new one. ``lend`` offers an array of the suite, and ``take`` imports it. ``write`` writes on another stream, and waits until it is done.
    """

    library: Adapter
    make: Callable[[], Any]
    lend: Callable[[Protocol], tuple[Any, int]]
    """Returns an offer of an array of the suite by a protocol, and the address of its elements."""
    take: Callable[[Any, Protocol], Any]
    write: Callable[[Any], None]


def fresh(library: Adapter) -> None:
    """Empty the caches of a library. Raise :class:`Inconclusive` if it reports cached objects afterwards.

    Garbage is collected only for a library that caches something, because a collection takes longer than the exchange.
    """
    call = library.let_go()
    if not call:
        return
    if library.kept_for_later() != 0:
        collect()
        library.let_go()
    kept = library.kept_for_later()
    if kept:
        raise Inconclusive(f"{library.name} still caches {kept} objects after {call}, so no array is known to be new")


def with_past(maker: Maker, history: History) -> Any:
    """Return an array with this history.

    Raise :class:`Refused` if the library cannot make one, and :class:`Inconclusive` if this attempt did not give one.
    """
    fresh(maker.library)
    if history in _BY:
        return _imported(maker, _BY[history])
    if history is History.CACHED:
        return _cached(maker)
    array = maker.make()
    if history is History.WRITTEN:
        maker.write(array)
    return array


def _imported(maker: Maker, protocol: Protocol) -> Any:
    offer, address = maker.lend(protocol)
    try:
        array = maker.take(offer, protocol)
    except Unsupported:
        raise
    except Exception as error:
        raise Refused(
            f"{maker.library.name} refuses to import the array that it would export again: {brief(error)}"
        ) from error
    if maker.library.describe(array).address != address:
        raise Refused(f"{maker.library.name} copies its imports, so it has no import to export again")
    return array


def _cached(maker: Maker) -> Any:
    """Make new arrays until one has the address of a dropped one."""
    first = maker.make()
    maker.write(first)
    address = maker.library.describe(first).address
    del first
    collect()
    others = []
    for _ in range(MOST):
        array = maker.make()
        if maker.library.describe(array).address == address:
            return array
        others.append(array)
    raise Inconclusive(f"{maker.library.name} does not reuse the memory of a dropped array")
