"""Detection of early releases: allocate all free memory of a size and overwrite it, so that a use-after-free reads wrong elements."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from conformance.adapters.base import Adapter, Device
from conformance.cuda import memory as cuda_memory
from conformance.protocols.strided import gather

from .changed_memory import lying_at
from .exchange import Exchange, Source, collect
from .outcomes import Inconclusive

ARRAYS = 16
"""Number of arrays of the producer, and of blocks of each size."""
_TRIES = 8
"""Number of tries of the control. In half of them the memory must be reused, because one reuse can be a coincidence."""
_STEP = 16
_MARGIN = 192
"""Maximum number of bytes by which a block of the C heap exceeds its array, because libraries align arrays in larger blocks."""
_DEVICE_BLOCKS = 4
_PATTERN = 0xA5


@dataclass(frozen=True)
class _Extent:
    """Memory from the address ``start`` up to, but not including, ``end``."""

    start: int
    end: int

    def meets(self, other: _Extent) -> bool:
        """Return whether the two extents have a byte in common."""
        return self.start < other.end and other.start < self.end


@contextmanager
def pressed(exchange: Exchange, library: Adapter) -> Iterator[list[_Extent]]:
    """Overwrite free memory of the size of the library's arrays inside the context. Yield the extents that were written.

    First, the library clears its caches, because a cache keeps released memory from being reused. Then the suite fills new arrays of the library.
    It also fills blocks of the C heap or of the driver, in the sizes that an aligned array of this size can have.
    """
    collect()
    library.let_go()
    sources = [exchange.make(library, seed=seed) for seed in range(1, ARRAYS + 1)]
    with _blocks(len(sources[0].block), exchange.device) as blocks:
        yield [*map(_extent, sources), *blocks]


def expect_reuse(exchange: Exchange, library: Adapter) -> None:
    """Run the control: :func:`pressed` must overwrite the memory of an array without references.

    Without this control a pass would prove nothing. A new array or block in the memory proves the reuse, and so do changed bytes: an internal
    object of the library may have reused small memory first.

    Raises:
        Inconclusive: the memory is not reused.
    """
    if not len(exchange.make(library).block):
        return  # an array without elements has no memory to reuse
    seen = [0, 0]
    while max(seen) < _TRIES // 2:
        source = exchange.make(library)
        free = _extent(source)
        source.array = None
        with pressed(exchange, library) as written:
            is_met = any(free.meets(extent) for extent in written)
            seen[is_met or _has_other_elements(exchange, source)] += 1
    if seen[True] > seen[False]:
        return
    raise Inconclusive(
        f"the control fails: the memory of a released array of {library.name} is not reused, so the check cannot detect an early release"
    )


def _has_other_elements(exchange: Exchange, source: Source) -> bool:
    """Return whether the memory of a released array has other elements now, or is unmapped."""
    found = lying_at(exchange, source.start, len(source.block))
    return found is None or gather(found, source.view, source.dtype.itemsize) != source.values


def _extent(source: Source) -> _Extent:
    return _Extent(source.start, source.start + len(source.block))


@contextmanager
def _blocks(nbytes: int, device: Device) -> Iterator[list[_Extent]]:
    """Allocate blocks in free memory, and fill them with a pattern."""
    if device is not Device.CUDA:
        with _of_heap(nbytes) as blocks:
            yield blocks
        return
    addresses = [cuda_memory.allocate(nbytes) for _ in range(_DEVICE_BLOCKS)]
    try:
        for address in addresses:
            cuda_memory.write(address, bytes([_PATTERN]) * nbytes)
        yield [_Extent(address, address + nbytes) for address in addresses]
    finally:
        for address in addresses:
            cuda_memory.free(address)


@contextmanager
def _of_heap(nbytes: int) -> Iterator[list[_Extent]]:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    sizes = [size for size in range(max(nbytes, 1), nbytes + _MARGIN, _STEP) for _ in range(ARRAYS)]
    found = [(address, size) for size in sizes if (address := libc.malloc(size))]
    try:
        for address, size in found:
            ctypes.memset(address, _PATTERN, size)
        yield [_Extent(address, address + size) for address, size in found]
    finally:
        for address, _ in found:
            libc.free(address)
