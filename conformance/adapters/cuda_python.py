"""Adapter of CUDA Python: memory of ``cuda.core`` and ``cuda.bindings``, viewed through ``StridedMemoryView``."""

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
"""The extent in bytes above which elements are read one by one. Only few elements lie so far apart."""

_BOTH = (Protocol.DLPACK, Protocol.CAI)
_RESOURCES = {
    Kind.PINNED: "LegacyPinnedMemoryResource",
    Kind.MANAGED: "ManagedMemoryResource",
    Kind.POOL: "DeviceMemoryResource",
}


_STREAMLESS = "from_array_interface"
_NO_DRIVER = "DynamicLibNotFoundError"
"""The exception of ``cuda.bindings`` at the first driver call on a machine without a driver."""


def _call(name: str, reads: str = "", devices: tuple[Device, ...] = (Device.HOST, Device.CUDA)) -> UserCall:
    """Return the call for a class method of ``StridedMemoryView``."""
    return UserCall(
        f"cuda.core.{name}",
        lambda adapter, thing, device: adapter.viewed(name, thing, adapter._consumer_stream(device)),
        reads,
        devices,
        on_stream=None
        if name == _STREAMLESS
        else lambda adapter, thing, device, stream: adapter.viewed(name, thing, stream),
    )


def _foreign(name: str, kind: Any, **facts: Any) -> Foreign:
    """Return the declaration of a ``StridedMemoryView`` of a NumPy array."""

    def build(adapter: CudaPythonAdapter) -> Any:
        import numpy

        return adapter.view_class.from_array_interface(numpy.zeros(3, kind))

    return Foreign(name, build, **facts)


def _closed(adapter: CudaPythonAdapter, held: list[Any], device: Device) -> None:
    held[0].owner.close()
    adapter.core.Device(0).sync()


class CudaPythonArray:
    """A wrapper class around an allocation, as CUDA Python's users write it (DOC-CU-1)."""

    def __init__(self, owner: Any, address: int, dtype: DType, view: Strided, gpu: int = 0) -> None:
        self.owner = owner
        self.address = address
        self.dtype = dtype
        self.view = view
        self.gpu = gpu
        """The GPU of the allocation. It has no meaning on the host."""
        self.readonly = False
        self.stream: int | None = None
        """The handle of the stream that still writes the array, or ``None``."""
        self.writer: Any = None
        """The object of that stream. It must live as long as the array (CAI-28)."""

    def seen(self, view: Strided) -> CudaPythonArray:
        """Return a view of the same allocation, with the same read-only flag and the same pending writes."""
        made = CudaPythonArray(self.owner, self.address, self.dtype, view, self.gpu)
        made.readonly, made.stream, made.writer = self.readonly, self.stream, self.writer
        return made

    @property
    def element0(self) -> int:
        """The address of the first element."""
        return self.address + self.view.offset * self.dtype.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        """The strides in bytes."""
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
    """CUDA Python. It exports DLPack by ``StridedMemoryView.from_buffer`` and imports by ``StridedMemoryView``'s class methods."""

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
        """Import ``cuda.bindings`` and ``cuda.core`` under the names that this version has.

        Initialise the driver if there is one, because a ``StridedMemoryView`` calls it even for host memory.
        """
        import cuda.bindings.driver

        self.driver = cuda.bindings.driver
        self.core, self.view_class = _core()
        self._has_driver = False
        with contextlib.suppress(Exception):  # whatever the exception, there is no usable driver
            self.driver.cuInit(0)
            self._has_driver = True

    def usable(self, device: Device) -> str | None:
        """Return the reason why ``cuda.core`` cannot make a GPU current, if it cannot."""
        if device is Device.HOST:
            return None
        try:
            self.core.Device(0).set_current()
        except Exception as error:  # noqa: BLE001 - any exception is the reason to report
            return f"{type(error).__name__}: {error}"
        return None

    def present_traits(self) -> frozenset[Trait]:
        """Return the traits. The per-thread default stream has had an object since cuda.core 0.6."""
        has = hasattr(self.core, "PER_THREAD_DEFAULT_STREAM")
        return self.traits if has else self.traits - {Trait.PER_THREAD_STREAM}

    def present_calls(self) -> tuple[UserCall, ...]:
        """Return the calls without ``from_array_interface`` if there is no driver, which it asks for the current GPU."""
        return tuple(call for call in self.calls if self._has_driver or call.reads != ARRAY_INTERFACE)

    def protocols(self, device: Device) -> tuple[tuple[Protocol, ...], tuple[Protocol, ...]]:
        """Return the protocols.

        A ``StridedMemoryView`` has exported DLPack since cuda.core 1.0, and needs a driver for that even on the host.
        """
        exports, imports = super().protocols(device)
        try:
            self.view_class.from_array_interface(_numpy().zeros(2)).__dlpack__()
        except Exception:  # noqa: BLE001 - any exception means that it cannot export
            exports = tuple(p for p in exports if p is not Protocol.DLPACK)
        return exports, imports

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        """Return a wrapper around a new NumPy array or around a device allocation of ``cuda.core``."""
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
        """Return an array from the memory resource of this kind. Not every version and not every driver has each kind."""
        view = packed(shape)
        gpu = self.core.Device(0)
        gpu.set_current()
        try:
            resource = getattr(self.core, _RESOURCES[kind])(*([0] if kind is Kind.POOL else []))
            buffer = resource.allocate(max(view.size * dtype.itemsize, 1), stream=gpu.default_stream)
        except Exception as error:
            raise Unsupported(f"cuda.core cannot allocate {kind.value} memory here: {error}") from error
        gpu.default_stream.sync()
        return CudaPythonArray(buffer, int(buffer.handle), dtype, view)

    @property
    def runtime(self) -> Any:
        """The module ``cuda.bindings.runtime``."""
        import cuda.bindings.runtime

        return cuda.bindings.runtime

    def view(self, array: CudaPythonArray, step: Step) -> CudaPythonArray:
        """Return a view that the wrapper computes: an allocation has no views of its own."""
        return array.seen(apply(array.view, step))

    def restride(self, array: CudaPythonArray, strides: tuple[int, ...]) -> CudaPythonArray:
        elements = tuple(s // array.dtype.itemsize for s in strides)
        return array.seen(Strided(array.view.shape, elements, array.view.offset))

    def freeze(self, array: CudaPythonArray) -> None:
        """Make the wrapper publish itself as read-only, so that every ``StridedMemoryView`` of it is read-only."""
        array.readonly = True

    def exporter(self, array: Any, protocol: Protocol) -> Any:
        """Return the wrapper for the array interface and a ``StridedMemoryView`` for DLPack, also for an import."""
        if not isinstance(array, CudaPythonArray):
            return array if protocol is Protocol.DLPACK else self._wrapped(array)
        if protocol is Protocol.CAI:
            return array
        if not hasattr(self.view_class, "__dlpack__"):
            raise Unsupported("this StridedMemoryView does not export DLPack")
        return self._strided(array)

    def _wrapped(self, array: Any) -> CudaPythonArray:
        """Return a wrapper around an import, which has no array interface of its own. Elements without a typestr become raw bytes."""
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
        """Return a ``StridedMemoryView`` of the buffer if possible.

        An array interface without elements has no address, and so no device.
        """
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
        """Return the wrapper's own data, or a ``StridedMemoryView``'s attributes (with strides in elements)."""
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
        """Return the elements, read without the library: it has no copy that keeps every stride."""
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
        """Return the bytes at the address of the last element: a view cannot be indexed."""
        view = self.describe(array)
        device = Device.HOST if view.device and view.device[0] == 1 else Device.CUDA
        return peek(last_address(view), array.dtype.itemsize, device)

    def stream(self, device: Device) -> Any:
        gpu = self.core.Device(self._ordinal)
        gpu.set_current()
        return gpu.create_stream()

    def default_stream(self, device: Device) -> Any:
        return self.core.Device(0).default_stream

    def foreign_stream(self, handle: int, device: Device) -> Any:
        return self.core.Stream.from_handle(handle)

    def per_thread_stream(self, device: Device) -> Any:
        return self.core.PER_THREAD_DEFAULT_STREAM

    def import_stream(self, source: Any, device: Device) -> Any:
        self.core.Device(0).set_current()
        return self.core.Device(0).create_stream(source)

    def handle(self, stream: Any) -> int:
        return int(stream.handle) or LEGACY

    @contextlib.contextmanager
    def using(self, stream: Any) -> Iterator[None]:
        """Set the stream that imports pass. The library has no current stream."""
        before, self._using = self._using, stream
        try:
            yield
        finally:
            self._using = before

    @contextlib.contextmanager
    def on_gpu(self, ordinal: int, device: Device) -> Iterator[None]:
        before, current = self._ordinal, context.current()
        self._ordinal = ordinal
        try:
            self.core.Device(ordinal).set_current()
            yield
        finally:
            self._ordinal = before
            context.set_current(current)

    def recorded(self, stream: Any, device: Device) -> int | None:
        event = stream.record()
        event.sync()
        ordinal = event.device.device_id
        return None if ordinal is None else int(ordinal)

    def fill(self, array: Any, value: int, stream: Any) -> None:
        """Queue ``cuMemsetD32Async``. The wrapper publishes the stream, which is its author's duty (CAI-22)."""
        view = self.describe(array)
        words = prod(view.shape) * array.dtype.itemsize // 4
        _checked(self.driver.cuMemsetD32Async(view.address, value, words, self.driver.CUstream(self.handle(stream))))
        self._used(array, stream)

    def copy(self, into: Any, array: Any, stream: Any) -> None:
        source, size = self.describe(array), into.view.size * into.dtype.itemsize
        handle = self.driver.CUstream(self.handle(stream))
        _checked(self.driver.cuMemcpyDtoDAsync(into.element0, source.address, size, handle))
        self._used(array, stream)

    def _used(self, array: Any, stream: Any) -> None:
        if isinstance(array, CudaPythonArray):
            array.stream, array.writer = self.handle(stream), stream

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        """Import by ``StridedMemoryView.from_dlpack`` or ``from_cuda_array_interface``, on the stream of :meth:`using`."""
        by_dlpack = device is Device.HOST or protocol is Protocol.DLPACK
        return self.viewed(
            "from_dlpack" if by_dlpack else "from_cuda_array_interface", offer, self._consumer_stream(device)
        )

    def viewed(self, name: str, thing: Any, stream: int | None) -> Any:
        """Return a ``StridedMemoryView`` from this class method, for this stream if the method takes one.

        A view reads its attributes lazily. They are read here at once, so that an unsupported array is refused here.
        """
        read = getattr(self.view_class, name, None)
        if read is None:
            raise Unsupported(f"this StridedMemoryView has no {name}")
        if name == _STREAMLESS:
            with contextlib.suppress(Exception):  # it asks the driver for the current GPU, which needs a driver
                self.core.Device(self._ordinal).set_current()
        try:
            view = read(thing) if name == _STREAMLESS else read(thing, stream_ptr=stream)
        except Exception as error:
            if type(error).__name__ == _NO_DRIVER:
                raise Unsupported(f"StridedMemoryView.{name} needs a driver") from error
            raise
        self.describe(view)
        return view

    def _consumer_stream(self, device: Device) -> int:
        """Return the stream that an import passes: -1 on the host."""
        if device is Device.HOST:
            return -1
        gpu = self.core.Device(self._ordinal)
        if not context.current():
            gpu.set_current()
        return int((self._using or gpu.default_stream).handle)

    def native(self, array: Any, protocol: Protocol) -> Any:
        """Return the wrapper for the array interface, and a ``StridedMemoryView`` for DLPack."""
        return self.exporter(array, protocol)

    def module(self) -> Any:
        """Return ``cuda.core`` under the name that this version has."""
        self.load()
        return self.core


class _Interface:
    """A host array of any layout with ``__array_interface__``, which ``StridedMemoryView`` also reads."""

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
    """Raise ``RuntimeError`` for an error code, which ``cuda.bindings`` returns and does not raise."""
    if int(result[0]):
        raise RuntimeError(f"cuda.bindings returned {result[0]!r}")


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
