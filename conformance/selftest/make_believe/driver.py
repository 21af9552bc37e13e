"""Simulated CUDA driver in Python, with two GPUs on host memory, for machines without a driver.

It has the driver calls that the suite makes, and answers as CUDA does. The code above it (contexts, pointers, memory, IPC handles) is real.
Streams are those of the simulated device.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from conformance.cuda import context
from conformance.cuda import driver as real
from conformance.reference import streams
from conformance.reference.gpus import SIMULATED_GPUS

_SUCCESS, _INVALID_VALUE, _NOT_INITIALIZED, _INVALID_DEVICE, _INVALID_CONTEXT = 0, 1, 3, 101, 201
_NAMES = {
    _SUCCESS: b"CUDA_SUCCESS",
    _INVALID_VALUE: b"CUDA_ERROR_INVALID_VALUE",
    _NOT_INITIALIZED: b"CUDA_ERROR_NOT_INITIALIZED",
    _INVALID_DEVICE: b"CUDA_ERROR_INVALID_DEVICE",
    _INVALID_CONTEXT: b"CUDA_ERROR_INVALID_CONTEXT",
}
_TOTAL_BYTES = 80 << 30
_FIRST_PRIMARY, _FIRST_PRIVATE, _FIRST_STREAM = 0x1000, 0x9000, 0xA000
_HOST, _DEVICE = 1, 2


@dataclass
class _Allocation:
    """Memory that is allocated at first access. ``file`` is a file that another process can open."""

    address: int
    nbytes: int
    ordinal: int
    memory_type: int
    managed: bool
    file: int
    keeps: Any


class MadeUpDriver:
    """The driver library, with functions under their names in ``libcuda``.

    Every function returns a ``CUresult``. In a fork, all of them report that the driver is not initialised.
    """

    def __init__(self) -> None:
        self._home = os.getpid()
        self._active: set[int] = set()
        self._private: dict[int, int] = {}
        self._threads = threading.local()
        self._blocks: dict[int, _Allocation] = {}
        self._gone: list[_Allocation] = []
        self._streams = 0

    def __getattribute__(self, name: str) -> Any:
        """Return a function. A missing one raises ``AttributeError``, as with a real library."""
        found = object.__getattribute__(self, name)
        if name.startswith("cu") and name != "cuGetErrorName" and os.getpid() != self._home:
            return lambda *_: _NOT_INITIALIZED
        return found

    # The library and its GPUs

    def cuGetErrorName(self, code: int, text: Any) -> int:
        text._obj.value = _NAMES.get(code, b"CUDA_ERROR_UNKNOWN")
        return _SUCCESS

    def cuDeviceGetCount(self, count: Any) -> int:
        """Count the GPUs of ``CUDA_VISIBLE_DEVICES``, or both."""
        count._obj.value = len(self._visible())
        return _SUCCESS

    def _visible(self) -> list[str]:
        return (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(SIMULATED_GPUS)))).split(",")

    # Contexts

    def cuDevicePrimaryCtxRetain(self, handle: Any, ordinal: int) -> int:
        if ordinal >= len(self._visible()):
            return _INVALID_DEVICE
        self._active.add(ordinal)
        handle._obj.value = _FIRST_PRIMARY + ordinal
        return _SUCCESS

    def cuDevicePrimaryCtxGetState(self, ordinal: int, flags: Any, active: Any) -> int:
        active._obj.value = ordinal in self._active
        return _SUCCESS

    def cuCtxCreate_v2(self, handle: Any, flags: int, ordinal: int) -> int:
        made = _FIRST_PRIVATE + len(self._private)
        self._private[made] = ordinal
        self._stack.append(made)
        handle._obj.value = made
        return _SUCCESS

    def cuCtxDestroy_v2(self, handle: Any) -> int:
        if self._stack and self._stack[-1] == handle.value:
            self._stack.pop()
        return _SUCCESS

    @property
    def _stack(self) -> list[int]:
        if not hasattr(self._threads, "stack"):
            self._threads.stack = []
        stack: list[int] = self._threads.stack
        return stack

    def cuCtxGetCurrent(self, handle: Any) -> int:
        handle._obj.value = self._stack[-1] if self._stack else None
        return _SUCCESS

    def cuCtxGetDevice(self, ordinal: Any) -> int:
        if not self._stack or not self._stack[-1]:
            return _INVALID_CONTEXT
        ordinal._obj.value = self._ordinal(self._stack[-1])
        return _SUCCESS

    def _ordinal(self, handle: int) -> int:
        return self._private.get(handle, handle - _FIRST_PRIMARY)

    def cuCtxSetCurrent(self, handle: Any) -> int:
        if self._stack:
            self._stack.pop()
        if handle.value:
            self._stack.append(handle.value)
        return _SUCCESS

    def cuCtxPushCurrent_v2(self, handle: Any) -> int:
        self._stack.append(handle.value)
        return _SUCCESS

    def cuCtxPopCurrent_v2(self, handle: Any) -> int:
        if not self._stack:
            return _INVALID_CONTEXT
        handle._obj.value = self._stack.pop()
        return _SUCCESS

    def cuCtxSynchronize(self) -> int:
        return _SUCCESS if self._stack else _INVALID_CONTEXT

    # Memory

    def cuMemAlloc_v2(self, pointer: Any, size: Any) -> int:
        return self._allocate(pointer, size, _DEVICE, file=os.memfd_create("made-up device memory"))

    def cuMemAllocAsync(self, pointer: Any, size: Any, stream: Any) -> int:
        return self._allocate(pointer, size, _DEVICE)

    def cuMemAllocManaged(self, pointer: Any, size: Any, flags: int) -> int:
        return self._allocate(pointer, size, _DEVICE, managed=True)

    def cuMemHostAlloc(self, pointer: Any, size: Any, flags: int) -> int:
        return self._allocate(pointer, size, _HOST)

    def _allocate(self, pointer: Any, size: Any, memory_type: int, *, managed: bool = False, file: int = -1) -> int:
        if file >= 0:
            os.ftruncate(file, size.value)
        kept = mmap.mmap(file, size.value)
        address = ctypes.addressof(ctypes.c_char.from_buffer(kept))
        ordinal = self._ordinal(self._stack[-1])
        self._blocks[address] = _Allocation(address, size.value, ordinal, memory_type, managed, file, kept)
        pointer._obj.value = address
        return _SUCCESS

    def cuMemFree_v2(self, pointer: Any) -> int:
        """Free a block, but keep it mapped, so that a later access by a fault does not end the process."""
        block = self._blocks.pop(pointer.value or 0, None)
        if block is None:
            return _INVALID_VALUE
        if block.file >= 0:
            os.close(block.file)
        self._gone.append(block)
        return _SUCCESS

    cuMemFreeHost = cuMemFree_v2

    def cuMemFreeAsync(self, pointer: Any, stream: Any) -> int:
        """Free at once."""
        return self.cuMemFree_v2(pointer)

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:
        free._obj.value = _TOTAL_BYTES - sum(block.nbytes for block in self._blocks.values())
        total._obj.value = _TOTAL_BYTES
        return _SUCCESS

    def cuMemGetAddressRange_v2(self, base: Any, size: Any, pointer: Any) -> int:
        block = self._around(pointer.value)
        if block is None:
            return _INVALID_VALUE
        base._obj.value, size._obj.value = block.address, block.nbytes
        return _SUCCESS

    def _around(self, address: int) -> _Allocation | None:
        blocks = self._blocks.values()
        return next((b for b in blocks if b.address <= (address or 0) < b.address + b.nbytes), None)

    def cuPointerGetAttribute(self, into: Any, attribute: int, pointer: Any) -> int:
        block = self._around(pointer.value)
        if block is None:
            return _INVALID_VALUE
        values = {
            1: _FIRST_PRIMARY + block.ordinal,
            2: block.memory_type,
            3: pointer.value,
            8: block.managed,
            9: block.ordinal,
        }
        into._obj.value = values[attribute]
        return _SUCCESS

    def cuMemcpyHtoD_v2(self, target: Any, data: Any, size: Any) -> int:
        ctypes.memmove(target.value, data, size.value)
        return _SUCCESS

    def cuMemcpyDtoH_v2(self, data: Any, source: Any, size: Any) -> int:
        ctypes.memmove(data, source.value, size.value)
        return _SUCCESS

    # Streams for the suite's own driver calls, whose work is done at once

    def cuStreamCreate(self, handle: Any, flags: int) -> int:
        self._streams += 1
        handle._obj.value = _FIRST_STREAM + self._streams
        return _SUCCESS

    def cuStreamSynchronize(self, stream: Any) -> int:
        return _SUCCESS

    def cuMemcpyHtoDAsync_v2(self, target: Any, data: Any, size: Any, stream: Any) -> int:
        return self.cuMemcpyHtoD_v2(target, data, size)

    def cuMemcpyDtoHAsync_v2(self, data: Any, source: Any, size: Any, stream: Any) -> int:
        return self.cuMemcpyDtoH_v2(data, source, size)

    # Other processes

    def cuIpcGetMemHandle(self, handle: Any, pointer: Any) -> int:
        """Write the path of the memory's file into the handle. Pool, managed and pinned memory have none."""
        block = self._around(pointer.value)
        if block is None or block.file < 0:
            return _INVALID_VALUE
        path = f"/proc/{os.getpid()}/fd/{block.file}".encode()
        ctypes.memmove(ctypes.addressof(handle._obj), path, len(path))
        return _SUCCESS

    def cuIpcOpenMemHandle_v2(self, base: Any, handle: Any, flags: int) -> int:
        """Map the same memory at an address of this process."""
        try:
            file = os.open(bytes(handle).rstrip(b"\0"), os.O_RDWR)
        except OSError:
            return _INVALID_VALUE
        return self._allocate(base, ctypes.c_size_t(os.fstat(file).st_size), _DEVICE, file=file)

    def cuIpcCloseMemHandle(self, base: Any) -> int:
        return self.cuMemFree_v2(base)


@contextmanager
def believed() -> Iterator[None]:
    """Use the simulated driver for the suite's own calls in this process, also if there is a real one."""
    made = MadeUpDriver()
    context.primary.cache_clear()
    with (
        mock.patch.object(real, "library", return_value=made),
        mock.patch.object(streams, "cuda", return_value=streams.simulated()),
    ):
        yield


_believed = believed()


def in_private_context() -> bool:
    """Return ``True`` if a context other than the primary one is current."""
    return context.current() not in (0, context.primary())


def believe() -> None:
    """Use the simulated driver to the end of this process."""
    _believed.__enter__()
