"""cuda-python: memory of ``cuda.core`` and ``cuda.bindings``, seen through ``StridedMemoryView``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from math import prod
from typing import Any

from conformance.cuda import context
from conformance.cuda.memory import Kind
from conformance.cuda.streams import LEGACY
from conformance.protocols import cai
from conformance.protocols.dtypes import DLCode, DType, from_typestr, is_raw
from conformance.protocols.strided import Step, Strided, apply, gather_by_bytes, offsets, packed, span

from .base import Adapter, Device, Protocol, Trait, Unsupported, View, last_address, peek
from .calls import ARRAY_INTERFACE, CAI, DLPACK, Gets, Style, UserCall
from .changes import DELETE, Change
from .numpy import AN_ARRAY_OF_FOREIGN_ORDER, FOREIGN_ORDER, RECORD, NumpyAdapter, dtype_name, numpy_dtype
from .special import Foreign

_AT_ONCE = 1 << 28
"""Bytes from the first to the last element, above which each is read by itself: only few lie so far apart."""

_BOTH = (Protocol.DLPACK, Protocol.CAI)
_RESOURCES = {
    Kind.PINNED: "LegacyPinnedMemoryResource",
    Kind.MANAGED: "ManagedMemoryResource",
    Kind.POOL: "DeviceMemoryResource",
}


_STREAMLESS = "from_array_interface"
_NO_DRIVER = "DynamicLibNotFoundError"
"""What ``cuda.bindings`` raises at the first call of the driver where there is none."""


def _call(name: str, reads: str = "", devices: tuple[Device, ...] = (Device.HOST, Device.CUDA)) -> UserCall:
    """A class method of ``StridedMemoryView``."""
    return UserCall(
        f"cuda.core.{name}",
        lambda adapter, thing, device: adapter.viewed(name, thing, adapter._told(device)),
        reads,
        devices,
        on_stream=None
        if name == _STREAMLESS
        else lambda adapter, thing, device, stream: adapter.viewed(name, thing, stream),
    )


def _foreign(name: str, kind: Any, **facts: Any) -> Foreign:
    """A ``StridedMemoryView`` of a NumPy array."""

    def build(adapter: CudaPythonAdapter) -> Any:
        import numpy

        return adapter.view_class.from_array_interface(numpy.zeros(3, kind))

    return Foreign(name, build, **facts)


def _closed(adapter: CudaPythonAdapter, held: list[Any], device: Device) -> None:
    held[0].owner.close()
    adapter.core.Device(0).sync()


class CudaPythonArray:
    """The small class that CUDA Python's users write around an allocation (DOC-CU-1)."""

    def __init__(self, owner: Any, address: int, dtype: DType, view: Strided, gpu: int = 0) -> None:
        self.owner = owner
        self.address = address
        self.dtype = dtype
        self.view = view
        self.gpu = gpu
        """The GPU that it was allocated on; of no meaning on the host."""
        self.readonly = False
        self.stream: int | None = None
        """Handle of the stream that still writes it, ``None`` if none can."""
        self.writer: Any = None
        """The object of that stream, which has to live as long as the array (CAI-28)."""

    def seen(self, view: Strided) -> CudaPythonArray:
        """A view of the same allocation: read-only, and still being written, as this one is."""
        made = CudaPythonArray(self.owner, self.address, self.dtype, view, self.gpu)
        made.readonly, made.stream, made.writer = self.readonly, self.stream, self.writer
        return made

    @property
    def element0(self) -> int:
        """Address of the first element."""
        return self.address + self.view.offset * self.dtype.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides in bytes."""
        return tuple(s * self.dtype.itemsize for s in self.view.strides)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return cai.build(
            self.view.shape,
            self.dtype.typestr or f"|V{self.dtype.itemsize}",
            self.element0 if self.view.size else 0,
            strides=None if self.view.contiguous else self.strides,
            readonly=self.readonly,
            stream=self.stream,
        )


class CudaPythonAdapter(Adapter):
    """Exports DLPack as ``StridedMemoryView.from_buffer``; imports by ``StridedMemoryView``'s class methods."""

    name = "cuda_python"
    distributions = ("cuda-bindings", "cuda-core", "cuda-python")
    needs = ("cuda-bindings", "cuda-core")  # PyTorch wheels install cuda-bindings alone
    preload = ("cuda.core",)
    traits = frozenset(
        {
            Trait.READONLY, Trait.STRIDES, Trait.PINNED, Trait.MANAGED, Trait.POOL, Trait.STREAMS, Trait.VIEW_ONLY,
            Trait.PER_THREAD_STREAM, Trait.FOREIGN_STREAM, Trait.STREAM_PROTOCOL, Trait.GPUS,
            Trait.DEFAULT_TOKEN,
        }
    )  # fmt: skip
    own_exporter = "the class around an allocation that CUDA Python's users write (here the suite's own)"
    exports = {Device.HOST: (Protocol.DLPACK,), Device.CUDA: _BOTH}
    imports = {Device.HOST: (Protocol.DLPACK,), Device.CUDA: _BOTH}
    candidate_dtypes = (
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        "float16", "float32", "float64", "complex64", "complex128", "bfloat16",
    )  # fmt: skip
    foreign = (
        _foreign("datetime64", "M8[s]"),
        _foreign("unicode", "U2"),
        _foreign("structured", RECORD),
        _foreign("longdouble", "g"),
        _foreign("foreign-order-f4", f"{FOREIGN_ORDER}f4", clause="DLP-12", given=AN_ARRAY_OF_FOREIGN_ORDER),
    )

    calls = (
        _call("from_dlpack", DLPACK),
        _call("from_cuda_array_interface", CAI),
        _call("from_array_interface", ARRAY_INTERFACE, (Device.HOST,)),
        _call("from_any_interface"),
    )
    styles = (
        Style(
            "cuda.core.from_dlpack-capsule",
            Gets.CAPSULE,
            lambda adapter, capsule: adapter.viewed("from_dlpack", capsule, -1),
        ),
    )
    changes = (DELETE, Change("close", "`buffer.close()`", _closed, (Device.CUDA,), waived=True))

    def __init__(self) -> None:
        self._using: Any = None
        self._ordinal = 0
        self._has_driver = True

    def load(self) -> None:
        """Import ``cuda.bindings`` and ``cuda.core``, under the names that this version has.

        Where there is a driver, a ``StridedMemoryView`` asks it even about host memory, so it has to be initialised.
        """
        import cuda.bindings.driver

        self.driver = cuda.bindings.driver
        self.core, self.view_class = _core()
        self._has_driver = False
        with contextlib.suppress(Exception):  # however it fails, there is no driver
            self.driver.cuInit(0)
            self._has_driver = True

    def usable(self, device: Device) -> str | None:
        """CUDA needs a device that ``cuda.core`` can make current."""
        if device is Device.HOST:
            return None
        try:
            self.core.Device(0).set_current()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason to report
            return f"{type(error).__name__}: {error}"
        return None

    def present_traits(self) -> frozenset[Trait]:
        """The per-thread default stream has an object since cuda.core 0.6."""
        has = hasattr(self.core, "PER_THREAD_DEFAULT_STREAM")
        return self.traits if has else self.traits - {Trait.PER_THREAD_STREAM}

    def present_calls(self) -> tuple[UserCall, ...]:
        """``from_array_interface`` asks the driver for the current GPU."""
        return tuple(call for call in self.calls if self._has_driver or call.reads != ARRAY_INTERFACE)

    def protocols(self, device: Device) -> tuple[tuple[Protocol, ...], tuple[Protocol, ...]]:
        """A ``StridedMemoryView`` exports DLPack since cuda.core 1.0, and needs a driver for it even on the host."""
        exports, imports = super().protocols(device)
        try:
            self.view_class.from_array_interface(_numpy().zeros(2)).__dlpack__()
        except Exception:  # noqa: BLE001 - however it fails, it does not export
            exports = tuple(p for p in exports if p is not Protocol.DLPACK)
        return exports, imports

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        """A view on a new NumPy array, or on a device allocation of ``cuda.core``."""
        view = packed(shape)
        if device is Device.HOST:
            host = NumpyAdapter()
            host.load()
            array = host.empty(dtype, shape, device)
            return CudaPythonArray(array, array.ctypes.data, dtype, view)
        gpu = self.core.Device(self._ordinal)
        gpu.set_current()
        buffer = _allocate(gpu, max(view.size * dtype.itemsize, 1))
        return CudaPythonArray(buffer, int(buffer.handle), dtype, view, self._ordinal)

    def empty_in(self, kind: Kind, dtype: DType, shape: tuple[int, ...]) -> CudaPythonArray:
        """From the memory resource of this kind; not every version and not every driver has each."""
        view = packed(shape)
        gpu = self.core.Device(0)
        gpu.set_current()
        try:
            resource = getattr(self.core, _RESOURCES[kind])(*([0] if kind is Kind.POOL else []))
            buffer = resource.allocate(max(view.size * dtype.itemsize, 1), stream=gpu.default_stream)
        except Exception as error:
            raise Unsupported(f"cuda.core gives no {kind.value} memory here: {error}") from error
        gpu.default_stream.sync()
        return CudaPythonArray(buffer, int(buffer.handle), dtype, view)

    @property
    def runtime(self) -> Any:
        """``cuda.bindings.runtime``."""
        import cuda.bindings.runtime

        return cuda.bindings.runtime

    def view(self, array: CudaPythonArray, step: Step) -> CudaPythonArray:
        """Arithmetic of the wrapper: an allocation has no views of its own."""
        return array.seen(apply(array.view, step))

    def restride(self, array: CudaPythonArray, strides: tuple[int, ...]) -> CudaPythonArray:
        """Arithmetic of the wrapper."""
        elements = tuple(s // array.dtype.itemsize for s in strides)
        return array.seen(Strided(array.view.shape, elements, array.view.offset))

    def freeze(self, array: CudaPythonArray) -> None:
        """The wrapper publishes itself as read-only, and every ``StridedMemoryView`` of it is."""
        array.readonly = True

    def exporter(self, array: Any, protocol: Protocol) -> Any:
        """The wrapper itself for the array interface, a ``StridedMemoryView`` for DLPack; an import likewise."""
        if not isinstance(array, CudaPythonArray):
            return array if protocol is Protocol.DLPACK else self._wrapped(array)
        if protocol is Protocol.CAI:
            return array
        if not hasattr(self.view_class, "__dlpack__"):
            raise Unsupported("this StridedMemoryView does not export DLPack")
        return self._strided(array)

    def _wrapped(self, array: Any) -> CudaPythonArray:
        """An imported view has no array interface of its own. Elements without a letter stay bytes without a meaning."""
        dtype = from_typestr(array.dtype.str)
        if dtype is None and is_raw(array.dtype.str):
            dtype = DType(dtype_name(array.dtype), DLCode.OPAQUE, 8 * array.dtype.itemsize, None)
        if dtype is None:
            raise Unsupported(f"the array interface has no letter for {array.dtype}")
        strides = array.strides if array.strides is not None else packed(tuple(array.shape)).strides
        wrapped = CudaPythonArray(array, array.ptr, dtype, Strided(tuple(array.shape), tuple(strides)))
        wrapped.readonly = array.readonly
        return wrapped

    def _strided(self, array: CudaPythonArray) -> Any:
        """Of the buffer wherever that can be said: an array interface without elements has no address, and so no device."""
        kind = numpy_dtype(array.dtype)
        is_whole = array.view.contiguous and (array.view.offset == 0 or not array.view.size)
        if is_whole and not isinstance(array.owner, _ndarray()):
            locked = {"is_readonly": True} if array.readonly else {}
            return self.view_class.from_buffer(array.owner, array.view.shape, dtype=kind, **locked)
        source = _Interface(array, kind)
        if isinstance(array.owner, _ndarray()):
            return self.view_class.from_array_interface(source)
        return self.view_class.from_cuda_array_interface(array, stream_ptr=-1)

    def describe(self, array: Any) -> View:
        """Of the wrapper what it is; of a ``StridedMemoryView`` its attributes (strides are elements there)."""
        if isinstance(array, CudaPythonArray):
            on_host = isinstance(array.owner, _ndarray())
            return View(
                array.element0, array.view.shape, array.strides, array.dtype.name, (1, 0) if on_host else (2, array.gpu)
            )
        itemsize = array.dtype.itemsize
        strides = array.strides if array.strides is not None else packed(tuple(array.shape)).strides
        return View(
            address=array.ptr,
            shape=tuple(array.shape),
            strides=tuple(s * itemsize for s in strides),
            dtype=dtype_name(array.dtype),
            device=(2, array.device_id) if array.device_id >= 0 and array.is_device_accessible else (1, 0),
            readonly=array.readonly,
        )

    def read(self, array: Any) -> bytes:
        """A view has no copy that keeps every stride: read what it describes, with our own instruments."""
        view = self.describe(array)
        if 0 in view.shape:
            return b""
        itemsize = array.dtype.itemsize
        device = Device.HOST if view.device and view.device[0] == 1 else Device.CUDA
        bytewise = Strided(view.shape, view.strides)
        low, high = span(bytewise)
        if high - low > _AT_ONCE:
            return b"".join(peek(view.address + offset, itemsize, device) for offset in offsets(bytewise))
        block = peek(view.address + low, high - 1 - low + itemsize, device)
        return gather_by_bytes(block, Strided(view.shape, view.strides, -low), itemsize)

    def last(self, array: Any) -> bytes:
        """A view cannot be indexed: read where it says that its last element is."""
        view = self.describe(array)
        device = Device.HOST if view.device and view.device[0] == 1 else Device.CUDA
        return peek(last_address(view), array.dtype.itemsize, device)

    def stream(self, device: Device) -> Any:
        """``Device.create_stream``, non-blocking unless asked otherwise."""
        gpu = self.core.Device(self._ordinal)
        gpu.set_current()
        return gpu.create_stream()

    def default_stream(self, device: Device) -> Any:
        """``Device.default_stream``."""
        return self.core.Device(0).default_stream

    def foreign_stream(self, handle: int, device: Device) -> Any:
        """``Stream.from_handle``."""
        return self.core.Stream.from_handle(handle)

    def per_thread_stream(self, device: Device) -> Any:
        """``PER_THREAD_DEFAULT_STREAM``."""
        return self.core.PER_THREAD_DEFAULT_STREAM

    def import_stream(self, source: Any, device: Device) -> Any:
        """``Device.create_stream``."""
        self.core.Device(0).set_current()
        return self.core.Device(0).create_stream(source)

    def handle(self, stream: Any) -> int:
        """``handle``, where 0 is the legacy default stream."""
        return int(stream.handle) or LEGACY

    @contextlib.contextmanager
    def using(self, stream: Any) -> Iterator[None]:
        """There is no current stream: imports are told, and this is what they are told."""
        before, self._using = self._using, stream
        try:
            yield
        finally:
            self._using = before

    @contextlib.contextmanager
    def on_gpu(self, ordinal: int, device: Device) -> Iterator[None]:
        """``Device.set_current``."""
        before, current = self._ordinal, context.current()
        self._ordinal = ordinal
        try:
            self.core.Device(ordinal).set_current()
            yield
        finally:
            self._ordinal = before
            context.set_current(current)

    def recorded(self, stream: Any, device: Device) -> int | None:
        """``record``; an event tells its device."""
        event = stream.record()
        event.sync()
        ordinal = event.device.device_id
        return None if ordinal is None else int(ordinal)

    def fill(self, array: Any, value: int, stream: Any) -> None:
        """``cuMemsetD32Async`` of ``cuda.bindings``; the wrapper publishes the stream, as its user's duty is (CAI-22)."""
        view = self.describe(array)
        words = prod(view.shape) * array.dtype.itemsize // 4
        _checked(self.driver.cuMemsetD32Async(view.address, value, words, self.driver.CUstream(self.handle(stream))))
        self._used(array, stream)

    def copy(self, into: Any, array: Any, stream: Any) -> None:
        """``cuMemcpyDtoDAsync`` of ``cuda.bindings``."""
        source, size = self.describe(array), into.view.size * into.dtype.itemsize
        handle = self.driver.CUstream(self.handle(stream))
        _checked(self.driver.cuMemcpyDtoDAsync(into.element0, source.address, size, handle))
        self._used(array, stream)

    def _used(self, array: Any, stream: Any) -> None:
        if isinstance(array, CudaPythonArray):
            array.stream, array.writer = self.handle(stream), stream

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        """``StridedMemoryView.from_dlpack`` or ``from_cuda_array_interface``, on the current stream of :meth:`using`."""
        by_dlpack = device is Device.HOST or protocol is Protocol.DLPACK
        return self.viewed("from_dlpack" if by_dlpack else "from_cuda_array_interface", offer, self._told(device))

    def viewed(self, name: str, thing: Any, stream: int | None) -> Any:
        """By this class method of ``StridedMemoryView`` for this stream; ``from_array_interface`` takes none.

        A view finds out what it is only when asked: it is asked at once, so that what it cannot be is refused here.
        """
        read = getattr(self.view_class, name, None)
        if read is None:
            raise Unsupported(f"this StridedMemoryView has no {name}")
        if name == _STREAMLESS:
            with contextlib.suppress(
                Exception
            ):  # it asks the driver for the current GPU; without one there is nothing to ask
                self.core.Device(self._ordinal).set_current()
        try:
            view = read(thing) if name == _STREAMLESS else read(thing, stream_ptr=stream)
        except Exception as error:
            if type(error).__name__ == _NO_DRIVER:
                raise Unsupported(f"StridedMemoryView.{name} needs a driver") from error
            raise
        self.describe(view)
        return view

    def _told(self, device: Device) -> int:
        """The stream that an import is told: -1 on the host."""
        if device is Device.HOST:
            return -1
        gpu = self.core.Device(self._ordinal)
        if not context.current():
            gpu.set_current()
        return int((self._using or gpu.default_stream).handle)

    def native(self, array: Any, protocol: Protocol) -> Any:
        """The class around an allocation where the array interface is asked for, else a ``StridedMemoryView``."""
        return self.exporter(array, protocol)

    def module(self) -> Any:
        """``cuda.core``, under the name that this version has."""
        self.load()
        return self.core


class _Interface:
    """A host array of any layout through ``__array_interface__``, which ``StridedMemoryView`` also reads."""

    def __init__(self, array: CudaPythonArray, kind: Any) -> None:
        self._array = array
        self.__array_interface__ = {
            "version": 3,
            "shape": array.view.shape,
            "typestr": kind.str,
            "data": (array.element0, array.readonly),
            "strides": array.strides,
        }


def _checked(result: tuple[Any, ...]) -> None:
    """``cuda.bindings`` returns its errors."""
    if int(result[0]):
        raise RuntimeError(f"cuda.bindings answers {result[0]!r}")


def _core() -> tuple[Any, Any]:
    try:
        import cuda.core as core
        from cuda.core.utils import StridedMemoryView
    except ImportError:
        import cuda.core.experimental as core
        from cuda.core.experimental.utils import StridedMemoryView
    return core, StridedMemoryView


def _allocate(gpu: Any, nbytes: int) -> Any:
    stream = gpu.default_stream
    buffer = gpu.allocate(nbytes, stream=stream)
    stream.sync()
    return buffer


def _numpy() -> Any:
    import numpy

    return numpy


def _ndarray() -> Any:
    return _numpy().ndarray
