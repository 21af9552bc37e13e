"""IPC memory handles, which another process can open. A handle names a whole allocation, so an address also needs its offset."""

from __future__ import annotations

import ctypes

from . import context, memory
from .driver import call

_HANDLE_BYTES = 64
_LAZY_PEER_ACCESS = 1


class _Handle(ctypes.Structure):
    """``CUipcMemHandle``, which the driver takes by value."""

    _fields_ = [("reserved", ctypes.c_byte * _HANDLE_BYTES)]


def export(address: int) -> tuple[bytes, int]:
    """Return the handle of the allocation that contains ``address``, and the offset of the address in bytes.

    Raises :class:`~conformance.cuda.driver.CudaError` for memory without such a handle (pools, virtual memory).
    """
    base, _ = memory.base_of(address)
    handle = _Handle()
    with context.using(context.primary()):
        call("cuIpcGetMemHandle", ctypes.byref(handle), ctypes.c_void_p(base))
    return bytes(handle), address - base


def read(handle: bytes, offset: int, nbytes: int) -> bytes:
    """Return the bytes at an offset of another process's allocation."""
    base = ctypes.c_void_p()
    with context.using(context.primary()):
        call("cuIpcOpenMemHandle_v2", ctypes.byref(base), _Handle.from_buffer_copy(handle), _LAZY_PEER_ACCESS)
    try:
        return memory.read((base.value or 0) + offset, nbytes)
    finally:
        with context.using(context.primary()):
            call("cuIpcCloseMemHandle", base)
