"""Whether the operations that an adapter declares do with arrays of its own what they are for: sums, stacks, copies, devices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from conformance.adapters.base import Trait, Unsupported
from conformance.checks.libraries import Side
from conformance.protocols.dtypes import dtype

from .adapter_bench import EITHER, OTHER, Bench, NotSo, elements, make, told, usual_layout

KIND, COUNT = "int32", 7
"""Element type and number of elements of the arrays; the layout ``vector`` has so many."""


def adds(bench: Bench, side: Side) -> None:
    """An array and itself."""
    doubled = b"".join(elements(dtype(KIND), 1, 2 * number) for number in range(1, COUNT + 1))
    _expect(bench, side, "add()", lambda array: bench.adapter.add(array, array), doubled)


def stacks(bench: Bench, side: Side) -> None:
    """An array and itself, one behind the other."""
    _expect(bench, side, "stack()", lambda array: bench.adapter.stack([array, array]), 2 * elements(dtype(KIND), COUNT))


def copies(bench: Bench, side: Side) -> None:
    """The copy is on memory of its own, so a later write does not show in it."""
    made = _expect(bench, side, "copied()", bench.adapter.copied, elements(dtype(KIND), COUNT))
    if made is None or Trait.WRITES not in bench.traits:
        return
    array, copy = made
    bench.adapter.write(array, elements(dtype(KIND), COUNT, OTHER))
    if bench.adapter.read(copy) != elements(dtype(KIND), COUNT):
        raise NotSo(f"what copied() gives changes with the array that it was made of{EITHER}")


def tells_devices(bench: Bench, side: Side) -> None:
    """Two arrays of the adapter's are on one device."""
    arrays = [make(bench, dtype(side.dtypes[0]), usual_layout(side)).array for _ in range(2)]
    places = [_attempt("device_of()", partial(bench.adapter.device_of, array)) for array in arrays]
    if places[0] != places[1]:
        raise NotSo(f"device_of() of two arrays gives {places[0]!r} and {places[1]!r}; expected one device{EITHER}")


def _expect(bench: Bench, side: Side, what: str, work: Callable[[Any], Any], wanted: bytes) -> tuple[Any, Any] | None:
    """The array and what came of it; ``None`` where the library has no such elements."""
    if KIND not in side.dtypes:
        return None
    made = make(bench, dtype(KIND), "vector")
    result = _attempt(what, lambda: work(made.array))
    seen = bench.adapter.read(result)
    if seen != wanted:
        raise NotSo(
            f"{what} makes {told(seen, made.kind)} of {told(made.block, made.kind)}; expected {told(wanted, made.kind)}{EITHER}"
        )
    return made.array, result


def _attempt(what: str, work: Callable[[], Any]) -> Any:
    """An operation that the library lacks here, for want of a compiler or a driver, is no mistake of the adapter."""
    try:
        return work()
    except Unsupported as error:
        if error.__cause__ is None:
            raise NotSo(f"{what} raises Unsupported: {error}, though its trait is declared") from error
        raise
    except Exception as error:
        raise Unsupported(what) from error
