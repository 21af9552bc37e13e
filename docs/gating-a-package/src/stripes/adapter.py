"""By this the conformance suite knows the package; it is imported by nobody else."""

from __future__ import annotations

from typing import Any

from conformance.adapters.base import Adapter, Device, Protocol, Unsupported, View
from conformance.adapters.numpy import numpy_dtype
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import Index, Step


class StripesAdapter(Adapter):
    """``Stripes.__dlpack__``; the package imports nothing."""

    name = "stripes"
    distributions = ("stripes",)
    preload = ("stripes",)
    exports = {Device.HOST: (Protocol.DLPACK,)}
    imports = {}
    candidate_dtypes = ("uint8", "int32", "int64", "float32", "float64", "complex64")

    def load(self) -> None:
        """Import the package."""
        import stripes

        self.stripes = stripes

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        """``Stripes.empty``."""
        return self.stripes.Stripes.empty(shape, numpy_dtype(dtype))

    def view(self, array: Any, step: Step) -> Any:
        """There are rows, forwards, and permuted dimensions, and no other views."""
        if not isinstance(step, Index):
            return super().view(array, step)
        which, *others = step.keys
        if others or not isinstance(which, slice) or (which.step or 1) < 1:
            raise Unsupported("stripes has no such view")
        return array.rows(which)

    def describe(self, array: Any) -> View:
        """By the attributes of ``Stripes``, not by what it exports."""
        size = array.block.itemsize
        return View(
            address=array.block.ctypes.data + array.offset * size,
            shape=array.shape,
            strides=tuple(stride * size for stride in array.strides),
            dtype=array.block.dtype.name,
            device=(1, 0),
            readonly=False,
        )

    def read(self, array: Any) -> bytes:
        """By way of ``Stripes.numpy``."""
        return bytes(array.numpy().tobytes())

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        """Nothing is imported."""
        raise Unsupported("stripes imports nothing")
