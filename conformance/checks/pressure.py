"""Pressure on memory that should not be free: whatever is free is taken and written to, so that an early release shows."""

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
"""Arrays of the producer, and blocks of each size."""
_TRIES = 8
"""How often the control looks for memory that is used again. It has to be so in half of them: once may be luck."""
_STEP = 16
_MARGIN = 192
"""Bytes by which a block of the C heap may be larger than its array: libraries align arrays, and the heap keeps what they leave."""
_DEVICE_BLOCKS = 4
_PATTERN = 0xA5


@dataclass(frozen=True)
class _Extent:
    """Memory from ``start`` on, up to ``end``."""

    start: int
    end: int

    def meets(self, other: _Extent) -> bool:
        """Whether a byte is in both."""
        return self.start < other.end and other.start < self.end


@contextmanager
def pressed(exchange: Exchange, library: Adapter) -> Iterator[list[_Extent]]:
    """Inside, free memory of the size of the library's arrays has other content. Yields the extents that were written.

    The library lets go of what it keeps for later first: memory in a cache belongs to nobody, and so shows nothing. Then come arrays of the
    library, of other content, and blocks of the C heap or of the driver, in the sizes that an aligned array of that size takes.
    """
    collect()
    library.let_go()
    sources = [exchange.make(library, seed=seed) for seed in range(1, ARRAYS + 1)]
    with _blocks(len(sources[0].block), exchange.device) as blocks:
        yield [*map(_extent, sources), *blocks]


def expect_reuse(exchange: Exchange, library: Adapter) -> None:
    """The control of a check that presses: memory of an array that nobody holds is written to. Else a pass would say nothing.

    An array or a block that lies in it proves that, and so do other bytes: small memory is often used again by an object of the
    library's own, before an array can have it. An import would read those bytes.
    """
    if not len(exchange.make(library).block):
        return  # an array without elements has no memory to use again
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
        f"the control fails: the memory of an array of {library.name} that nobody holds is not used again, so nothing would show"
    )


def _has_other_elements(exchange: Exchange, source: Source) -> bool:
    """Whether an import of an array that is gone would read something else, or nothing at all."""
    found = lying_at(exchange, source.start, len(source.block))
    return found is None or gather(found, source.view, source.dtype.itemsize) != source.values


def _extent(source: Source) -> _Extent:
    return _Extent(source.start, source.start + len(source.block))


@contextmanager
def _blocks(nbytes: int, device: Device) -> Iterator[list[_Extent]]:
    """Blocks with a pattern, in whatever memory is free."""
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
