"""Simulated CUDA Python."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

_SUCCESS, _INVALID_VALUE = 0, 1


class Runtime:
    """``cuda.bindings.runtime``, which refuses memory that it has freed.

    No memory is really freed, so the address of a freed block is never reused.
    """

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self) -> None:
        self._blocks: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self._freed: set[int] = set()

    def cudaMalloc(self, nbytes: int) -> tuple[int, int]:
        block = ctypes.create_string_buffer(nbytes)
        address = ctypes.addressof(block)
        self._blocks[address] = block
        return _SUCCESS, address

    def cudaMemcpy(self, to: int, source: int, nbytes: int, kind: int) -> tuple[int]:
        """Copy, unless one side is the start of a freed block."""
        if {to, source} & self._freed:
            return (_INVALID_VALUE,)
        ctypes.memmove(to, source, nbytes)
        return (_SUCCESS,)

    def cudaFree(self, address: int) -> tuple[int]:
        if address not in self._blocks or address in self._freed:
            return (_INVALID_VALUE,)
        self._freed.add(address)
        return (_SUCCESS,)
