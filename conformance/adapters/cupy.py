"""Adapter of CuPy: DLPack and the CUDA Array Interface on CUDA memory."""

from __future__ import annotations

from contextlib import AbstractContextManager
from math import prod
from typing import Any

from conformance.cuda.memory import Kind
from conformance.cuda.streams import LEGACY
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import Broadcast

from .base import Adapter, Device, Protocol, Trait, View
from .calls import CAI, DLPACK, Gets, Style, UserCall
from .changes import DELETE, Change
from .making import array_makings
from .numpy import RECORD, dtype_name, numpy_dtype
from .special import Foreign

_BOTH = (Protocol.DLPACK, Protocol.CAI)


def _foreign(name: str, kind: Any) -> Foreign:
    return Foreign(name, lambda adapter: adapter.cupy.zeros(3, kind), (Device.CUDA,))


def _data(adapter: CupyAdapter, held: list[Any], device: Device) -> None:
    """Set ``data``, which no version so far allows."""
    held[0].data = adapter.cupy.zeros_like(held[0]).data


def _free_all_blocks(adapter: CupyAdapter, held: list[Any], device: Device) -> None:
    held.clear()
    adapter.cupy.get_default_memory_pool().free_all_blocks()


def _freed(adapter: CupyAdapter, held: list[Any], device: Device) -> None:
    held[0].data.mem.free()


class CupyAdapter(Adapter):
    """CuPy, by ``cupy.from_dlpack`` and ``cupy.asarray``."""

    name = "cupy"
    distributions = ("cupy-cuda13x", "cupy-cuda12x", "cupy")
    preload = ("cupy",)
    traits = frozenset(
        {
            Trait.ARRAY_API, Trait.WRITES, Trait.KERNEL, Trait.CAPSULES,
            Trait.STRIDES, Trait.BYTE_STRIDES, Trait.CONTIGUITY, Trait.EXTENT,
            Trait.PINNED, Trait.MANAGED, Trait.POOL, Trait.STREAMS, Trait.CURRENT_STREAM,
            Trait.PER_THREAD_STREAM, Trait.FOREIGN_STREAM, Trait.STREAM_PROTOCOL, Trait.GPUS, Trait.JOINS,
            Trait.ADDS, Trait.STACKS, Trait.COPIES, Trait.DEVICE_ATTRIBUTE,
            Trait.CHOOSES_STREAM, Trait.DEFAULT_TOKEN, Trait.CACHE,
        }
    )  # fmt: skip
    exports = {Device.CUDA: _BOTH}
    imports = {Device.CUDA: _BOTH}
    made = array_makings("cupy", '"float32"')
    candidate_dtypes = (
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        "float16", "float32", "float64", "complex64", "complex128", "bfloat16",
    )  # fmt: skip
    foreign = (_foreign("datetime64", "M8[s]"), _foreign("structured", RECORD))
    changes = (
        Change(
            "free-all-blocks", "`del a; get_default_memory_pool().free_all_blocks()`", _free_all_blocks, (Device.CUDA,)
        ),
        DELETE,
        Change("data", "`a.data = other.data`", _data, (Device.CUDA,)),
        Change("free", "`a.data.mem.free()`", _freed, (Device.CUDA,), waived=True),
    )

    calls = (
        UserCall(
            "cupy.asarray", lambda adapter, thing, device: adapter.cupy.asarray(thing), knows=(CAI,), may_copy=True
        ),
        UserCall("cupy.from_dlpack", lambda adapter, thing, device: adapter.cupy.from_dlpack(thing), reads=DLPACK),
    )
    styles = (
        Style("cupy.from_dlpack-capsule", Gets.CAPSULE, lambda adapter, capsule: adapter.cupy.from_dlpack(capsule)),
        Style("cupy.fromDlpack", Gets.CAPSULE, lambda adapter, capsule: adapter.cupy.fromDlpack(capsule)),
        Style("cupy.ndarray.toDlpack", Gets.OWN, lambda adapter, own: own.toDlpack()),
        Style("cupy.asarray-copy-false", Gets.ARRAY, lambda adapter, thing: adapter.cupy.asarray(thing, copy=False)),
        Style("cupy.array-copy-false", Gets.ARRAY, lambda adapter, thing: adapter.cupy.array(thing, copy=False)),
    )

    def load(self) -> None:
        import cupy

        self.cupy = cupy

    def usable(self, device: Device) -> str | None:
        """Return the reason why CuPy cannot allocate on a GPU. Versions differ in what they raise without one."""
        if device is not Device.CUDA:
            return "CuPy has no host arrays"
        try:
            self.cupy.cuda.runtime.getDeviceCount()
            self.cupy.empty(1)
        except Exception as error:  # noqa: BLE001 - any exception is the reason to report
            return f"{type(error).__name__}: {error}"
        return None

    def present_traits(self) -> frozenset[Trait]:
        """Return the traits. CuPy has accepted objects with ``__cuda_stream__`` since version 14."""
        has = hasattr(self.cupy.cuda.Stream, "from_external")
        return self.traits if has else self.traits - {Trait.STREAM_PROTOCOL}

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        return self.cupy.empty(shape, numpy_dtype(dtype))

    def empty_in(self, kind: Kind, dtype: DType, shape: tuple[int, ...]) -> Any:
        """Return pinned memory of ``cupyx.empty_pinned`` (a NumPy array), or managed or pool memory of CuPy's allocators."""
        element = numpy_dtype(dtype)
        if kind is Kind.PINNED:
            import cupyx

            return cupyx.empty_pinned(shape, element)
        allocate = self.cupy.cuda.malloc_managed if kind is Kind.MANAGED else self.cupy.cuda.malloc_async
        return self.cupy.ndarray(shape, element, memptr=allocate(prod(shape) * dtype.itemsize))

    def broadcast(self, array: Any, step: Broadcast) -> Any:
        return self.cupy.broadcast_to(array, step.shape)

    def restride(self, array: Any, strides: tuple[int, ...]) -> Any:
        return self.cupy.lib.stride_tricks.as_strided(array, shape=array.shape, strides=strides)

    def contiguous(self, array: Any) -> bool:
        return bool(array.flags.c_contiguous)

    def extent(self, array: Any) -> tuple[int, int]:
        start = int(array.data.mem.ptr)
        return start, start + int(array.data.mem.size)

    def describe(self, array: Any) -> View:
        return View(
            address=array.data.ptr,
            shape=tuple(array.shape),
            strides=tuple(array.strides),
            dtype=dtype_name(array.dtype),
            device=(2, array.device.id),
        )

    def read(self, array: Any) -> bytes:
        return bytes(self.cupy.asnumpy(array).tobytes())

    def write(self, array: Any, data: bytes) -> None:
        import numpy

        host = numpy.frombuffer(data, array.dtype).reshape(array.shape)
        array[...] = self.cupy.asarray(host)
        self.cupy.cuda.runtime.deviceSynchronize()

    def kernel_increment(self, array: Any) -> None:
        """Launch an elementwise kernel, which NVRTC compiles."""
        self.cupy.ElementwiseKernel("", "int32 x", "x += 1", "conformance_increment")(array)
        self.cupy.cuda.runtime.deviceSynchronize()

    def add(self, first: Any, second: Any) -> Any:
        return self._finished(first + second)

    def stack(self, arrays: list[Any]) -> Any:
        return self._finished(self.cupy.stack(arrays))

    def copied(self, array: Any) -> Any:
        """Return a copy in row-major order."""
        return self._finished(array.copy())

    def device_of(self, array: Any) -> Any:
        return array.device

    def _finished(self, array: Any) -> Any:
        self.cupy.cuda.runtime.deviceSynchronize()
        return array

    def stream(self, device: Device) -> Any:
        return self.cupy.cuda.Stream(non_blocking=True)

    def default_stream(self, device: Device) -> Any:
        """Return the legacy default stream."""
        return self.cupy.cuda.Stream.null

    def per_thread_stream(self, device: Device) -> Any:
        return self.cupy.cuda.Stream.ptds

    def foreign_stream(self, handle: int, device: Device) -> Any:
        """Return ``cupy.cuda.ExternalStream``. It is deprecated in CuPy 14, but is the only call for a bare handle."""
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.cupy.cuda.ExternalStream(handle)

    def import_stream(self, source: Any, device: Device) -> Any:
        return self.cupy.cuda.Stream.from_external(source)

    def current_stream(self, device: Device) -> int:
        return self.handle(self.cupy.cuda.get_current_stream())

    def handle(self, stream: Any) -> int:
        """Return ``ptr``, in which 0 is the legacy default stream."""
        return int(stream.ptr) or LEGACY

    def using(self, stream: Any) -> AbstractContextManager[Any]:
        entered: AbstractContextManager[Any] = stream
        return entered

    def choose(self, stream: Any) -> None:
        stream.use()

    def recorded(self, stream: Any, device: Device) -> int | None:
        """Record and synchronize an event, which does not report its GPU."""
        stream.record().synchronize()
        return None

    def fill(self, array: Any, value: int, stream: Any) -> None:
        with stream:
            array.fill(value)

    def copy(self, into: Any, array: Any, stream: Any) -> None:
        with stream:
            self.cupy.copyto(into, array)

    def on_gpu(self, ordinal: int, device: Device) -> AbstractContextManager[Any]:
        made: AbstractContextManager[Any] = self.cupy.cuda.Device(ordinal)
        return made

    def joined(self, parts: list[tuple[Any, int]], protocol: Protocol, device: Device) -> bytes:
        return self.read(self.cupy.stack([self.take_on(offer, protocol, device, gpu) for offer, gpu in parts]))

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        if protocol is Protocol.DLPACK:
            return self.cupy.from_dlpack(offer, **keywords)
        return self.cupy.asarray(offer)

    def take_capsule(self, capsule: Any) -> Any:
        """Import by ``cupy.fromDlpack``, which CuPy 14 deprecates but still has."""
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.cupy.fromDlpack(capsule)
