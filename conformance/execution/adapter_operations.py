"""Checks of the operations that an adapter declares, on arrays of its own library: sums, stacks, copies, devices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from conformance.adapters.base import Trait, Unsupported
from conformance.checks.libraries import Side
from conformance.protocols.dtypes import dtype

from .adapter_bench import EITHER, OTHER, Bench, NotSo, elements, make, told, usual_layout

KIND, COUNT = "int32", 7
"""Element type and number of elements of the test arrays, as the layout ``vector`` has them."""


def adds(bench: Bench, side: Side) -> None:
    """Check the sum of an array and itself."""
    doubled = b"".join(elements(dtype(KIND), 1, 2 * number) for number in range(1, COUNT + 1))
    _expect(bench, side, "add()", lambda array: bench.adapter.add(array, array), doubled)


def stacks(bench: Bench, side: Side) -> None:
    """Check the stack of an array and itself."""
    _expect(bench, side, "stack()", lambda array: bench.adapter.stack([array, array]), 2 * elements(dtype(KIND), COUNT))


def copies(bench: Bench, side: Side) -> None:
    """Check that a copy has its own memory: a later write to the source must not change it."""
    made = _expect(bench, side, "copied()", bench.adapter.copied, elements(dtype(KIND), COUNT))
    if made is None or Trait.WRITES not in bench.traits:
        return
    array, copy = made
    bench.adapter.write(array, elements(dtype(KIND), COUNT, OTHER))
    if bench.adapter.read(copy) != elements(dtype(KIND), COUNT):
        raise NotSo(f"the array that copied() returns changes when its source is written{EITHER}")


def tells_devices(bench: Bench, side: Side) -> None:
    """Check that two arrays of the adapter report the same device."""
    arrays = [make(bench, dtype(side.dtypes[0]), usual_layout(side)).array for _ in range(2)]
    places = [_attempt("device_of()", partial(bench.adapter.device_of, array)) for array in arrays]
    if places[0] != places[1]:
        raise NotSo(f"device_of() of two arrays returns {places[0]!r} and {places[1]!r}; expected one device{EITHER}")


def _expect(bench: Bench, side: Side, what: str, work: Callable[[Any], Any], wanted: bytes) -> tuple[Any, Any] | None:
    """Return the array and the result of the operation; ``None`` if the library lacks the element type."""
    if KIND not in side.dtypes:
        return None
    made = make(bench, dtype(KIND), "vector")
    result = _attempt(what, lambda: work(made.array))
    seen = bench.adapter.read(result)
    if seen != wanted:
        raise NotSo(
            f"{what} returns {told(seen, made.kind)} for {told(made.block, made.kind)}; expected {told(wanted, made.kind)}{EITHER}"
        )
    return made.array, result


def _attempt(what: str, work: Callable[[], Any]) -> Any:
    """Call an operation. An operation that fails here, such as for a missing compiler or driver, is no mistake of the adapter."""
    try:
        return work()
    except Unsupported as error:
        if error.__cause__ is None:
            raise NotSo(f"{what} raises Unsupported: {error}, although the adapter declares its trait") from error
        raise
    except Exception as error:
        raise Unsupported(what) from error
