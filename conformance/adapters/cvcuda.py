"""Adapter of CV-CUDA: tensors exported through ``.cuda()`` and imported with ``cvcuda.as_tensor``."""

from __future__ import annotations

from contextlib import AbstractContextManager
from math import prod
from typing import Any

from conformance.cuda import context
from conformance.cuda.streams import LEGACY
from conformance.protocols.dtypes import DTYPES, DType, from_typestr
from conformance.protocols.strided import Step, Strided, c_strides, same_strides
from conformance.reference.memory import CudaMemory, gather_by_bytes

from .base import Adapter, Device, Protocol, Trait, Unsupported, View, last_address, peek, poke
from .calls import CAI, DLPACK, Gets, Style, UserCall
from .changes import DELETE, Change
from .making import NO_KEYS, NONE_INSIDE, Making

_BOTH = (Protocol.DLPACK, Protocol.CAI)
_TYPES = {
    "int8": "S8", "int16": "S16", "int32": "S32", "int64": "S64",
    "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64",
    "float16": "F16", "float32": "F32", "float64": "F64", "complex64": "C64", "complex128": "C128",
}  # fmt: skip
_REFORMATTED = frozenset({"int8", "uint8", "int16", "uint16", "int32", "float32", "float64"})
"""Element types that the documentation of the operator Reformat lists."""


def _cleared(adapter: CvcudaAdapter, held: list[Any], device: Device) -> None:
    held.clear()
    adapter.cvcuda.clear_cache()


def _reshaped(adapter: CvcudaAdapter, held: list[Any], device: Device) -> None:
    """Drop a tensor of another shape on the same memory. CV-CUDA keeps the memory of both until its cache is cleared."""
    tensor = held.pop()
    tensor.reshape((1, prod(tensor.shape), 1), "HWC")
    del tensor
    adapter.cvcuda.clear_cache()


class CvcudaAdapter(Adapter):
    """CV-CUDA. A tensor has no layout unless one is given, and packed rows unless padding is requested."""

    name = "cvcuda"
    distributions = ("cvcuda-cu13", "cvcuda-cu12")
    traits = frozenset(
        {
            Trait.PITCHED, Trait.KERNEL, Trait.WRITES, Trait.STREAMS, Trait.CURRENT_STREAM, Trait.FOREIGN_STREAM,
            Trait.GPUS, Trait.JOINS, Trait.STACKS,
        }
    )  # fmt: skip
    opt_out = -1
    exports = {Device.CUDA: _BOTH}
    imports = {Device.CUDA: _BOTH}
    made = (
        Making("none-inside", f"cvcuda.Tensor({NONE_INSIDE}, cvcuda.Type.F32)", NONE_INSIDE),
        Making("no-keys", f"cvcuda.Tensor({NO_KEYS}, cvcuda.Type.F32)", NO_KEYS),
    )
    candidate_dtypes = tuple(_TYPES)
    calls = (
        UserCall(
            "cvcuda.as_tensor", lambda adapter, thing, device: adapter.cvcuda.as_tensor(thing), knows=(CAI, DLPACK)
        ),
    )
    styles = (
        Style("cvcuda.as_tensor-capsule", Gets.CAPSULE, lambda adapter, capsule: adapter.cvcuda.as_tensor(capsule)),
    )
    changes = (
        Change("clear-cache", "`del t; cvcuda.clear_cache()`", _cleared, (Device.CUDA,)),
        DELETE,
        Change("reshape", "`t.reshape(…); del t; cvcuda.clear_cache()`", _reshaped, (Device.CUDA,)),
    )

    def load(self) -> None:
        """Import CV-CUDA, which already needs a driver for that."""
        import cvcuda

        self.cvcuda = cvcuda

    def present_traits(self) -> frozenset[Trait]:
        """Return the traits. Not every version has the operator ``stack``."""
        return self.traits if hasattr(self.cvcuda, "stack") else self.traits - {Trait.STACKS}

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        """Return a ``cvcuda.Tensor`` with packed rows: ``rowalign=1`` disables its padding.

        A tensor without elements gets any free buffer from the cache, or none. One is freed first, so that the result does not depend on earlier
        cases.
        """
        if 0 in shape:
            self.cvcuda.Tensor((1,) * len(shape), self._type(dtype), rowalign=1)
        made = self.cvcuda.Tensor(shape, self._type(dtype), rowalign=1)
        if not same_strides(shape, self.describe(made).strides, tuple(s * dtype.itemsize for s in c_strides(shape))):
            raise Unsupported(f"CV-CUDA pads a packed tensor of shape {shape}")
        return made

    def pitched(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        return self.cvcuda.Tensor(shape, self._type(dtype), "HWC")

    def view(self, array: Any, step: Step) -> Any:
        """Raise ``Unsupported``: a tensor has no slices."""
        raise Unsupported("CV-CUDA has no views of parts of a tensor")

    def describe(self, array: Any) -> View:
        """Return the data that ``.cuda()`` publishes: a tensor has no other public address."""
        buffer = array.cuda()
        described = buffer.__cuda_array_interface__
        itemsize = int(described["typestr"][2:])
        shape = tuple(described["shape"])
        dtype = from_typestr(described["typestr"])
        strides = described.get("strides")
        return View(
            address=described["data"][0],
            shape=shape,
            strides=tuple(strides) if strides is not None else tuple(s * itemsize for s in c_strides(shape)),
            dtype=dtype.name if dtype else described["typestr"],
            device=tuple(int(part) for part in buffer.__dlpack_device__()),  # type: ignore[arg-type]
        )

    def read(self, array: Any) -> bytes:
        """Return the elements, read without the library: CV-CUDA has no copy to the host."""
        view = self.describe(array)
        itemsize = int(array.cuda().__cuda_array_interface__["typestr"][2:])
        return gather_by_bytes(CudaMemory(), view.address, Strided(view.shape, view.strides), itemsize)

    def last(self, array: Any) -> bytes:
        """Return the bytes at the address of the last element: a tensor cannot be indexed."""
        view = self.describe(array)
        itemsize = int(array.cuda().__cuda_array_interface__["typestr"][2:])
        return peek(last_address(view), itemsize, Device.CUDA)

    def write(self, array: Any, data: bytes) -> None:
        """Copy element by element with the operator ``reformat_into`` from a planar image of one row and one channel."""
        size, name = prod(array.shape), self.describe(array).dtype
        if name not in _REFORMATTED:
            raise Unsupported(f"CV-CUDA's operator Reformat does not support {name}")
        planar = self.cvcuda.Tensor((1, 1, size), self._type(DTYPES[name]), "CHW", rowalign=1)
        poke(self.describe(planar).address, data, Device.CUDA)
        try:
            self.cvcuda.reformat_into(array.reshape((1, size, 1), "HWC"), planar)
        except (RuntimeError, ValueError) as error:
            raise Unsupported(f"CV-CUDA's operator failed: {error}") from error
        self.cvcuda.Stream.current.sync()

    def kernel_increment(self, array: Any) -> None:
        """Apply the operator ``convertto_into`` from the tensor to itself, which is exact for numbers below 2**24."""
        flat = array.reshape((1, prod(array.shape), 1), "HWC")
        try:
            self.cvcuda.convertto_into(flat, flat, 1.0, 1.0)
        except Exception as error:
            raise Unsupported(f"CV-CUDA's operator failed: {error}") from error
        self.cvcuda.Stream.current.sync()

    def stack(self, arrays: list[Any]) -> Any:
        """Apply the operator ``stack`` to images of one row and one channel."""
        images = [array.reshape((1, prod(array.shape), 1), "HWC") for array in arrays]
        made = self.cvcuda.stack(images)
        self.cvcuda.Stream.current.sync()
        return made

    def stream(self, device: Device) -> Any:
        return self.cvcuda.Stream()

    def default_stream(self, device: Device) -> Any:
        """Return the legacy default stream."""
        return self.cvcuda.Stream.default

    def foreign_stream(self, handle: int, device: Device) -> Any:
        return self.cvcuda.as_stream(handle)

    def current_stream(self, device: Device) -> int:
        return self.handle(self.cvcuda.Stream.current)

    def handle(self, stream: Any) -> int:
        """Return ``handle``, in which 0 is the legacy default stream."""
        return int(stream.handle) or LEGACY

    def using(self, stream: Any) -> AbstractContextManager[Any]:
        entered: AbstractContextManager[Any] = stream
        return entered

    def wait_stream(self, waiter: Any, other: Any) -> None:
        """Call ``wait_stream``, which CV-CUDA has had since version 0.17."""
        waiter.wait_stream(other)

    def operand(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        """Return a packed tensor with the layout that operators require."""
        return self.cvcuda.Tensor(shape, self._type(dtype), "HWC", rowalign=1)

    def take_operand(self, offer: Any, protocol: Protocol, device: Device) -> Any:
        """Import with the layout that operators require."""
        return self.cvcuda.as_tensor(offer, "HWC")

    def fill(self, array: Any, value: int, stream: Any) -> None:
        """Apply the operator ``convertto_into`` from the tensor to itself with factor 0."""
        self.cvcuda.convertto_into(array, array, 0.0, float(value), stream=stream)

    def copy(self, into: Any, array: Any, stream: Any) -> None:
        self.cvcuda.convertto_into(into, array, 1.0, 0.0, stream=stream)

    def exporter(self, array: Any, protocol: Protocol) -> Any:
        return array.cuda()

    def native(self, array: Any, protocol: Protocol) -> Any:
        """Return ``tensor.cuda()``: the tensor itself offers no protocol."""
        return array.cuda()

    def operable(self, taken: Any) -> Any:
        """Return the tensor with the layout that operators require."""
        return taken.reshape(tuple(taken.shape), "HWC")

    def on_gpu(self, ordinal: int, device: Device) -> AbstractContextManager[Any]:
        """Make the primary context of the GPU current. CV-CUDA has no call for that and works on the current GPU."""
        return context.using(context.primary(ordinal))

    def joined(self, parts: list[tuple[Any, int]], protocol: Protocol, device: Device) -> bytes:
        return b"".join(self.read(tensor) for tensor in self.cvcuda.as_tensors([offer for offer, _ in parts]))

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        """Import with ``cvcuda.as_tensor``, which prefers the array interface to DLPack."""
        return self.cvcuda.as_tensor(offer)

    def let_go(self) -> str:
        self.cvcuda.clear_cache()
        return "cvcuda.clear_cache()"

    def kept_for_later(self) -> int | None:
        """Return ``cvcuda.cache_size()`` if this version has it."""
        size = getattr(self.cvcuda, "cache_size", None)
        return None if size is None else int(size())

    def _type(self, dtype: DType) -> Any:
        name = _TYPES.get(dtype.name)
        if name is None:
            raise Unsupported(f"CV-CUDA has no {dtype.name}")
        return getattr(self.cvcuda.Type, name)
