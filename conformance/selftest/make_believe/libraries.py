"""Adapters of the simulated libraries on the simulated device, and the environments for planning their cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from conformance.adapters.base import Adapter, Device, Protocol, Trait, View
from conformance.adapters.numpy import NumpyAdapter, dtype_name, numpy_dtype
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.libraries import Environment, Library, Side
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import Step

from . import memory
from .array import Array
from .cuda_python import Runtime
from .cupy import Cupy
from .cvcuda import Cvcuda, CvcudaTensor
from .pycuda import Pycuda
from .torch import Tensor, Torch


class MakeBelieve(Adapter):
    """A simulated library. ``wrap`` makes its array from a NumPy array. ``take`` is its documented import."""

    distributions = ()
    traits = frozenset({Trait.WRITES})
    exports = {Device.SIMULATED: (Protocol.CAI,)}
    imports = exports
    candidate_dtypes = ()

    def __init__(self, name: str, module: Any, wrap: Callable[[Any], Any], take: Callable[[Any], Any]) -> None:
        self.name = name  # type: ignore[misc]
        self.runtime = module
        """The attribute in which the CUDA Python adapter has ``cuda.bindings.runtime``."""
        self._wrap = wrap
        self._take = take
        self._numpy = NumpyAdapter()

    def load(self) -> None:
        self._numpy.load()

    def module(self) -> Any:
        return self.runtime

    def empty(self, dtype: DType, shape: tuple[int, ...], device: Device) -> Any:
        return self._wrap(memory.zeros(shape, numpy_dtype(dtype)))

    def view(self, array: Any, step: Step) -> Any:
        return self._wrap(self._numpy.view(array.host, step))

    def describe(self, array: Any) -> View:
        host = array.host
        where = 2 if getattr(array, "gpu", True) else 1
        return View(host.ctypes.data, tuple(host.shape), tuple(host.strides), dtype_name(host.dtype), (where, 0))

    def read(self, array: Any) -> bytes:
        return self._numpy.read(array.host)

    def write(self, array: Any, data: bytes) -> None:
        self._numpy.write(array.host, data)

    def exporter(self, array: Any, protocol: Protocol) -> Any:
        return array.cuda() if isinstance(array, CvcudaTensor) else array

    def take(self, offer: Any, protocol: Protocol, device: Device, **keywords: Any) -> Any:
        return self._take(offer)


def libraries() -> dict[str, Adapter]:
    """Return all simulated libraries, with the real NumPy and the reference."""
    cupy, torch, pycuda, cvcuda = Cupy(), Torch(), Pycuda(), Cvcuda()

    def gpuarray(offer: Any) -> Any:
        described = offer.__cuda_array_interface__
        return pycuda.gpuarray.GPUArray(
            described["shape"], described["typestr"], described["data"][0], described.get("strides"), offer
        )

    made: dict[str, Adapter] = {
        "cupy": MakeBelieve("cupy", cupy, Array, lambda offer: cupy.asarray(offer)),
        "torch": MakeBelieve("torch", torch, Tensor, lambda offer: torch.as_tensor(offer)),
        "pycuda": MakeBelieve("pycuda", pycuda, Array, gpuarray),
        "cvcuda": MakeBelieve("cvcuda", cvcuda, CvcudaTensor, lambda offer: cvcuda.as_tensor(offer)),
        "cuda_python": MakeBelieve(
            "cuda_python", Runtime(), Array, lambda offer: Array(memory.told(offer), owner=offer)
        ),
        "numpy": NumpyAdapter(),
        "reference": ReferenceAdapter(),
    }
    for adapter in made.values():
        adapter.load()
    return made


# Planning

_TYPES = ("float32", "uint8")
_LAYOUTS = ("c-order", "fortran", "reversed", "empty")
_BOTH = (Protocol.DLPACK, Protocol.CAI)


def library(
    name: str, device: Device = Device.CUDA, *, types: tuple[str, ...] = _TYPES, protocols: tuple[Protocol, ...] = (Protocol.CAI,),
    layouts: tuple[str, ...] = _LAYOUTS, traits: Iterable[Trait] = (), versions: dict[str, str] | None = None,
) -> Library:  # fmt: skip
    """Return a library as a probe on this device would describe it."""
    side = Side(types, layouts, protocols, protocols)
    return Library(name, versions or {}, frozenset(traits), None, {device: side})


def environment() -> Environment:
    """Return the environment that probes of :func:`libraries` on a real GPU would measure. A few types and layouts are enough."""
    everywhere = library("torch")
    return Environment(
        (
            library("numpy", Device.HOST, protocols=(Protocol.DLPACK,)),
            replace(everywhere, sides={Device.HOST: everywhere.sides[Device.CUDA], **everywhere.sides}),
            library("cupy"),
            library("cvcuda", types=("float32", "uint8"), layouts=("c-order",), protocols=_BOTH),
            library("pycuda"),
            library("cuda_python"),
            library("reference", protocols=_BOTH),
        )
    )
