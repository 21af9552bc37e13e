"""Adapter of PyCUDA: the CUDA Array Interface on CUDA memory, in the device's primary context."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from conformance.cuda import context, kernels
from conformance.cuda.streams import LEGACY
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import Strided
from conformance.reference.memory import CudaMemory, gather_by_bytes

from .base import Adapter, Device, Protocol, Trait, View
from .calls import CAI, UserCall
from .changes import Change
from .making import NO_KEYS, NONE_INSIDE, Making
from .numpy import dtype_name, numpy_dtype

_NON_BLOCKING = 1
_NUMPY_RANK = 32
"""Above this rank, some versions of NumPy cannot hold the copy that ``get`` makes."""


class Argument:
    """A kernel argument with the array interface. PyCUDA reads its dictionary at each launch."""

    def __init__(self, offer: Any) -> None:
        self.offer = offer


def _freed(adapter: PycudaAdapter, held: list[Any], device: Device) -> None:
    held[0].gpudata.free()


class PycudaAdapter(Adapter):
    """PyCUDA. It exports through ``GPUArray`` and imports by building a ``GPUArray`` on the published pointer (DOC-PC-3).

    Its kernels also accept an object with the array interface as an argument.
    """

    name = "pycuda"
    distributions = ("pycuda",)
    traits = frozenset(
        {
            Trait.WRITES, Trait.KERNEL, Trait.POINTER_ONLY, Trait.STRIDES, Trait.BYTE_STRIDES, Trait.CONTIGUITY,
            Trait.STREAMS, Trait.GPUS, Trait.KERNEL_ARGUMENTS, Trait.ADDS, Trait.COPIES,
        }
    )  # fmt: skip
    exports = {Device.CUDA: (Protocol.CAI,)}
    imports = {Device.CUDA: (Protocol.CAI,)}
    made = (
        Making("zeros", 'pycuda.gpuarray.zeros((3, 4), "float32")', (3, 4), (0.0,) * 12),
        Making(
            "grid", 'pycuda.gpuarray.arange(12, dtype="float32").reshape(3, 4)', (3, 4), tuple(map(float, range(12)))
        ),
        Making("none-inside", f'pycuda.gpuarray.empty({NONE_INSIDE}, "float32")', NONE_INSIDE),
        Making("no-keys", f'pycuda.gpuarray.empty({NO_KEYS}, "float32")', NO_KEYS),
    )
    candidate_dtypes = (
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        "float16", "float32", "float64", "complex64", "complex128",
    )  # fmt: skip
    changes = (Change("free", "`a.gpudata.free()`", _freed, (Device.CUDA,), waived=True),)

    calls = (
        UserCall(
            "pycuda.GPUArray-gpudata",
            lambda adapter, thing, device: adapter.take(thing, Protocol.CAI, device),
            reads=CAI,
        ),
        UserCall(
            "pycuda.kernel-argument", lambda adapter, thing, device: adapter.passed(thing), reads=CAI, queues=False
        ),
    )

    context_module = "pycuda.autoprimaryctx"
    """The module that creates the context. This one joins the primary context, which the other libraries use (CUD-11)."""

    def load(self) -> None:
        """Import PyCUDA and let it create its context."""
        importlib.import_module(self.context_module)
        import pycuda.driver
        import pycuda.gpuarray

        self.driver = pycuda.driver
        self.gpuarray = pycuda.gpuarray
        self._kernels: dict[tuple[str, int], Any] = {}
        self._contexts: dict[int, Any] = {}

    def present_traits(self) -> frozenset[Trait]:
        """Return the traits. PyCUDA compiles its arithmetic with nvcc, which not every machine has."""
        return self.traits if shutil.which("nvcc") else self.traits - {Trait.ADDS}

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        return self.gpuarray.GPUArray(shape, numpy_dtype(dtype))

    def restride(self, array: Any, strides: tuple[int, ...]) -> Any:
        return self.gpuarray.GPUArray(array.shape, array.dtype, base=array, gpudata=array.gpudata, strides=strides)

    def contiguous(self, array: Any) -> bool:
        return bool(array.flags.c_contiguous)

    def describe(self, array: Any) -> View:
        return View(
            address=int(array.ptr) if array.size else 0,
            shape=tuple(array.shape),
            strides=tuple(array.strides),
            dtype=dtype_name(array.dtype),
            device=None,
        )

    def read(self, array: Any) -> bytes:
        """Return the elements by ``get`` for a packed array. PyCUDA copies few other layouts, so these are read without it."""
        if array.flags.c_contiguous and array.ndim <= _NUMPY_RANK:
            return bytes(array.get().tobytes())
        view = Strided(tuple(array.shape), tuple(array.strides))
        return gather_by_bytes(CudaMemory(), int(array.ptr), view, array.dtype.itemsize)

    def write(self, array: Any, data: bytes) -> None:
        """Call ``set``. Its source needs the array's order of dimensions. ``get`` creates such a source."""
        import numpy

        host = array.get()
        host[...] = numpy.frombuffer(data, array.dtype).reshape(array.shape)
        array.set(host)
        self.driver.Context.synchronize()

    def kernel_increment(self, array: Any) -> None:
        """Launch the suite's own PTX kernel by PyCUDA, since a ``SourceModule`` needs a compiler."""
        import numpy

        self._launch(
            "add_to_words", (numpy.uint64(int(array.ptr)), numpy.uint32(array.size), numpy.uint32(1)), array.size
        )
        self.driver.Context.synchronize()

    def add(self, first: Any, second: Any) -> Any:
        """Return the sum, for which PyCUDA compiles a kernel."""
        return self._finished(first + second)

    def copied(self, array: Any) -> Any:
        return self._finished(array.copy())

    def _finished(self, array: Any) -> Any:
        self.driver.Context.synchronize()
        return array

    def _launch(self, name: str, arguments: tuple[Any, ...], count: int = 1, stream: Any = None) -> None:
        """Launch a kernel of the suite's PTX on ``count`` elements by PyCUDA's own call."""
        key = (name, context.current())
        if key not in self._kernels:
            self._kernels[key] = self.driver.module_from_buffer(kernels.PTX.encode()).get_function(name)
        blocks = max((count + kernels.BLOCK - 1) // kernels.BLOCK, 1)
        self._kernels[key](*arguments, block=(kernels.BLOCK, 1, 1), grid=(blocks, 1), stream=stream)

    def stream(self, device: Device) -> Any:
        """Return a non-blocking stream. ``pycuda.driver.Stream`` passes the flag on."""
        return self.driver.Stream(_NON_BLOCKING)

    def default_stream(self, device: Device) -> Any:
        """Return ``None``, which PyCUDA's calls accept as the legacy default stream."""
        return None

    def handle(self, stream: Any) -> int:
        return LEGACY if stream is None else int(stream.handle)

    def using(self, stream: Any) -> AbstractContextManager[Any]:
        """Do nothing: PyCUDA has no current stream, and every call takes a stream."""
        return nullcontext()

    def fill(self, array: Any, value: int, stream: Any) -> None:
        self.driver.memset_d32_async(int(array.ptr), value, array.size, stream)

    def copy(self, into: Any, array: Any, stream: Any) -> None:
        """Queue a copy by ``memcpy_dtod_async``, or for a kernel argument by the suite's PTX kernel."""
        if isinstance(array, Argument):
            import numpy

            arguments = (numpy.uint64(int(into.ptr)), array.offer, numpy.uint32(into.size))
            self._launch("copy_words", arguments, into.size, stream)
            return
        self.driver.memcpy_dtod_async(int(into.ptr), int(array.ptr), array.nbytes, stream)

    def take_argument(self, offer: Any, device: Device) -> Argument:
        return Argument(offer)

    def argument_address(self, argument: Argument) -> int:
        """Return the address that a kernel of the suite's PTX stores."""
        import numpy

        stored = self.gpuarray.GPUArray((1,), numpy.uint64)
        self._launch("store_address", (numpy.uint64(int(stored.ptr)), argument.offer))
        self.driver.Context.synchronize()
        return int(stored.get()[0])

    def passed(self, thing: Any) -> Any:
        """Return the object as a kernel sees it: a ``GPUArray`` at the address that the kernel gets."""
        taken = self.take(thing, Protocol.CAI, Device.CUDA)
        address = self.argument_address(Argument(thing))
        return self.gpuarray.GPUArray(taken.shape, taken.dtype, base=thing, gpudata=address, strides=taken.strides)

    @contextmanager
    def on_gpu(self, ordinal: int, device: Device) -> Iterator[None]:
        """Push the primary context on PyCUDA's own stack, and restore CUDA's current context at the end."""
        if ordinal not in self._contexts:
            self._contexts[ordinal] = self.driver.Device(ordinal).retain_primary_context()
        before = context.current()
        self._contexts[ordinal].push()
        try:
            yield
        finally:
            self.driver.Context.pop()
            context.set_current(before)

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        """Import as PyCUDA's users do: build a ``GPUArray`` on the pointer with the owner as its base."""
        import numpy

        described = offer.__cuda_array_interface__
        return self.gpuarray.GPUArray(
            shape=described["shape"],
            dtype=numpy.dtype(described["typestr"]),
            gpudata=described["data"][0],
            strides=described.get("strides"),
            base=offer,
        )
