"""JAX on host memory: DLPack. Its arrays are immutable and always packed."""

from __future__ import annotations

from typing import Any

from conformance.protocols.dtypes import DTYPES, DType
from conformance.protocols.strided import Step

from .base import Adapter, Device, Protocol, Trait, Unsupported, View
from .numpy import numpy_dtype


class JaxAdapter(Adapter):
    """``jax.dlpack.from_dlpack`` on the CPU backend."""

    name = "jax"
    distributions = ("jax", "jaxlib")
    preload = ()
    traits = frozenset({Trait.ARRAY_API, Trait.IMMUTABLE, Trait.COPY_KEYWORD})
    exports = {Device.HOST: (Protocol.DLPACK,)}
    imports = {Device.HOST: (Protocol.DLPACK,)}
    candidate_dtypes = tuple(name for name in DTYPES if name != "complex32")

    def load(self) -> None:
        """Import JAX for the CPU only and with 64-bit types, which it hides unless asked."""
        import os

        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        import jax

        jax.config.update("jax_enable_x64", True)
        self.jax = jax
        self.cpu = jax.devices("cpu")[0]

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        """Immutable arrays are made with their content."""
        raise Unsupported("JAX arrays cannot be filled after they are made")

    def array(self, dtype: DType, shape: tuple[int, ...], data: bytes, device: Device) -> Any:
        """``jax.device_put`` of a NumPy array with these bytes, copied so that nothing is shared with it."""
        import numpy

        host = numpy.frombuffer(data, numpy_dtype(dtype)).reshape(shape).copy()
        made = self.jax.device_put(host, self.cpu, may_alias=False)
        return made.block_until_ready()

    def view(self, array: Any, step: Step) -> Any:
        """None: indexing makes new arrays."""
        raise Unsupported("JAX has no views")

    def describe(self, array: Any) -> View:
        """By ``unsafe_buffer_pointer``, ``shape`` and ``dtype``; strides are those of a packed array."""
        from conformance.protocols.strided import c_strides

        return View(
            address=array.unsafe_buffer_pointer(),
            shape=tuple(array.shape),
            strides=tuple(s * array.dtype.itemsize for s in c_strides(tuple(array.shape))),
            dtype=array.dtype.name,
            device=(1, 0),
            readonly=True,
        )

    def read(self, array: Any) -> bytes:
        """Through ``numpy.asarray``."""
        import numpy

        return bytes(numpy.asarray(array).tobytes())

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        """``jax.dlpack.from_dlpack``."""
        taken = self.jax.dlpack.from_dlpack(offer, **keywords)
        return taken.block_until_ready()

    def module(self) -> Any:
        """``jax``."""
        return self.jax
