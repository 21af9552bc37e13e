"""Control for checks that run a library's kernels: the kernels must work on an array of the library itself.

If they do not, the environment is at fault, and the case is inconclusive. For example, an old driver cannot load kernels of a newer compiler.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from conformance.adapters.base import Adapter, Device, Trait
from conformance.protocols.dtypes import dtype

from .exchange import Exchange, brief
from .outcomes import Failure, Inconclusive

_NUMBERS = (7, 300, 70_000, 9_000_001)
"""Some numbers below 2**24, so that a kernel that computes in float32 gives exact results."""


def expect_kernels(exchange: Exchange, library: Adapter) -> None:
    """End the case as inconclusive if a library's kernel fails on its own array. Libraries without kernels are not tried."""
    trouble = kernel_trouble(library, exchange.device)
    if trouble:
        exchange.check_context()
        raise Inconclusive(f"environment: {trouble}")


@contextmanager
def unless_environment(exchange: Exchange, trouble: Callable[[], str]) -> Iterator[None]:
    """Report a failure inside the context only if the same work succeeds on arrays of the library itself.

    ``trouble`` tries that work, and returns what is wrong. In this case the environment is at fault, and the case is inconclusive.
    """
    try:
        yield
    except Failure as failure:
        told = trouble()
        if not told:
            raise
        exchange.check_context()
        raise Inconclusive(f"environment: {told}") from failure


def kernel_trouble(library: Adapter, device: Device) -> str:
    """Return what is wrong with a library's kernel on its own array, or an empty string."""
    if Trait.KERNEL not in library.traits:
        return ""
    try:
        array = library.array(dtype("int32"), (len(_NUMBERS),), _words(_NUMBERS), device)
        library.kernel_increment(array)
        seen = library.read(array)
    except Exception as error:
        return f"a kernel of {library.name} fails on the library's own array: {brief(error)}"
    if seen != _words(tuple(number + 1 for number in _NUMBERS)):
        return f"a kernel of {library.name} computes a wrong result on the library's own array"
    return ""


def _words(numbers: tuple[int, ...]) -> bytes:
    return b"".join(number.to_bytes(4, sys.byteorder) for number in numbers)
