"""Make-believe CuPy, PyTorch, PyCUDA, CV-CUDA and CUDA Python: the calls that the pages show, on host memory.

Everything is flawless; a test replaces one call to see whether a claim notices.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy

from conformance.adapters.base import Adapter, Device, Protocol, Trait, View
from conformance.adapters.numpy import NumpyAdapter, numpy_dtype
from conformance.adapters.reference import ReferenceAdapter
from conformance.protocols import cai
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import Broadcast, Index, Step, Transpose

_ROW_ALIGNMENT = 32


class Array:
    """An array on the make-believe GPU, or on the host if ``gpu`` is false; ``owner`` is what it keeps alive."""

    def __init__(self, host: Any, *, gpu: bool = True, owner: Any = None) -> None:
        self.host = host
        self.gpu = gpu
        self.owner = owner

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.host.shape)

    @property
    def dtype(self) -> Any:
        return self.host.dtype

    @property
    def flags(self) -> Any:
        return self.host.flags

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if not self.gpu:
            raise AttributeError("not on the GPU")
        return interface(self.host)


class Tensor(Array):
    """CV-CUDA's: not an array itself, ``cuda()`` gives one."""

    layout = "none"
    __cuda_array_interface__ = property()  # type: ignore[assignment]

    def cuda(self) -> Array:
        return Array(self.host, owner=self)


class TorchTensor(Array):
    """PyTorch's."""

    def cuda(self) -> TorchTensor:
        return TorchTensor(copied(self.host))

    def cpu(self) -> TorchTensor:
        return TorchTensor(copied(self.host), gpu=False)

    def clone(self) -> TorchTensor:
        return TorchTensor(copied(self.host), gpu=self.gpu)

    def numpy(self) -> Any:
        return self.host

    def data_ptr(self) -> int:
        return int(self.host.ctypes.data)


class GPUArray(Array):
    """PyCUDA's, built by hand on a pointer."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, gpudata: int) -> None:
        super().__init__(at(gpudata, shape, numpy.dtype(dtype).str, None))

    def get(self) -> Any:
        return copied(self.host)


def interface(host: Any) -> dict[str, Any]:
    """The dictionary of an array in make-believe device memory."""
    strides = None if host.flags.c_contiguous else tuple(host.strides)
    return cai.build(tuple(host.shape), host.dtype.str, host.ctypes.data if host.size else 0, strides=strides)


def copied(host: Any) -> Any:
    """Elsewhere, in the same order."""
    return numpy.array(host, order="K")


def at(address: int, shape: tuple[int, ...], typestr: str, strides: tuple[int, ...] | None) -> Any:
    """A NumPy array on memory that is there already."""
    described = {"version": 3, "shape": shape, "typestr": typestr, "data": (address, False), "strides": strides}
    return numpy.asarray(SimpleNamespace(__array_interface__=described))


def on(source: Any) -> Any:
    """The memory that an object's array interface tells."""
    told = source.__cuda_array_interface__
    return at(told["data"][0], told["shape"], told["typestr"], told.get("strides"))


# -- modules


def cupy() -> SimpleNamespace:
    """``asarray`` views what has the interface and transfers what has not."""

    def asarray(source: Any) -> Array:
        if hasattr(source, "__cuda_array_interface__"):
            return Array(on(source), owner=source)
        return Array(copied(source))

    return SimpleNamespace(asarray=asarray, asnumpy=lambda array: copied(array.host))


def torch() -> SimpleNamespace:
    """``from_numpy`` and ``as_tensor``."""
    return SimpleNamespace(
        from_numpy=lambda array: TorchTensor(array, gpu=False),
        as_tensor=lambda source: TorchTensor(on(source), owner=source),
    )


def pycuda() -> SimpleNamespace:
    """``to_gpu`` and ``GPUArray``."""

    def to_gpu(array: Any) -> Array:
        return Array(copied(array))

    return SimpleNamespace(gpuarray=SimpleNamespace(to_gpu=to_gpu, GPUArray=GPUArray))


def cvcuda() -> SimpleNamespace:
    """Tensors of image layouts have padded rows; only packed arrays are taken."""

    def make(shape: tuple[int, ...], kind: Any, layout: str | None = None) -> Tensor:
        if layout is None:
            return Tensor(numpy.zeros(shape, kind))
        height, width, channels = shape
        row = width * channels * kind.itemsize
        block = numpy.zeros(height * -(-row // _ROW_ALIGNMENT) * _ROW_ALIGNMENT, numpy.uint8)
        strides = (-(-row // _ROW_ALIGNMENT) * _ROW_ALIGNMENT, channels * kind.itemsize, kind.itemsize)
        return Tensor(numpy.lib.stride_tricks.as_strided(block.view(kind), shape, strides), owner=block)

    def as_tensor(source: Any, layout: str = "none") -> Tensor:
        if not hasattr(source, "__cuda_array_interface__"):
            raise RuntimeError("Only CUDA-accessible memory buffers can be wrapped")
        host = on(source)
        if not host.flags.c_contiguous or not host.size:
            raise RuntimeError("NVCV_ERROR_INVALID_ARGUMENT: must be packed")
        tensor = Tensor(host, owner=source)
        tensor.layout = layout
        return tensor

    return SimpleNamespace(
        Type=SimpleNamespace(U8=numpy.dtype("uint8"), F32=numpy.dtype("float32")),
        Format=SimpleNamespace(RGB8="RGB8"),
        Tensor=make,
        as_tensor=as_tensor,
        as_image=lambda source, form: as_tensor(source),
        clear_cache=lambda: None,
    )


class Runtime:
    """``cuda.bindings.runtime``: allocations that are watched."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self) -> None:
        self.live: dict[int, Any] = {}
        self.freed: set[int] = set()

    def cudaMalloc(self, nbytes: int) -> tuple[int, int]:
        block = ctypes.create_string_buffer(nbytes)
        self.live[ctypes.addressof(block)] = block
        self.freed.discard(ctypes.addressof(block))
        return 0, ctypes.addressof(block)

    def cudaMemcpy(self, to: int, source: int, nbytes: int, kind: int) -> tuple[int]:
        if {to, source} & self.freed:
            return (1,)
        ctypes.memmove(to, source, nbytes)
        return (0,)

    def cudaFree(self, address: int) -> tuple[int]:
        if self.live.pop(address, None) is None:
            return (1,)
        self.freed.add(address)
        return (0,)


# -- adapters


class Fake(Adapter):
    """One make-believe library; ``wrap`` makes its array of a NumPy one."""

    distributions = ()
    traits = frozenset({Trait.WRITES})
    exports = {Device.SIMULATED: (Protocol.CAI,)}
    imports = exports
    candidate_dtypes = ()

    def __init__(self, name: str, module: Any, wrap: Any) -> None:
        self.name = name  # type: ignore[misc]
        self.made = module
        self.wrap = wrap
        self.runtime = module

    def load(self) -> None:
        """Nothing."""

    def module(self) -> Any:
        """The make-believe module."""
        return self.made

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        """Zeros."""
        return self.wrap(numpy.zeros(shape, numpy_dtype(dtype)))

    def view(self, array: Array, step: Step) -> Any:
        """NumPy's."""
        host = NumpyAdapter()
        host.load()
        assert isinstance(step, (Index, Transpose, Broadcast))
        return self.wrap(host.view(array.host, step))

    def describe(self, array: Any) -> View:
        """NumPy's, on the make-believe GPU."""
        host = array.host
        device = (2 if array.gpu else 1, 0)
        return View(host.ctypes.data, tuple(host.shape), tuple(host.strides), host.dtype.name, device)

    def read(self, array: Any) -> bytes:
        """Row-major."""
        return bytes(array.host.tobytes())

    def write(self, array: Any, data: bytes) -> None:
        """All elements."""
        array.host[...] = numpy.frombuffer(data, array.host.dtype).reshape(array.host.shape)

    def exporter(self, array: Any, protocol: Protocol) -> Any:
        """A tensor's ``cuda()``."""
        return array.cuda() if isinstance(array, Tensor) else array

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        """By the interface."""
        return self.made.as_tensor(offer) if self.name == "cvcuda" else Array(on(offer), owner=offer)


def libraries() -> dict[str, Adapter]:
    """All of them, with the real NumPy and the reference, for a workbench."""
    made: dict[str, Adapter] = {
        "cupy": Fake("cupy", cupy(), Array),
        "torch": Fake("torch", torch(), TorchTensor),
        "pycuda": Fake("pycuda", pycuda(), Array),
        "cvcuda": Fake("cvcuda", cvcuda(), Tensor),
        "cuda_python": Fake("cuda_python", Runtime(), Array),
        "numpy": NumpyAdapter(),
        "reference": ReferenceAdapter(),
    }
    for adapter in made.values():
        adapter.load()
    return made
