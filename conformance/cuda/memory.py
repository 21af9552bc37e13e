"""Device, pinned, managed and pool memory, and copies to and from the host. Sizes are in bytes.

All calls use the primary context of the memory's GPU and the legacy stream. Every copy to or from the host is done on return.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import cache, lru_cache
from typing import Any

from . import context, driver, pointers
from .driver import call, device_count

_ATTACH_GLOBAL = 1
_PORTABLE = 1
"""Memory that is pinned in every context, not only in the current one."""


class Kind(str, Enum):
    """The kind of allocation, which decides the device type that an exporter must report (DLP-15)."""

    DEVICE = "device"
    PINNED = "pinned"
    MANAGED = "managed"
    POOL = "pool"


def allocate(nbytes: int, kind: Kind = Kind.DEVICE, ordinal: int = 0) -> int:
    """Return the address of a new block of at least one byte on this GPU."""
    pointer = ctypes.c_void_p()
    size = ctypes.c_size_t(max(nbytes, 1))
    with context.Inside(context.primary(ordinal)):
        if kind is Kind.DEVICE:
            _keep_chunk(driver.library(), ordinal)
            call("cuMemAlloc_v2", ctypes.byref(pointer), size)
        elif kind is Kind.PINNED:
            call("cuMemHostAlloc", ctypes.byref(pointer), size, _PORTABLE)
        elif kind is Kind.MANAGED:
            call("cuMemAllocManaged", ctypes.byref(pointer), size, _ATTACH_GLOBAL)
        else:
            call("cuMemAllocAsync", ctypes.byref(pointer), size, None)
            context.synchronize()
    return pointer.value or 0


@cache
def _keep_chunk(_: Any, ordinal: int) -> None:
    """Allocate one block that is never freed, for each driver and GPU. The context of the GPU must be current.

    The driver takes small blocks from a chunk of 2 MiB, and returns an empty chunk to the kernel. There, each allocation waits while another
    process starts CUDA: 25 ms with eight such processes on an H200. This block keeps the chunk.
    """
    call("cuMemAlloc_v2", ctypes.byref(ctypes.c_void_p()), ctypes.c_size_t(1))


def free(address: int, kind: Kind = Kind.DEVICE, ordinal: int = 0) -> None:
    """Free a block of this GPU."""
    pointer = ctypes.c_void_p(address)
    with context.Inside(context.primary(ordinal)):
        if kind is Kind.PINNED:
            call("cuMemFreeHost", pointer)
        elif kind is Kind.POOL:
            call("cuMemFreeAsync", pointer, None)
            context.synchronize()
        else:
            call("cuMemFree_v2", pointer)


BY_ENGINE = 100 << 10
"""The size from which a copy from the host uses a copy engine (above 64 KiB, by the CUDA programming guide).

The driver passes fewer bytes to the GPU with its commands, as work of the compute engine, which serves the processes in turns. Then each
wait takes 0.14 ms for each other busy process on an H200. A wait for a copy engine takes 0.01 ms, whatever the number of processes.
"""


def write(address: int, data: bytes) -> None:
    """Copy host bytes to device memory. The copy is done on return, or is queued within :func:`together`."""
    if not data:
        return
    home = _home(address)
    with context.Inside(home):
        if _queue(home, address, data, _DEFAULT):
            return
        call("cuMemcpyHtoD_v2", ctypes.c_void_p(address), data, ctypes.c_size_t(len(data)))
        context.synchronize()


@contextmanager
def together() -> Iterator[None]:
    """Only queue this thread's writes within the block, and wait once at its end: one wait for many copies costs as much as for one."""
    if _pending.copies is not None:
        yield
        return
    copies = _pending.copies = []
    try:
        yield
    finally:
        _pending.copies = None
        for home in dict.fromkeys(home for home, _ in copies):
            with context.Inside(home):
                context.synchronize()


class _Pending(threading.local):
    copies: list[tuple[int, bytes]] | None = None
    """Within :func:`together`: the contexts with queued copies, and the bytes, which must live until the copies are done."""


_pending = _Pending()
_DEFAULT = 0


def _queue(home: int, address: int, data: bytes, stream: int) -> bool:
    """Queue a copy on a stream of the current context if the thread waits later. Return ``True`` if it is queued."""
    if _pending.copies is None:
        return False
    _pending.copies.append((home, data))
    _copy_in(address, data, stream)
    return True


def _copy_in(address: int, data: bytes, stream: int) -> None:
    size, handle = ctypes.c_size_t(len(data)), ctypes.c_void_p(stream)
    call("cuMemcpyHtoDAsync_v2", ctypes.c_void_p(address), data, size, handle)


def read(address: int, nbytes: int) -> bytes:
    """Wait for all work of the memory's primary context, then copy device memory to the host."""
    if not nbytes:
        return b""
    buffer = ctypes.create_string_buffer(nbytes)
    with context.Inside(_home(address)):
        context.synchronize()
        call("cuMemcpyDtoH_v2", buffer, ctypes.c_void_p(address), ctypes.c_size_t(nbytes))
    return buffer.raw


def read_behind(address: int, nbytes: int, stream: int, ordinal: int | None = None) -> bytes:
    """Copy device memory to the host after one stream's queued work, and wait for that stream only.

    ``ordinal`` is the GPU of the memory. Without it, the driver is asked.
    """
    buffer = ctypes.create_string_buffer(nbytes)
    with context.Inside(_home(address) if ordinal is None else context.primary(ordinal)):
        call("cuMemcpyDtoHAsync_v2", buffer, ctypes.c_void_p(address), ctypes.c_size_t(nbytes), ctypes.c_void_p(stream))
        call("cuStreamSynchronize", ctypes.c_void_p(stream))
    return buffer.raw


def read_each_behind(addresses: Sequence[int], nbytes: int, stream: int, ordinal: int) -> list[bytes]:
    """Copy ``nbytes`` at each address of a GPU to the host after one stream's queued work, and wait once.

    The copies go to pinned memory, because a copy to pageable memory waits at once.
    """
    with context.Inside(context.primary(ordinal)):
        kept = _kept(len(addresses) * nbytes, ordinal)
        buffer = kept.pop() if kept else allocate(len(addresses) * nbytes, Kind.PINNED, ordinal)
        for number, address in enumerate(addresses):
            target = ctypes.c_void_p(buffer + number * nbytes)
            call(
                "cuMemcpyDtoHAsync_v2",
                target,
                ctypes.c_void_p(address),
                ctypes.c_size_t(nbytes),
                ctypes.c_void_p(stream),
            )
        call("cuStreamSynchronize", ctypes.c_void_p(stream))
        found = [ctypes.string_at(buffer + number * nbytes, nbytes) for number in range(len(addresses))]
    kept.append(buffer)  # not after an error, because the GPU may still write there
    return found


def reserve(count: int, nbytes: int, ordinal: int) -> None:
    """Allocate the memory that :func:`read_each_behind` needs for ``count`` addresses.

    An allocation during a capture would invalidate it.
    """
    kept = _kept(count * nbytes, ordinal)
    if not kept:
        kept.append(allocate(count * nbytes, Kind.PINNED, ordinal))


def _kept(nbytes: int, ordinal: int) -> list[int]:
    return _staging.setdefault((driver.library(), ordinal, nbytes), [])


_staging: dict[tuple[Any, int, int], list[int]] = {}
"""Pinned memory that is not in use, by driver, GPU and size in bytes."""


def write_behind(address: int, data: bytes, stream: int, ordinal: int | None = None) -> None:
    """Copy host bytes to device memory after one stream's queued work, and wait for that stream only.

    Within :func:`together` there is no wait. ``ordinal`` is as in :func:`read_behind`.
    """
    home = _home(address) if ordinal is None else context.primary(ordinal)
    with context.Inside(home):
        if _queue(home, address, data, stream):
            return
        _copy_in(address, data, stream)
        call("cuStreamSynchronize", ctypes.c_void_p(stream))


def copy(target: int, source: int, nbytes: int, stream: int) -> None:
    """Queue a copy of device memory, within a GPU or between two, on a stream of the current context."""
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
    """Return the free bytes of device memory on the whole device."""
    free_, total = ctypes.c_size_t(), ctypes.c_size_t()
    with context.Inside(context.primary()):
        call("cuMemGetInfo_v2", ctypes.byref(free_), ctypes.byref(total))
    return free_.value


def base_of(address: int) -> tuple[int, int]:
    """Return the start and the size in bytes of the allocation that contains an address."""
    base, size = ctypes.c_void_p(), ctypes.c_size_t()
    with context.Inside(context.primary()):
        call("cuMemGetAddressRange_v2", ctypes.byref(base), ctypes.byref(size), ctypes.c_void_p(address))
    return base.value or 0, size.value


def _home(address: int) -> int:
    """Return the primary context of the address's GPU, or of the first GPU for an unknown address."""
    if _is_alone(driver.library()):
        return context.primary()
    return context.primary(pointers.ordinal_of(address) or 0)


@lru_cache(maxsize=1)
def _is_alone(library: Any) -> bool:
    """Return ``True`` if this driver has at most one GPU. A driver counts them once, when it is initialised."""
    return device_count() < 2
