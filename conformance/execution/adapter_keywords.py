"""Check that an adapter passes on the ``copy`` keyword that it declares: the only adapter check that exchanges an array.

A library with a faulty exchange may crash or hang here, so this check runs last. All other facts have been reported by then, and the end of
the process says nothing about the adapter. An exception says nothing either: the library may refuse the keyword, or the suite finds its fault
later.
"""

from __future__ import annotations

from typing import Any

from conformance.adapters.base import Adapter, DLPackOffer, Protocol, Trait, Unsupported
from conformance.checks.exchange import brief
from conformance.checks.libraries import Library
from conformance.protocols.dtypes import dtype

from . import adapter_bench
from .adapter_bench import EITHER, Bench, NotSo
from .adapter_check import easiest_first

_DECLARED = f"it declares the trait {Trait.COPY_KEYWORD.value}, but take() with copy=True"


class _Value:
    """A substitute for ``True`` that records whether it was evaluated."""

    def __init__(self) -> None:
        self.was_seen = False

    def __bool__(self) -> bool:
        self.was_seen = True
        return True


def mistake(library: Library, adapter: Adapter) -> str | None:
    """Return a sentence that contradicts the declared keyword; ``None`` if there is none, or if it cannot be determined."""
    sides = library.sides.items() if library.has(Trait.COPY_KEYWORD) else ()
    for device, side in sides:
        if Protocol.DLPACK in side.exports and Protocol.DLPACK in side.imports:
            try:
                _expect_told(Bench(adapter, device, library.traits), easiest_first(side.dtypes)[0])
            except NotSo as found:
                return str(found)
            except Exception:
                continue  # the library refused, or failed
    return None


def _expect_told(bench: Bench, kind: str) -> None:
    made = adapter_bench.make(bench, dtype(kind), "vector")
    offer = _offer(bench.adapter, made.array)
    try:
        taken = bench.adapter.take(offer, Protocol.DLPACK, bench.device, copy=True)
    except Unsupported as error:
        if error.__cause__ is None:
            raise NotSo(f"{_DECLARED} raises Unsupported: {error}") from error
        return
    except TypeError as error:
        if offer.calls or not _takes_without(bench, made.array):
            return
        raise NotSo(f"{_DECLARED} raises {brief(error)}") from error
    if _is_told(offer) or bench.adapter.describe(taken).address != made.address:
        return
    value = _Value()
    offer = _offer(bench.adapter, made.array)
    bench.adapter.take(offer, Protocol.DLPACK, bench.device, copy=value)
    if not _is_told(offer) and not value.was_seen:
        raise NotSo(f"{_DECLARED} shares memory and does not pass `copy` on{EITHER}")


def _offer(adapter: Adapter, array: Any) -> DLPackOffer:
    offer = adapter.offer(array, Protocol.DLPACK)
    assert isinstance(offer, DLPackOffer)
    return offer


def _is_told(offer: DLPackOffer) -> bool:
    return any(keywords.get("copy") is not None for _, keywords in offer.calls)


def _takes_without(bench: Bench, array: Any) -> bool:
    try:
        bench.adapter.take(_offer(bench.adapter, array), Protocol.DLPACK, bench.device)
    except Exception:
        return False
    return True
