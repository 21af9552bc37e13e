"""Memory in use by this process: bytes of the C heap, and blocks of Python's allocator.

Both are exact counts of the allocators. Other processes and the load of the machine do not affect them.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from conformance.reference.managed import settle

_NAMES = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
"""The fields of ``struct mallinfo`` and of ``struct mallinfo2``."""


class _Wide(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in _NAMES)


class _Narrow(ctypes.Structure):
    """The older struct. Its ``int`` fields wrap at 32 bits, and so do differences."""

    _fields_ = tuple((name, ctypes.c_int) for name in _NAMES)


_PROBE = 1 << 12
_PROBES = 16
"""Number of 4 KiB blocks, enough that the allocator cannot serve all of them from a cache."""
_INT = 1 << 32


@dataclass(frozen=True)
class Held:
    """Bytes of the C heap, or ``None`` if they cannot be counted, and blocks of Python's allocator."""

    heap: int | None
    blocks: int

    def since(self, before: Held) -> Held:
        """Return the difference to an earlier count."""
        heap = None if self.heap is None or before.heap is None else _signed(self.heap - before.heap)
        return Held(heap, self.blocks - before.blocks)


def held() -> Held:
    """Return the current counts, after a garbage collection."""
    gc.collect()
    settle()
    count = counter()
    return Held(None if count is None else count(), sys.getallocatedblocks())


@lru_cache(maxsize=1)
def counter() -> Callable[[], int] | None:
    """Return the function that counts the bytes in use of the C heap, or ``None``.

    A library may have replaced ``malloc``. The function of glibc then does not count its blocks, and the result is ``None``.
    """
    libc = ctypes.CDLL(None)
    for name, kind in (("mallinfo2", _Wide), ("mallinfo", _Narrow)):
        function = getattr(libc, name, None)
        if function is not None:
            function.restype, function.argtypes = kind, ()

            def count(function: Callable[[], _Wide | _Narrow] = function) -> int:
                told = function()
                # uordblks counts blocks in the arenas, hblkhd the large blocks that malloc maps separately
                return int(told.uordblks) + int(told.hblkhd)

            return count if _counts(libc, count) else None
    return None


def _counts(libc: ctypes.CDLL, count: Callable[[], int]) -> bool:
    """Return whether the count includes blocks that ``malloc`` allocates."""
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    libc.free.restype, libc.free.argtypes = None, (ctypes.c_void_p,)
    before = count()
    taken = [libc.malloc(_PROBE) for _ in range(_PROBES)]
    grown = _signed(count() - before)
    for address in taken:
        libc.free(address)
    return grown >= _PROBE * _PROBES


def _signed(difference: int) -> int:
    """Return the difference of two counts that may have wrapped at 32 bits."""
    if abs(difference) < _INT // 2:
        return difference
    return (difference + _INT // 2) % _INT - _INT // 2
