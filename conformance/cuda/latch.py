"""Latch: a kernel that holds a stream until the host releases it, or until a time limit by the device's clock."""

from __future__ import annotations

import ctypes
from functools import cache

from . import kernels, memory

_BYTES = 4096
_SLOT = 8
_FLAG, _STATE = 0, 4
_HOLDING = (0, 1)
"""States of a latch that has not started yet, and of a running latch."""
_EXPIRED = 3


class Latch:
    """A latch that holds a stream from its creation on. A release is a store to pinned memory and does not need the GIL."""

    def __init__(self, stream: int, seconds: float, ordinal: int = 0) -> None:
        self._slot = _board().take()
        kernels.hold(self._slot, int(seconds * 1e9), stream, ordinal)

    @property
    def held(self) -> bool:
        """``True`` if the stream's later work cannot have started."""
        return not self._read(_FLAG) and self._read(_STATE) in _HOLDING

    @property
    def expired(self) -> bool:
        """``True`` if the time limit has ended the latch."""
        return self._read(_STATE) == _EXPIRED

    def release(self) -> None:
        """Release the stream. It is safe to call this twice, and from any thread."""
        ctypes.c_uint32.from_address(self._slot + _FLAG).value = 1

    def close(self) -> None:
        """Return the slot to the board. The stream must be idle. A latch that is released after its end returns its slot when it dies."""
        if self._slot:
            _board().give(self._slot)
            self._slot = 0

    def __del__(self) -> None:
        if getattr(self, "_slot", 0) and self._read(_STATE) not in _HOLDING:
            self.close()

    def _read(self, offset: int) -> int:
        return ctypes.c_uint32.from_address(self._slot + offset).value


class _Board:
    """Pinned memory that every context can access, in slots of two words: the host's flag and the device's state."""

    def __init__(self) -> None:
        base = memory.allocate(_BYTES, memory.Kind.PINNED)
        self._free = [base + i * _SLOT for i in range(_BYTES // _SLOT)]

    def take(self) -> int:
        """Return the address of a cleared slot."""
        slot = self._free.pop()
        ctypes.c_uint64.from_address(slot).value = 0
        return slot

    def give(self, slot: int) -> None:
        """Return a slot that no kernel reads any more."""
        self._free.append(slot)


@cache
def _board() -> _Board:
    return _Board()
