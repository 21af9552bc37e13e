"""Device, pinned, managed and pool memory, and copies to and from the host. Sizes in bytes.

All of it happens in the primary context of the GPU that the memory lies on and on the legacy stream, and every copy
to or from the host has finished when the call returns.
"""

from __future__ import annotations

import ctypes
from enum import Enum

from . import context, pointers
from .driver import call, device_count

_ATTACH_GLOBAL = 1
_PORTABLE = 1
"""Pinned in every context, not only in the one that was current."""


class Kind(str, Enum):
    """How a block was allocated, which decides the device type that an exporter must report (DLP-15)."""

    DEVICE = "device"
    PINNED = "pinned"
    MANAGED = "managed"
    POOL = "pool"


def allocate(nbytes: int, kind: Kind = Kind.DEVICE, ordinal: int = 0) -> int:
    """Address of a new block of at least one byte on this GPU."""
    pointer = ctypes.c_void_p()
    size = ctypes.c_size_t(max(nbytes, 1))
    with context.using(context.primary(ordinal)):
        if kind is Kind.DEVICE:
            call("cuMemAlloc_v2", ctypes.byref(pointer), size)
        elif kind is Kind.PINNED:
            call("cuMemHostAlloc", ctypes.byref(pointer), size, _PORTABLE)
        elif kind is Kind.MANAGED:
            call("cuMemAllocManaged", ctypes.byref(pointer), size, _ATTACH_GLOBAL)
        else:
            call("cuMemAllocAsync", ctypes.byref(pointer), size, None)
            context.synchronize()
    return pointer.value or 0


def free(address: int, kind: Kind = Kind.DEVICE, ordinal: int = 0) -> None:
    """Give a block of this GPU back."""
    pointer = ctypes.c_void_p(address)
    with context.using(context.primary(ordinal)):
        if kind is Kind.PINNED:
            call("cuMemFreeHost", pointer)
        elif kind is Kind.POOL:
            call("cuMemFreeAsync", pointer, None)
            context.synchronize()
        else:
            call("cuMemFree_v2", pointer)


def write(address: int, data: bytes) -> None:
    """Copy host bytes to device memory; returns when they are there."""
    if not data:
        return
    with context.using(_home(address)):
        call("cuMemcpyHtoD_v2", ctypes.c_void_p(address), data, ctypes.c_size_t(len(data)))
        context.synchronize()


def read(address: int, nbytes: int) -> bytes:
    """Wait for all work of the memory's primary context, then copy device memory to the host."""
    if not nbytes:
        return b""
    buffer = ctypes.create_string_buffer(nbytes)
    with context.using(_home(address)):
        context.synchronize()
        call("cuMemcpyDtoH_v2", buffer, ctypes.c_void_p(address), ctypes.c_size_t(nbytes))
    return buffer.raw


def read_behind(address: int, nbytes: int, stream: int) -> bytes:
    """Copy device memory to the host behind what one stream has queued, and wait for that stream alone."""
    buffer = ctypes.create_string_buffer(nbytes)
    with context.using(_home(address)):
        call("cuMemcpyDtoHAsync_v2", buffer, ctypes.c_void_p(address), ctypes.c_size_t(nbytes), ctypes.c_void_p(stream))
        call("cuStreamSynchronize", ctypes.c_void_p(stream))
    return buffer.raw


def write_behind(address: int, data: bytes, stream: int) -> None:
    """Copy host bytes to device memory behind what one stream has queued, and wait for that stream alone."""
    with context.using(_home(address)):
        call(
            "cuMemcpyHtoDAsync_v2", ctypes.c_void_p(address), data, ctypes.c_size_t(len(data)), ctypes.c_void_p(stream)
        )
        call("cuStreamSynchronize", ctypes.c_void_p(stream))


def copy(target: int, source: int, nbytes: int, stream: int) -> None:
    """Queue a copy in device memory, within a GPU or between two, on a stream of the current context."""
    size, handle = ctypes.c_size_t(nbytes), ctypes.c_void_p(stream)
    there, here = _home(target), _home(source)
    if there == here:
        call("cuMemcpyDtoDAsync_v2", ctypes.c_void_p(target), ctypes.c_void_p(source), size, handle)
        return
    call(
        "cuMemcpyPeerAsync",
        ctypes.c_void_p(target),
        ctypes.c_void_p(there),
        ctypes.c_void_p(source),
        ctypes.c_void_p(here),
        size,
        handle,
    )


def free_bytes() -> int:
    """Bytes of device memory that are free on the whole device."""
    free_, total = ctypes.c_size_t(), ctypes.c_size_t()
    with context.using(context.primary()):
        call("cuMemGetInfo_v2", ctypes.byref(free_), ctypes.byref(total))
    return free_.value


def base_of(address: int) -> tuple[int, int]:
    """Start and size in bytes of the allocation that an address lies in."""
    base, size = ctypes.c_void_p(), ctypes.c_size_t()
    with context.using(context.primary()):
        call("cuMemGetAddressRange_v2", ctypes.byref(base), ctypes.byref(size), ctypes.c_void_p(address))
    return base.value or 0, size.value


def _home(address: int) -> int:
    """The primary context of the GPU that an address lies on; of the first GPU for what the driver does not know."""
    if device_count() < 2:
        return context.primary()
    return context.primary(pointers.ordinal_of(address) or 0)
