"""A control for what a library does with kernels of its own: on an array of its own they have to work, else the environment is at fault.

A driver that is older than the compiler of a library's kernels, say, cannot load any of them. That speaks against nobody.
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
"""Below 2**24: a kernel that counts in float32 still gets them right."""


def expect_kernels(exchange: Exchange, library: Adapter) -> None:
    """End the case as undecided if a library's own kernel fails on an array of its own; one without kernels is not tried."""
    trouble = kernel_trouble(library, exchange.device)
    if trouble:
        exchange.check_context()
        raise Inconclusive(f"environment: {trouble}")


@contextmanager
def unless_environment(exchange: Exchange, trouble: Callable[[], str]) -> Iterator[None]:
    """A failure inside counts only if the same work on arrays of the library's own goes well; ``trouble`` tries that, and tells what is wrong.

    Else the case is undecided, and says that the environment is at fault.
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
    """What is wrong with a library's own kernel on an array of its own, nothing if it works."""
    if Trait.KERNEL not in library.traits:
        return ""
    try:
        array = library.array(dtype("int32"), (len(_NUMBERS),), _words(_NUMBERS), device)
        library.kernel_increment(array)
        seen = library.read(array)
    except Exception as error:
        return f"a kernel of {library.name} fails on an array of its own: {brief(error)}"
    if seen != _words(tuple(number + 1 for number in _NUMBERS)):
        return f"a kernel of {library.name} computes something else on an array of its own"
    return ""


def _words(numbers: tuple[int, ...]) -> bytes:
    return b"".join(number.to_bytes(4, sys.byteorder) for number in numbers)
