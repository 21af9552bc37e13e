"""Arrays with a past: what a library did with them, or with their memory, before the exchange that is looked at.

Some libraries keep objects and memory for later. An array then has a past that nobody asked for, and a verdict depends on what ran before. So a
case names the past that its array has, and proves it: by an address, by what lies in memory, or by what the library tells of its cache.
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
"""Arrays that are made until one has the memory of the one that is gone."""


class History(str, Enum):
    """What has happened to an array before."""

    FRESH = "fresh"
    """Nothing: it is new, and the library was made to let go of what it kept for later."""
    WRITTEN = "written"
    """The library has written it on another stream; that is done, and the elements were read."""
    REEXPORT = "reexport"
    """It is an import of an array of ours by DLPack, which is now exported again."""
    REEXPORT_CAI = "reexport-cai"
    """It is an import of an array of ours by the array interface."""
    CACHED = "cached"
    """It has the memory of an array that was written on another stream, and is gone."""


_BY = {History.REEXPORT: Protocol.DLPACK, History.REEXPORT_CAI: Protocol.CAI}


def pasts(pair: Pair) -> tuple[str, ...]:
    """Each past that an array of the producer can have, as values of a parameter.

    A library whose arrays only describe memory does not know who has written it.
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
    """How a library's arrays are made: ``make`` a new one, ``lend`` one of ours, ``take`` an import of that, ``write`` on another stream.

    ``write`` is done when it returns.
    """

    library: Adapter
    make: Callable[[], Any]
    lend: Callable[[Protocol], tuple[Any, int]]
    """An offer of an array of ours by a protocol, and the address of its elements."""
    take: Callable[[Any, Protocol], Any]
    write: Callable[[Any], None]


def fresh(library: Adapter) -> None:
    """Have the library let go of what it keeps for later; :class:`Inconclusive` if it says that it has something still.

    Garbage is collected only for a library that keeps something, because that takes longer than the exchange.
    """
    call = library.let_go()
    if not call:
        return
    if library.kept_for_later() != 0:
        collect()
        library.let_go()
    kept = library.kept_for_later()
    if kept:
        raise Inconclusive(
            f"{library.name} keeps {kept} objects for later after {call}, so no array is known to be new"
        )


def with_past(maker: Maker, history: History) -> Any:
    """An array with this past. A library that cannot have it ends the case as refused; one that did not get it, as inconclusive."""
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
        raise Refused(f"{maker.library.name} does not import what it is to export again: {brief(error)}") from error
    if maker.library.describe(array).address != address:
        raise Refused(f"{maker.library.name} copies what it imports, so it exports nothing again")
    return array


def _cached(maker: Maker) -> Any:
    """New arrays are made until one has the address of the one that is gone."""
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
    raise Inconclusive(f"{maker.library.name} makes no new array of the memory of one that is gone")
