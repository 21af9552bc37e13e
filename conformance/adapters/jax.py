"""Adapter of JAX on host memory: DLPack. Its arrays are immutable and always compact, in any order of dimensions."""

from __future__ import annotations

import struct
from typing import Any

from conformance.protocols.dtypes import DTYPES, DLCode, DType
from conformance.protocols.strided import Step, c_strides

from .base import Adapter, Device, Protocol, Trait, Unsupported, View, by_keywords
from .calls import ARRAY, ARRAY_INTERFACE, BUFFER, DLPACK, Gets, Style, UserCall
from .changes import DELETE, Change
from .making import array_makings
from .numpy import narrow_integer, numpy_dtype
from .special import Foreign, State, Use

_NUMPY_NDIM = 32
"""The limit of NumPy 1. NumPy 2 allows 64."""
_FLOAT4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The non-negative values of float4_e2m1fn by their bits. The highest of the four bits is the sign."""


def _foreign(name: str, words: tuple[tuple[int, int], ...]) -> Foreign:
    return Foreign(name, lambda adapter: adapter.jax.numpy.zeros(3, getattr(adapter.jax.numpy, name)), words=words)


def _traced(transform: str) -> State:
    def build(adapter: JaxAdapter, device: Device, use: Use) -> None:
        def body(x: Any) -> Any:
            use(x, None)
            return x.sum()

        getattr(adapter.jax, transform)(body)(adapter.jax.numpy.ones((2, 3), "float32"))

    return State(f"traced-by-{transform}", build, (Device.HOST,), inexpressible=False, simple=False)


def _deleted(adapter: JaxAdapter, device: Device, use: Use) -> None:
    made = adapter.jax.numpy.ones(3, "float32")
    made.delete()
    use(made, None)


def _donated(adapter: JaxAdapter, device: Device, use: Use) -> None:
    made = adapter.jax.numpy.ones(3, "float32").block_until_ready()
    adapter.jax.jit(lambda x: x + 1, donate_argnums=0)(made).block_until_ready()
    use(made, None if made.is_deleted() else struct.pack("=3f", 1, 1, 1))


def _delete(adapter: JaxAdapter, held: list[Any], device: Device) -> None:
    held[0].delete()


def _donate(adapter: JaxAdapter, held: list[Any], device: Device) -> Any:
    return adapter.donating(held[0]).block_until_ready()


DONATE = Change("donate", "`jax.jit(f, donate_argnums=0)(x)`", _donate, (Device.HOST,))


class JaxAdapter(Adapter):
    """JAX, by ``jax.dlpack.from_dlpack`` on the CPU backend."""

    name = "jax"
    distributions = ("jax", "jaxlib")
    needs = ("jax",)
    preload = ()
    traits = frozenset(
        {
            Trait.ARRAY_API, Trait.IMMUTABLE, Trait.COPY_KEYWORD, Trait.THREADED, Trait.ADDS, Trait.STACKS, Trait.COPIES,
            Trait.DEVICE_ATTRIBUTE,
        }
    )  # fmt: skip
    exports = {Device.HOST: (Protocol.DLPACK,)}
    imports = {Device.HOST: (Protocol.DLPACK,)}
    made = array_makings("jax.numpy", '"float32"', immutable=True)
    candidate_dtypes = tuple(name for name in DTYPES if name != "complex32")
    narrow_dtypes = ("float4_e2m1fn",)
    foreign = (
        _foreign("int4", narrow_integer(DLCode.INT, 4)),
        _foreign("uint2", narrow_integer(DLCode.UINT, 2)),
    )
    states = (
        *map(_traced, ("jit", "vmap", "grad")),
        State("deleted", _deleted, (Device.HOST,), inexpressible=False),
        State("donated", _donated, (Device.HOST,), inexpressible=False, slow=True),
    )

    calls = (
        UserCall(
            "jax.numpy.asarray",
            lambda adapter, thing, device: adapter.jax.numpy.asarray(thing).block_until_ready(),
            knows=(ARRAY_INTERFACE, ARRAY, BUFFER),
            may_copy=True,
        ),
        UserCall(
            "jax.dlpack.from_dlpack",
            lambda adapter, thing, device: adapter.jax.dlpack.from_dlpack(thing).block_until_ready(),
            reads=DLPACK,
        ),
    )
    styles = (
        Style(
            "jax.dlpack.from_dlpack-capsule",
            Gets.CAPSULE,
            lambda adapter, capsule: adapter.jax.dlpack.from_dlpack(capsule),
        ),
        Style("jax.dlpack.to_dlpack", Gets.OWN, lambda adapter, own: adapter.jax.dlpack.to_dlpack(own)),
        Style(
            "jax.numpy.asarray-copy-false",
            Gets.ARRAY,
            lambda adapter, thing: adapter.jax.numpy.asarray(thing, copy=False),
        ),
        Style(
            "jax.numpy.array-copy-false", Gets.ARRAY, lambda adapter, thing: adapter.jax.numpy.array(thing, copy=False)
        ),
        Style(
            "jax.device_put-may-alias",
            Gets.ARRAY,
            lambda adapter, thing: adapter.jax.device_put(thing, adapter.cpu, may_alias=True),
        ),
    )
    changes = (
        Change("array-delete", "`x.delete()`", _delete, (Device.HOST,)),
        DONATE,
        DELETE,
    )
    donations = (DONATE,)

    def load(self) -> None:
        """Import JAX for the CPU only, and enable 64-bit types, which are off by default."""
        import os

        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        import jax

        jax.config.update("jax_enable_x64", True)
        self.jax = jax
        self.cpu = jax.devices("cpu")[0]
        self.donating = jax.jit(lambda x: x + 1, donate_argnums=0)
        """Made once, so that it is compiled once."""

    def present_traits(self) -> frozenset[Trait]:
        """Return the traits. Older versions have neither ``copy`` nor ``device`` in ``from_dlpack``."""
        return by_keywords(self.traits, self.jax.dlpack.from_dlpack)

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        """Raise ``Unsupported``: immutable arrays are made with their content."""
        raise Unsupported("JAX arrays cannot be filled after they are made")

    def array(self, dtype: DType, shape: tuple[int, ...], data: bytes, device: Device) -> Any:
        """Return a copy of these bytes in memory that JAX owns.

        ``device_put`` shares the memory of an aligned NumPy array even with ``may_alias=False``, so its argument is never aligned here.
        ``jax.numpy.array`` always copies, but compiles a program for each shape.
        """
        kind = numpy_dtype(dtype)
        host = _misaligned(data, kind).reshape(shape)
        made = self.jax.device_put(host, self.cpu).block_until_ready()
        start = host.ctypes.data
        if start <= made.unsafe_buffer_pointer() < start + max(len(data), 1):
            made = self.jax.numpy.array(host, copy=True, device=self.cpu).block_until_ready()
        return made

    def narrow(self, dtype: DType, data: bytes, device: Device) -> Any:
        """Return the numbers that the bits of float4_e2m1fn stand for."""
        codes = [part for byte in data for part in (byte & 15, byte >> 4)]
        numbers = [-_FLOAT4[code & 7] if code & 8 else _FLOAT4[code] for code in codes]
        return self.jax.numpy.array(numbers, dtype=self.jax.numpy.float4_e2m1fn)

    def view(self, array: Any, step: Step) -> Any:
        """Raise ``Unsupported``: indexing creates new arrays."""
        raise Unsupported("JAX has no views")

    def describe(self, array: Any) -> View:
        return View(
            address=array.unsafe_buffer_pointer(),
            shape=tuple(array.shape),
            strides=tuple(s * array.dtype.itemsize for s in _strides(array)),
            dtype=array.dtype.name,
            device=(1, 0),
            readonly=True,
        )

    def read(self, array: Any) -> bytes:
        """Return the elements through ``numpy.asarray``. Arrays with more dimensions than some NumPy supports are flattened first."""
        import numpy

        flat = array if array.ndim <= _NUMPY_NDIM else array.ravel()
        return bytes(numpy.asarray(flat).tobytes())

    def add(self, first: Any, second: Any) -> Any:
        return (first + second).block_until_ready()

    def stack(self, arrays: list[Any]) -> Any:
        return self.jax.numpy.stack(arrays).block_until_ready()

    def copied(self, array: Any) -> Any:
        return self.jax.numpy.array(array, copy=True).block_until_ready()

    def device_of(self, array: Any) -> Any:
        """Return ``device``, which is a method in older versions."""
        return array.device() if callable(array.device) else array.device

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        taken = self.jax.dlpack.from_dlpack(offer, **keywords)
        return taken.block_until_ready()

    def last(self, array: Any) -> bytes:
        """Index, which creates a new array of one element."""
        return self.read(array[(slice(-1, None),) * array.ndim])

    def module(self) -> Any:
        return self.jax


_ALIGNMENT = 64
"""The alignment in bytes below which XLA does not share memory."""


def _misaligned(data: bytes, kind: Any) -> Any:
    """Return a packed NumPy array of these bytes that starts one element, or at most 16 bytes, past an aligned address."""
    import numpy

    raw: Any = numpy.empty(len(data) + 2 * _ALIGNMENT, numpy.uint8)
    start = -raw.ctypes.data % _ALIGNMENT + min(kind.itemsize, 16)
    found = raw[start : start + len(data)]
    found[...] = numpy.frombuffer(data, numpy.uint8)
    return found.view(kind)


def _strides(array: Any) -> tuple[int, ...]:
    """Return strides in elements: compact, with the dimensions in the order of the array's layout."""
    shape = tuple(array.shape)
    order = _major_to_minor(array) or tuple(range(len(shape)))
    compact = c_strides(tuple(shape[axis] for axis in order))
    return tuple(compact[order.index(axis)] for axis in range(len(shape)))


def _major_to_minor(array: Any) -> tuple[int, ...] | None:
    """Return the order of dimensions from ``array.format.layout``, which older versions call ``array.layout.device_local_layout``."""
    described = getattr(array, "format", None) or getattr(array, "layout", None)
    for name in ("layout", "device_local_layout"):
        inner = getattr(described, name, None)
        if inner is not None:
            return tuple(inner.major_to_minor)
    return None
