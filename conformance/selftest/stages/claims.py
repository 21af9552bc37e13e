"""The stage ``claims``: make-believe libraries with the calls that the pages show, each fault spoils one of them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

from conformance.checks.buffers import DeviceBuffer
from conformance.checks.catalogue import Case, catalogue
from conformance.checks.libraries import Environment
from conformance.selftest.make_believe import libraries, memory
from conformance.selftest.make_believe.array import Array
from conformance.selftest.make_believe.cvcuda import CvcudaTensor
from conformance.selftest.make_believe.environments import planned, shared
from conformance.selftest.make_believe.pycuda import GPUArray
from conformance.selftest.make_believe.torch import Tensor
from conformance.selftest.model import Partners, Stage

_ELSEWHERE = ("claim.installation", "claim.pycuda-autoinit")
"""What is not seen in arrays: stages of their own show it."""


def _cases(environment: Environment) -> Iterator[Case]:
    chosen = (i.id for i in catalogue().values() if i.family == "claim" and i.id not in _ELSEWHERE)
    return shared(planned(libraries.environment(), *chosen))


STAGE = Stage(
    "claims",
    "make-believe libraries on host memory, by the calls that the pages show",
    libraries.libraries,
    _cases,
    absent=memory.absent,
    preload=("numpy",),
)


def _module(found: Partners, name: str) -> Any:
    """A make-believe module; setting one of its attributes replaces a call."""
    return found[name].module()


def _raising(*arguments: Any, **keywords: Any) -> Any:
    raise RuntimeError("unspecified failure")


# -- cvcuda.as_tensor and cvcuda.as_image


@STAGE.fault(
    "claim.cupy-on-gpu",
    "claim.cupy-converts",
    "claim.numpy-by-cuda-python",
    "claim.numpy-by-torch",
    "claim.torch-shares",
    "claim.gpuarray-converts",
    "claim.buffer-accepted",
    "claim.named-layout",
)
def as_tensor_copies(found: Partners) -> None:
    """``cvcuda.as_tensor`` copies what it should share."""
    cvcuda = _module(found, "cvcuda")
    shared = cvcuda.as_tensor

    def as_tensor(source: Any, layout: str = "none") -> CvcudaTensor:
        return CvcudaTensor(memory.copied(shared(source).host), layout)

    cvcuda.as_tensor = as_tensor


@STAGE.fault(
    "claim.cupy-on-gpu",
    "claim.cupy-converts",
    "claim.cupy-round-trip",
    "claim.numpy-by-cuda-python",
    "claim.numpy-by-torch",
    "claim.numpy-by-cupy",
    "claim.numpy-by-pycuda",
    "claim.cpu-tensor-refused",
    "claim.torch-shares",
    "claim.gpuarray-converts",
    "claim.buffer-accepted",
    "claim.named-layout",
)
def as_tensor_raises(found: Partners) -> None:
    """``cvcuda.as_tensor`` takes nothing, not even what the pages show."""
    _module(found, "cvcuda").as_tensor = _raising


@STAGE.fault(
    "claim.cupy-converts",
    "claim.cupy-round-trip",
    "claim.numpy-by-torch",
    "claim.numpy-by-cupy",
    "claim.numpy-by-pycuda",
    "claim.torch-shares",
    "claim.gpuarray-converts",
    "claim.named-layout",
)
def as_tensor_takes_another_type(found: Partners) -> None:
    """``cvcuda.as_tensor`` takes every element for a signed whole number of its size, as CV-CUDA 0.19 does for bool."""
    cvcuda = _module(found, "cvcuda")
    right = cvcuda.as_tensor

    def as_tensor(source: Any, layout: str = "none") -> CvcudaTensor:
        host = right(source).host
        return CvcudaTensor(host.view(f"i{host.itemsize}"), layout, source)

    cvcuda.as_tensor = as_tensor


@STAGE.fault("claim.cupy-converts", "claim.torch-shares", "claim.gpuarray-converts")
def as_tensor_forgets_strides(found: Partners) -> None:
    """``cvcuda.as_tensor`` takes every array for a packed one."""

    def as_tensor(source: Any, layout: str = "none") -> CvcudaTensor:
        told = source.__cuda_array_interface__
        return CvcudaTensor(memory.at(told["data"][0], told["shape"], told["typestr"]), layout, source)

    _module(found, "cvcuda").as_tensor = as_tensor


@STAGE.fault("claim.cupy-on-gpu", "claim.cupy-converts", "claim.buffer-accepted", "claim.named-layout")
def as_tensor_begins_one_element_late(found: Partners) -> None:
    """``cvcuda.as_tensor`` counts an offset of one element twice."""
    cvcuda = _module(found, "cvcuda")
    right = cvcuda.as_tensor

    def as_tensor(source: Any, layout: str = "none") -> CvcudaTensor:
        host = right(source).host
        return CvcudaTensor(memory.at(host.ctypes.data + host.itemsize, host.shape, host.dtype.str), layout, source)

    cvcuda.as_tensor = as_tensor


@STAGE.fault("claim.numpy-refused", "claim.cpu-tensor-refused", bugs="device-07")
def as_tensor_takes_addresses_of_the_host(found: Partners) -> None:
    """``cvcuda.as_tensor`` takes an address in host memory for one on the GPU."""
    cvcuda = _module(found, "cvcuda")
    right = cvcuda.as_tensor

    def as_tensor(source: Any, layout: str = "none") -> CvcudaTensor:
        if hasattr(source, "__cuda_array_interface__"):
            tensor: CvcudaTensor = right(source, layout)
            return tensor
        return CvcudaTensor(getattr(source, "host", source), layout, source)

    cvcuda.as_tensor = as_tensor


@STAGE.fault("claim.numpy-refused", "claim.cpu-tensor-refused")
def as_tensor_stumbles_over_host_arrays(found: Partners) -> None:
    """``cvcuda.as_tensor`` refuses an array on the host by the ``KeyError`` that it runs into."""
    cvcuda = _module(found, "cvcuda")
    right = cvcuda.as_tensor

    def as_tensor(source: Any, layout: str = "none") -> CvcudaTensor:
        if not hasattr(source, "__cuda_array_interface__"):
            raise KeyError("__cuda_array_interface__")
        tensor: CvcudaTensor = right(source, layout)
        return tensor

    cvcuda.as_tensor = as_tensor


@STAGE.fault("claim.named-layout")
def as_tensor_ignores_the_layout(found: Partners) -> None:
    """``cvcuda.as_tensor`` makes a tensor without a layout, whatever name it is given."""
    cvcuda = _module(found, "cvcuda")
    right = cvcuda.as_tensor
    cvcuda.as_tensor = lambda source, layout="none": right(source)


@STAGE.fault("claim.wrapped-is-released", bugs="lifetime-17 lifetime-19")
def wrappers_are_cached(found: Partners) -> None:
    """What was wrapped by CV-CUDA stays in its cache until that is cleared."""
    cvcuda = _module(found, "cvcuda")
    fresh, cache = cvcuda.as_tensor, list[CvcudaTensor]()

    def as_tensor(source: Any, layout: str = "none") -> CvcudaTensor:
        cache.append(fresh(source, layout))
        return cache[-1]

    cvcuda.as_tensor, cvcuda.clear_cache = as_tensor, cache.clear


@STAGE.fault("claim.wrapped-is-released", bugs="lifetime-20")
def images_are_never_let_go(found: Partners) -> None:
    """``cvcuda.as_image`` takes a reference to what it wraps, and nothing ever gives it back."""
    cvcuda = _module(found, "cvcuda")
    fresh = cvcuda.as_image

    def as_image(source: Any, form: str) -> CvcudaTensor:
        tensor: CvcudaTensor = fresh(source, form)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(tensor.owner))
        return tensor

    cvcuda.as_image = as_image


# -- tensors of CV-CUDA's own


@STAGE.fault("claim.flat-copy")
def rows_are_padded(found: Partners) -> None:
    """The rows of a new CV-CUDA tensor are one pixel longer than its shape says."""

    def tensor(shape: tuple[int, ...], kind: str, layout: str = "none") -> CvcudaTensor:
        return CvcudaTensor(memory.zeros((shape[0], shape[1] + 1, *shape[2:]), kind)[:, : shape[1]], layout)

    _module(found, "cvcuda").Tensor = tensor


@STAGE.fault("claim.flat-copy")
def dimensions_lie_backwards(found: Partners) -> None:
    """The last dimension of a new CV-CUDA tensor is the slowest: channel by channel, not pixel by pixel."""

    def tensor(shape: tuple[int, ...], kind: str, layout: str = "none") -> CvcudaTensor:
        return CvcudaTensor(memory.zeros(shape[::-1], kind).T, layout)

    _module(found, "cvcuda").Tensor = tensor


@STAGE.fault(
    "claim.tensor-as-buffer",
    "claim.cupy-views-tensor",
    "claim.gpuarray-on-tensor",
    "claim.numpy-by-cuda-python",
    "claim.numpy-by-torch",
    "claim.tensor-to-torch",
)
def cuda_gives_a_copy(found: Partners) -> None:
    """Each call of a CV-CUDA tensor's ``cuda()`` gives another copy of its elements."""
    kept: list[Any] = []

    def cuda(tensor: CvcudaTensor) -> Array:
        kept.append(memory.copied(tensor.host))
        return Array(kept[-1])

    CvcudaTensor.cuda = cuda  # type: ignore[assignment, method-assign]


# -- cupy.asarray and cupy.asnumpy


@STAGE.fault("claim.cupy-views-tensor", "claim.buffer-accepted")
def asarray_copies(found: Partners) -> None:
    """``cupy.asarray`` copies what it should view."""
    cupy = _module(found, "cupy")
    view = cupy.asarray
    cupy.asarray = lambda source: Array(memory.copied(view(source).host))


@STAGE.fault("claim.cupy-round-trip", "claim.numpy-to-cupy", "claim.numpy-by-cupy")
def asarray_changes_a_byte(found: Partners) -> None:
    """``cupy.asarray`` changes the first byte of what it takes."""
    cupy = _module(found, "cupy")
    right = cupy.asarray

    def asarray(source: Any) -> Array:
        host = memory.copied(right(source).host)
        if host.size:
            ctypes.c_uint8.from_address(host.ctypes.data).value += 1
        return Array(host)

    cupy.asarray = asarray


@STAGE.fault("claim.cupy-views-tensor", "claim.cupy-round-trip", "claim.numpy-to-cupy", "claim.numpy-by-cupy")
def asarray_raises(found: Partners) -> None:
    """``cupy.asarray`` takes nothing, not even what the pages show."""
    _module(found, "cupy").asarray = _raising


@STAGE.fault("claim.numpy-to-cupy")
def asarray_turns_columns_to_rows(found: Partners) -> None:
    """``cupy.asarray`` of a NumPy array in Fortran order is in C order."""
    cupy = _module(found, "cupy")
    right = cupy.asarray

    def asarray(source: Any) -> Array:
        array: Array = right(source)
        return array if array.owner is source else Array(array.host.copy(order="C"))

    cupy.asarray = asarray


@STAGE.fault("claim.cupy-views-tensor", "claim.cupy-round-trip")
def asarray_flattens(found: Partners) -> None:
    """``cupy.asarray`` of what has the array interface forgets all dimensions but one."""
    cupy = _module(found, "cupy")
    right = cupy.asarray

    def asarray(source: Any) -> Array:
        array: Array = right(source)
        return Array(array.host.reshape(-1), owner=source) if array.owner is source else array

    cupy.asarray = asarray


@STAGE.fault("claim.numpy-to-cupy", "claim.numpy-by-cupy")
def asnumpy_widens(found: Partners) -> None:
    """``cupy.asnumpy`` gives double-precision numbers, whatever the array has."""
    _module(found, "cupy").asnumpy = lambda array: array.host.astype("float64")


@STAGE.fault("claim.import-owns-nothing")
def imports_free(found: Partners) -> None:
    """The end of a CuPy array frees memory that it was only shown."""
    cupy, runtime = _module(found, "cupy"), _module(found, "cuda_python")

    class Freeing(Array):
        def __del__(self) -> None:
            runtime.cudaFree(self.host.ctypes.data)

    real = cupy.asarray

    def asarray(source: Any) -> Array:
        return Freeing(real(source).host) if isinstance(source, DeviceBuffer) else real(source)

    cupy.asarray = asarray


@STAGE.fault("claim.import-owns-nothing")
def imports_go_on(found: Partners) -> None:
    """Memory that PyTorch was shown goes on being written by it when the tensor is gone: what is copied there next is lost."""
    torch, runtime = _module(found, "torch"), _module(found, "cuda_python")
    gone: list[int] = []
    copy = runtime.cudaMemcpy

    class Ending(Tensor):
        def __del__(self) -> None:
            gone.append(self.data_ptr())

    def overwritten(to: int, source: int, nbytes: int, kind: int) -> Any:
        done = copy(to, source, nbytes, kind)
        if to in gone:
            ctypes.memset(to, 0, nbytes)
        return done

    torch.kind, runtime.cudaMemcpy = Ending, overwritten


# -- PyTorch


@STAGE.fault("claim.from-numpy-shares")
def from_numpy_copies(found: Partners) -> None:
    """``torch.from_numpy`` copies what it should share."""
    _module(found, "torch").from_numpy = lambda array: Tensor(memory.copied(array), gpu=False)


@STAGE.fault("claim.from-numpy-shares")
def from_numpy_forgets_strides(found: Partners) -> None:
    """``torch.from_numpy`` takes every array for a packed one."""
    _module(found, "torch").from_numpy = lambda array: Tensor(
        memory.at(array.ctypes.data, array.shape, array.dtype.str), gpu=False, owner=array
    )


@STAGE.fault("claim.from-numpy-shares", "claim.numpy-by-torch")
def from_numpy_raises(found: Partners) -> None:
    """``torch.from_numpy`` takes nothing, not even what the pages show."""
    _module(found, "torch").from_numpy = _raising


@STAGE.fault("claim.tensor-to-torch", "claim.as-tensor-without-device", bugs="device-06 device-19")
def torch_moves_to_the_host(found: Partners) -> None:
    """``torch.as_tensor`` makes a tensor on the CPU where no device is named."""
    _module(found, "torch").as_tensor = lambda source: Tensor(memory.copied(memory.told(source)), gpu=False)


@STAGE.fault("claim.as-tensor-without-device")
def torch_takes_the_gpu_for_the_host(found: Partners) -> None:
    """``torch.as_tensor`` makes a tensor on the right memory, and says that it is the CPU's."""
    _module(found, "torch").as_tensor = lambda source: Tensor(memory.told(source), gpu=False, owner=source)


@STAGE.fault("claim.tensor-to-torch", "claim.as-tensor-without-device")
def torch_copies(found: Partners) -> None:
    """``torch.as_tensor`` copies on the GPU what it should share."""
    _module(found, "torch").as_tensor = lambda source: Tensor(memory.copied(memory.told(source)))


@STAGE.fault("claim.tensor-to-torch")
def clones_share(found: Partners) -> None:
    """A PyTorch tensor's ``clone()`` is on the tensor's own memory."""

    class Sharing(Tensor):
        def clone(self) -> Tensor:
            return self

    _module(found, "torch").kind = Sharing


@STAGE.fault("claim.numpy-by-torch", "claim.cpu-tensor-refused")
def moves_lose_the_elements(found: Partners) -> None:
    """A PyTorch tensor's ``cuda()`` has zeros in the place of its elements."""

    class Losing(Tensor):
        def cuda(self) -> Tensor:
            return Tensor(memory.zeros(self.shape, self.dtype))

    _module(found, "torch").kind = Losing


# -- PyCUDA


@STAGE.fault("claim.numpy-by-pycuda")
def to_gpu_loses_the_elements(found: Partners) -> None:
    """``pycuda.gpuarray.to_gpu`` brings zeros to the GPU."""
    gpuarray = _module(found, "pycuda").gpuarray
    gpuarray.to_gpu = lambda array: gpuarray.GPUArray(array.shape, array.dtype)


@STAGE.fault("claim.gpuarray-on-tensor")
def gpuarray_copies(found: Partners) -> None:
    """``GPUArray`` copies what it is built on."""
    gpuarray = _module(found, "pycuda").gpuarray
    shared = gpuarray.GPUArray
    gpuarray.GPUArray = lambda *given, **named: Array(memory.copied(shared(*given, **named).host))


@STAGE.fault("claim.numpy-by-pycuda", "claim.gpuarray-on-tensor")
def gpuarray_transposes(found: Partners) -> None:
    """``GPUArray`` has the dimensions of what it is built on backwards."""

    class Transposed(GPUArray):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.host = self.host.T

    _module(found, "pycuda").gpuarray.GPUArray = Transposed


@STAGE.fault("claim.numpy-by-pycuda", "claim.gpuarray-on-tensor")
def gpuarray_raises(found: Partners) -> None:
    """``GPUArray`` cannot be built on a pointer."""
    _module(found, "pycuda").gpuarray.GPUArray = _raising


# -- CUDA Python


@STAGE.fault(
    "claim.numpy-by-cuda-python",
    "claim.buffer-accepted",
    "claim.import-owns-nothing",
    "claim.wrapper-owns-nothing",
    "claim.tensor-as-buffer",
)
def memcpy_fails(found: Partners) -> None:
    """``cudaMemcpy`` returns an error."""
    _module(found, "cuda_python").cudaMemcpy = lambda *_: (1,)


@STAGE.fault(
    "claim.numpy-by-cuda-python",
    "claim.buffer-accepted",
    "claim.import-owns-nothing",
    "claim.wrapper-owns-nothing",
    "claim.tensor-as-buffer",
)
def memcpy_does_nothing(found: Partners) -> None:
    """``cudaMemcpy`` copies nothing, and says that all is well."""
    _module(found, "cuda_python").cudaMemcpy = lambda *_: (0,)


@STAGE.fault("claim.numpy-by-cuda-python", "claim.tensor-as-buffer", "claim.wrapper-owns-nothing")
def memcpy_stops_early(found: Partners) -> None:
    """``cudaMemcpy`` leaves out the last byte."""
    runtime = _module(found, "cuda_python")
    whole = runtime.cudaMemcpy
    runtime.cudaMemcpy = lambda to, source, nbytes, kind: whole(to, source, nbytes - 1, kind)


@STAGE.fault("claim.wrapper-owns-nothing")
def interfaces_lead_to_old_elements(found: Partners) -> None:
    """The array interface of CuPy tells a place where the elements were once."""
    kept: list[Any] = []

    class Stale(Array):
        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            kept.append(memory.zeros(self.shape, self.dtype))
            return memory.interface(kept[-1])

    cupy = found["cupy"]
    made = cupy.exporter
    cupy.exporter = lambda array, protocol: Stale(made(array, protocol).host)  # type: ignore[method-assign]


@STAGE.fault("claim.wrapper-owns-nothing")
def wrappers_free(found: Partners) -> None:
    """A buffer of CUDA Python frees its memory when it ends, also if that is somebody else's.

    The small class around ``cudaMalloc`` is the pages', and the checks bring it themselves, so it is the one that is changed.
    """

    def free(self: DeviceBuffer) -> int:
        ctypes.memset(self.address, 0xDD, self.nbytes)
        return 0

    DeviceBuffer.free = free  # type: ignore[method-assign]
