"""The latch: a kernel that holds a stream until the host lets go, or until its own time limit on the device's clock."""

from __future__ import annotations

import ctypes
from functools import cache

from . import kernels, memory

_BYTES = 4096
_SLOT = 8
_FLAG, _STATE = 0, 4
_HOLDING = (0, 1)
"""States of a latch that has not started yet, and of one that has."""
_EXPIRED = 3


class Latch:
    """Holds a stream from the moment it is made. The GIL is not needed to let go, only a store to pinned memory."""

    def __init__(self, stream: int, seconds: float, ordinal: int = 0) -> None:
        self._slot = _board().take()
        kernels.hold(self._slot, int(seconds * 1e9), stream, ordinal)

    @property
    def held(self) -> bool:
        """Whether the stream's later work cannot have started."""
        return not self._read(_FLAG) and self._read(_STATE) in _HOLDING

    @property
    def expired(self) -> bool:
        """Whether it let go by itself, because its time was up."""
        return self._read(_STATE) == _EXPIRED

    def release(self) -> None:
        """Let go; safe to call twice, and from any thread."""
        ctypes.c_uint32.from_address(self._slot + _FLAG).value = 1

    def close(self) -> None:
        """Give the slot back; the caller has seen the stream idle. A latch that is let go of after its end does so by itself."""
        if self._slot:
            _board().give(self._slot)
            self._slot = 0

    def __del__(self) -> None:
        if getattr(self, "_slot", 0) and self._read(_STATE) not in _HOLDING:
            self.close()

    def _read(self, offset: int) -> int:
        return ctypes.c_uint32.from_address(self._slot + offset).value


class _Board:
    """Pinned memory that every context can reach, in slots of two words: the host's flag and the device's answer."""

    def __init__(self) -> None:
        base = memory.allocate(_BYTES, memory.Kind.PINNED)
        self._free = [base + i * _SLOT for i in range(_BYTES // _SLOT)]

    def take(self) -> int:
        """Address of a cleared slot."""
        slot = self._free.pop()
        ctypes.c_uint64.from_address(slot).value = 0
        return slot

    def give(self, slot: int) -> None:
        """A slot that no kernel looks at any more."""
        self._free.append(slot)


@cache
def _board() -> _Board:
    return _Board()
