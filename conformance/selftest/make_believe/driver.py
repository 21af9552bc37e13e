"""A CUDA driver made of Python: two GPUs whose memory is the host's, for what cannot be shown without a driver.

It has the calls that the suite's own instruments make, and answers as CUDA's does. What lies above them (contexts, pointers, memory,
handles for other processes) is the real thing; streams are those of the simulated device.
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
    """Memory of its own, taken when it is first touched; ``file`` is what another process can open."""

    address: int
    nbytes: int
    ordinal: int
    memory_type: int
    managed: bool
    file: int
    keeps: Any


class MadeUpDriver:
    """The driver library, function by function, under the names that ``libcuda`` has for them.

    Every function returns a ``CUresult``. In a fork of the process that made it, all of them answer that nothing is initialised.
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
        """A function that has not been made up raises ``AttributeError``, as one that a library does not have."""
        found = object.__getattribute__(self, name)
        if name.startswith("cu") and name != "cuGetErrorName" and os.getpid() != self._home:
            return lambda *_: _NOT_INITIALIZED
        return found

    # -- the library and its GPUs

    def cuGetErrorName(self, code: int, text: Any) -> int:
        """The name of a code."""
        text._obj.value = _NAMES.get(code, b"CUDA_ERROR_UNKNOWN")
        return _SUCCESS

    def cuDeviceGetCount(self, count: Any) -> int:
        """As many as ``CUDA_VISIBLE_DEVICES`` names, or both."""
        count._obj.value = len(self._visible())
        return _SUCCESS

    def _visible(self) -> list[str]:
        return (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(SIMULATED_GPUS)))).split(",")

    # -- contexts

    def cuDevicePrimaryCtxRetain(self, handle: Any, ordinal: int) -> int:
        """Makes it, if it is not there."""
        if ordinal >= len(self._visible()):
            return _INVALID_DEVICE
        self._active.add(ordinal)
        handle._obj.value = _FIRST_PRIMARY + ordinal
        return _SUCCESS

    def cuDevicePrimaryCtxGetState(self, ordinal: int, flags: Any, active: Any) -> int:
        """Whether it is there."""
        active._obj.value = ordinal in self._active
        return _SUCCESS

    def cuCtxCreate_v2(self, handle: Any, flags: int, ordinal: int) -> int:
        """A private one, current from now on."""
        made = _FIRST_PRIVATE + len(self._private)
        self._private[made] = ordinal
        self._stack.append(made)
        handle._obj.value = made
        return _SUCCESS

    def cuCtxDestroy_v2(self, handle: Any) -> int:
        """It is current no longer."""
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
        """The top of this thread's stack."""
        handle._obj.value = self._stack[-1] if self._stack else None
        return _SUCCESS

    def cuCtxGetDevice(self, ordinal: Any) -> int:
        """The GPU of the current one."""
        if not self._stack or not self._stack[-1]:
            return _INVALID_CONTEXT
        ordinal._obj.value = self._ordinal(self._stack[-1])
        return _SUCCESS

    def _ordinal(self, handle: int) -> int:
        return self._private.get(handle, handle - _FIRST_PRIMARY)

    def cuCtxSetCurrent(self, handle: Any) -> int:
        """In the place of the top."""
        if self._stack:
            self._stack.pop()
        if handle.value:
            self._stack.append(handle.value)
        return _SUCCESS

    def cuCtxPushCurrent_v2(self, handle: Any) -> int:
        """On top."""
        self._stack.append(handle.value)
        return _SUCCESS

    def cuCtxPopCurrent_v2(self, handle: Any) -> int:
        """Off the top."""
        if not self._stack:
            return _INVALID_CONTEXT
        handle._obj.value = self._stack.pop()
        return _SUCCESS

    def cuCtxSynchronize(self) -> int:
        """All is done."""
        return _SUCCESS if self._stack else _INVALID_CONTEXT

    # -- memory

    def cuMemAlloc_v2(self, pointer: Any, size: Any) -> int:
        """Memory of the current context's GPU, which another process can open."""
        return self._allocate(pointer, size, _DEVICE, file=os.memfd_create("made-up device memory"))

    def cuMemAllocAsync(self, pointer: Any, size: Any, stream: Any) -> int:
        """From a pool."""
        return self._allocate(pointer, size, _DEVICE)

    def cuMemAllocManaged(self, pointer: Any, size: Any, flags: int) -> int:
        """Managed."""
        return self._allocate(pointer, size, _DEVICE, managed=True)

    def cuMemHostAlloc(self, pointer: Any, size: Any, flags: int) -> int:
        """Pinned."""
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
        """The addresses stay mapped: what a fault still does there kills nobody."""
        block = self._blocks.pop(pointer.value or 0, None)
        if block is None:
            return _INVALID_VALUE
        if block.file >= 0:
            os.close(block.file)
        self._gone.append(block)
        return _SUCCESS

    cuMemFreeHost = cuMemFree_v2

    def cuMemFreeAsync(self, pointer: Any, stream: Any) -> int:
        """At once."""
        return self.cuMemFree_v2(pointer)

    def cuMemGetInfo_v2(self, free: Any, total: Any) -> int:
        """What is not allocated is free."""
        free._obj.value = _TOTAL_BYTES - sum(block.nbytes for block in self._blocks.values())
        total._obj.value = _TOTAL_BYTES
        return _SUCCESS

    def cuMemGetAddressRange_v2(self, base: Any, size: Any, pointer: Any) -> int:
        """The allocation around an address."""
        block = self._around(pointer.value)
        if block is None:
            return _INVALID_VALUE
        base._obj.value, size._obj.value = block.address, block.nbytes
        return _SUCCESS

    def _around(self, address: int) -> _Allocation | None:
        blocks = self._blocks.values()
        return next((b for b in blocks if b.address <= (address or 0) < b.address + b.nbytes), None)

    def cuPointerGetAttribute(self, into: Any, attribute: int, pointer: Any) -> int:
        """Context, memory type, address, managed or not, GPU."""
        block = self._around(pointer.value)
        if block is None:
            return _INVALID_VALUE
        told = {
            1: _FIRST_PRIMARY + block.ordinal,
            2: block.memory_type,
            3: pointer.value,
            8: block.managed,
            9: block.ordinal,
        }
        into._obj.value = told[attribute]
        return _SUCCESS

    def cuMemcpyHtoD_v2(self, target: Any, data: Any, size: Any) -> int:
        """At once."""
        ctypes.memmove(target.value, data, size.value)
        return _SUCCESS

    def cuMemcpyDtoH_v2(self, data: Any, source: Any, size: Any) -> int:
        """At once."""
        ctypes.memmove(data, source.value, size.value)
        return _SUCCESS

    # -- streams for the instruments alone: all work is done at once

    def cuStreamCreate(self, handle: Any, flags: int) -> int:
        """One more."""
        self._streams += 1
        handle._obj.value = _FIRST_STREAM + self._streams
        return _SUCCESS

    def cuStreamSynchronize(self, stream: Any) -> int:
        """Nothing is pending."""
        return _SUCCESS

    def cuMemcpyHtoDAsync_v2(self, target: Any, data: Any, size: Any, stream: Any) -> int:
        """At once."""
        return self.cuMemcpyHtoD_v2(target, data, size)

    def cuMemcpyDtoHAsync_v2(self, data: Any, source: Any, size: Any, stream: Any) -> int:
        """At once."""
        return self.cuMemcpyDtoH_v2(data, source, size)

    # -- other processes

    def cuIpcGetMemHandle(self, handle: Any, pointer: Any) -> int:
        """Where the file is to be found; pools, managed and pinned memory have none."""
        block = self._around(pointer.value)
        if block is None or block.file < 0:
            return _INVALID_VALUE
        path = f"/proc/{os.getpid()}/fd/{block.file}".encode()
        ctypes.memmove(ctypes.addressof(handle._obj), path, len(path))
        return _SUCCESS

    def cuIpcOpenMemHandle_v2(self, base: Any, handle: Any, flags: int) -> int:
        """The same memory at an address of this process."""
        try:
            file = os.open(bytes(handle).rstrip(b"\0"), os.O_RDWR)
        except OSError:
            return _INVALID_VALUE
        return self._allocate(base, ctypes.c_size_t(os.fstat(file).st_size), _DEVICE, file=file)

    def cuIpcCloseMemHandle(self, base: Any) -> int:
        """As if it were freed here."""
        return self.cuMemFree_v2(base)


@contextmanager
def believed() -> Iterator[None]:
    """The suite's own instruments ask the made-up driver in this process, whether there is another or not."""
    made = MadeUpDriver()
    context.primary.cache_clear()
    with (
        mock.patch.object(real, "library", return_value=made),
        mock.patch.object(streams, "cuda", return_value=streams.simulated()),
    ):
        yield


_believed = believed()


def in_private_context() -> bool:
    """Whether another context than the primary one is current."""
    return context.current() not in (0, context.primary())


def believe() -> None:
    """As :func:`believed`, to the end of this process."""
    _believed.__enter__()
