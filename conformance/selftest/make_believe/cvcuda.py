"""Simulated CV-CUDA."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from conformance.adapters.numpy import numpy_dtype
from conformance.reference.importer import Importer
from conformance.reference.memory import simulated

from . import memory
from .array import Array, Elements


class CvcudaTensor(Elements):
    """A tensor, which offers no protocol itself: ``cuda()`` returns an object that does."""

    def __init__(self, host: Any, layout: str = "none", owner: Any = None) -> None:
        super().__init__(host, owner)
        self.layout = layout

    def cuda(self) -> Array:
        return Array(self.host, owner=self)


class Cvcuda:
    """The module ``cvcuda``. It packs rows, and accepts only packed arrays."""

    Type = SimpleNamespace(U8="uint8", F32="float32")
    Format = SimpleNamespace(RGB8="RGB8")

    def Tensor(self, shape: tuple[int, ...], kind: str, layout: str = "none", rowalign: int = 1) -> CvcudaTensor:
        return CvcudaTensor(memory.zeros(shape, kind), layout)

    def as_tensor(self, source: Any, layout: str = "none") -> CvcudaTensor:
        """Return a tensor on GPU memory. Raise ``RuntimeError`` or ``BufferError`` for other memory."""
        if hasattr(source, "__cuda_array_interface__"):
            host, owner = memory.told(source), source
        elif hasattr(source, "__dlpack__"):
            owner = Importer(simulated()).take_dlpack(source)
            host = memory.at(owner.address, owner.shape, numpy_dtype(owner.dtype).str, owner.strides)
        else:
            raise RuntimeError("Only CUDA-accessible memory buffers can be wrapped")
        if not host.flags.c_contiguous or not host.size:
            raise RuntimeError("NVCV_ERROR_INVALID_ARGUMENT: must be packed, and have elements")
        return CvcudaTensor(host, layout, owner)

    def as_image(self, source: Any, form: str) -> CvcudaTensor:
        return self.as_tensor(source, "HWC")

    def clear_cache(self) -> None:
        """Do nothing: there is no cache."""
