"""The buffer class around ``cudaMalloc`` that CV-CUDA's documentation tells users of CUDA Python to write (DOC-CU-1)."""

from __future__ import annotations

import ctypes
from math import prod
from typing import Any

from conformance.protocols import cai
from conformance.protocols.dtypes import DType

_TO_DEVICE, _TO_HOST = "cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"


class DeviceBuffer:
    """A packed array in device memory. Without an ``address`` it allocates memory; otherwise it borrows memory and never frees it.

    ``runtime`` is ``cuda.bindings.runtime``. The methods return its error codes (0 means success), so that a check can judge them.
    """

    def __init__(self, runtime: Any, dtype: DType, shape: tuple[int, ...], address: int | None = None) -> None:
        self.runtime = runtime
        self.dtype = dtype
        self.shape = shape
        self.nbytes = prod(shape) * dtype.itemsize
        self.owns = address is None
        self.address = self._allocate() if address is None else address

    def _allocate(self) -> int:
        code, address = self.runtime.cudaMalloc(self.nbytes)
        if int(code):
            raise MemoryError(f"cudaMalloc returned {int(code)}")
        return int(address)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return cai.build(self.shape, self.dtype.typestr or f"|V{self.dtype.itemsize}", self.address)

    def upload(self, data: bytes) -> int:
        """Copy these bytes to the start of the memory by ``cudaMemcpy``, and return the error code."""
        host = ctypes.create_string_buffer(data, len(data))
        return self._copy(self.address, ctypes.addressof(host), len(data), _TO_DEVICE)

    def download(self) -> tuple[int, bytes]:
        """Copy the whole memory to the host by ``cudaMemcpy``, and return the error code and the bytes."""
        host = ctypes.create_string_buffer(self.nbytes)
        code = self._copy(ctypes.addressof(host), self.address, self.nbytes, _TO_HOST)
        return code, host.raw

    def _copy(self, to: int, source: int, nbytes: int, kind: str) -> int:
        (code,) = self.runtime.cudaMemcpy(to, source, nbytes, getattr(self.runtime.cudaMemcpyKind, kind))
        return int(code)

    def free(self) -> int:
        """Free the memory by ``cudaFree`` if this object allocated it, at most once, and return the error code."""
        if not self.owns:
            return 0
        self.owns = False
        (code,) = self.runtime.cudaFree(self.address)
        return int(code)

    def __del__(self) -> None:
        if getattr(self, "address", None) is not None:
            self.free()
