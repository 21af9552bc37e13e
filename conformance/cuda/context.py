"""CUDA contexts: the primary context, which runtime-API libraries share, private contexts, and the current context (CUD-11)."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from .driver import CudaError, call, device_count, status

_INVALID_CONTEXT = 201


@cache
def primary(ordinal: int = 0) -> int:
    """Return the handle of the device's primary context, which stays retained for the life of the process."""
    handle = ctypes.c_void_p()
    begun = time.monotonic()
    call("cuDevicePrimaryCtxRetain", ctypes.byref(handle), ordinal)
    _start_seconds.append(time.monotonic() - begun)
    return handle.value or 0


_start_seconds: list[float] = []


def start_seconds() -> float:
    """Return the seconds that this process has spent in :func:`primary`, including the initialisation of the driver."""
    return sum(_start_seconds)


def primary_is_active(ordinal: int = 0) -> bool:
    """Return ``True`` if any code in this process has activated the primary context. Does not activate it."""
    flags, active = ctypes.c_uint(), ctypes.c_int()
    call("cuDevicePrimaryCtxGetState", ordinal, ctypes.byref(flags), ctypes.byref(active))
    return bool(active.value)


def current() -> int:
    """Return the handle of this thread's current context, or 0."""
    handle = ctypes.c_void_p()
    call("cuCtxGetCurrent", ctypes.byref(handle))
    return handle.value or 0


def current_ordinal() -> int | None:
    """Return the GPU of this thread's current context, or ``None`` without a context."""
    ordinal = ctypes.c_int()
    code = status("cuCtxGetDevice", ctypes.byref(ordinal))
    if code == _INVALID_CONTEXT:
        return None
    if code:
        raise CudaError("cuCtxGetDevice", code)
    return ordinal.value


def set_current(handle: int) -> None:
    """Make a context current in this thread. 0 leaves the thread without one."""
    call("cuCtxSetCurrent", ctypes.c_void_p(handle or None))


@contextmanager
def using(handle: int) -> Iterator[None]:
    """Make the context current within the block, and restore the previous one at the end."""
    call("cuCtxPushCurrent_v2", ctypes.c_void_p(handle))
    try:
        yield
    finally:
        call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))


class Inside:
    """A block with this context current. A context that is already current is not pushed, since each driver call costs time."""

    __slots__ = ("_handle", "_is_pushed")

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __enter__(self) -> None:
        self._is_pushed = current() != self._handle
        if self._is_pushed:
            call("cuCtxPushCurrent_v2", ctypes.c_void_p(self._handle))

    def __exit__(self, *_: object) -> None:
        if self._is_pushed:
            call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))


def create(ordinal: int = 0) -> int:
    """Create a private context and make it current in this thread. The caller destroys it."""
    handle = ctypes.c_void_p()
    call("cuCtxCreate_v2", ctypes.byref(handle), 0, ordinal)
    return handle.value or 0


def destroy(handle: int) -> None:
    """Destroy a private context."""
    call("cuCtxDestroy_v2", ctypes.c_void_p(handle))


def synchronize() -> None:
    """Wait for all work of the current context. Raise the sticky error if the context is corrupted."""
    call("cuCtxSynchronize")


def in_use() -> tuple[int, ...]:
    """Return the GPUs with an active primary context in this process."""
    return tuple(ordinal for ordinal in range(device_count()) if primary_is_active(ordinal))


def synchronize_gpus() -> None:
    """Wait for all work in the primary context of every GPU that is in use."""
    for ordinal in in_use():
        with using(primary(ordinal)):
            synchronize()


def health(ordinal: int = 0) -> int:
    """Return 0 if the primary context works, or else the ``CUresult`` that it returns."""
    with using(primary(ordinal)):
        return status("cuCtxSynchronize")
