"""Stage ``claims``: simulated libraries with the calls that the documentation pages show. Each fault breaks one call."""

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
"""Invariants that other stages test, because they concern no arrays."""


def _cases(environment: Environment) -> Iterator[Case]:
    chosen = (i.id for i in catalogue().values() if i.family == "claim" and i.id not in _ELSEWHERE)
    return shared(planned(libraries.environment(), *chosen))


STAGE = Stage(
    "claims",
    "simulated libraries on host memory, with the calls that the documentation pages show",
    libraries.libraries,
    _cases,
    absent=memory.absent,
    preload=("numpy",),
)


def _module(found: Partners, name: str) -> Any:
    """Return a simulated module. Setting one of its attributes replaces a call."""
    return found[name].module()


def _raising(*arguments: Any, **keywords: Any) -> Any:
    raise RuntimeError("unspecified failure")


# cvcuda.as_tensor and cvcuda.as_image


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
    """Copies in ``cvcuda.as_tensor`` in place of sharing."""
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
    """Raises in ``cvcuda.as_tensor`` for every array."""
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
    """Imports every element type as a signed integer of the same size in ``cvcuda.as_tensor``, as CV-CUDA 0.19 does for bool."""
    cvcuda = _module(found, "cvcuda")
    right = cvcuda.as_tensor

    def as_tensor(source: Any, layout: str = "none") -> CvcudaTensor:
        host = right(source).host
        return CvcudaTensor(host.view(f"i{host.itemsize}"), layout, source)

    cvcuda.as_tensor = as_tensor


@STAGE.fault("claim.cupy-converts", "claim.torch-shares", "claim.gpuarray-converts")
def as_tensor_forgets_strides(found: Partners) -> None:
    """Imports every array as packed in ``cvcuda.as_tensor``."""

    def as_tensor(source: Any, layout: str = "none") -> CvcudaTensor:
        described = source.__cuda_array_interface__
        return CvcudaTensor(memory.at(described["data"][0], described["shape"], described["typestr"]), layout, source)

    _module(found, "cvcuda").as_tensor = as_tensor


@STAGE.fault("claim.cupy-on-gpu", "claim.cupy-converts", "claim.buffer-accepted", "claim.named-layout")
def as_tensor_begins_one_element_late(found: Partners) -> None:
    """Adds an offset of one element in ``cvcuda.as_tensor``."""
    cvcuda = _module(found, "cvcuda")
    right = cvcuda.as_tensor

    def as_tensor(source: Any, layout: str = "none") -> CvcudaTensor:
        host = right(source).host
        return CvcudaTensor(memory.at(host.ctypes.data + host.itemsize, host.shape, host.dtype.str), layout, source)

    cvcuda.as_tensor = as_tensor


@STAGE.fault("claim.numpy-refused", "claim.cpu-tensor-refused", bugs="device-07")
def as_tensor_takes_addresses_of_the_host(found: Partners) -> None:
    """Accepts a host address in ``cvcuda.as_tensor`` as a GPU address."""
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
    """Refuses a host array in ``cvcuda.as_tensor`` with ``KeyError``."""
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
    """Ignores the layout that is passed to ``cvcuda.as_tensor``."""
    cvcuda = _module(found, "cvcuda")
    right = cvcuda.as_tensor
    cvcuda.as_tensor = lambda source, layout="none": right(source)


@STAGE.fault("claim.wrapped-is-released", bugs="lifetime-17 lifetime-19")
def wrappers_are_cached(found: Partners) -> None:
    """Keeps wrapped arrays in CV-CUDA's cache until the cache is cleared."""
    cvcuda = _module(found, "cvcuda")
    fresh, cache = cvcuda.as_tensor, list[CvcudaTensor]()

    def as_tensor(source: Any, layout: str = "none") -> CvcudaTensor:
        cache.append(fresh(source, layout))
        return cache[-1]

    cvcuda.as_tensor, cvcuda.clear_cache = as_tensor, cache.clear


@STAGE.fault("claim.wrapped-is-released", bugs="lifetime-20")
def images_are_never_let_go(found: Partners) -> None:
    """Takes a reference to the array in ``cvcuda.as_image`` and never releases it."""
    cvcuda = _module(found, "cvcuda")
    fresh = cvcuda.as_image

    def as_image(source: Any, form: str) -> CvcudaTensor:
        tensor: CvcudaTensor = fresh(source, form)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(tensor.owner))
        return tensor

    cvcuda.as_image = as_image


# CV-CUDA's own tensors


@STAGE.fault("claim.flat-copy")
def rows_are_padded(found: Partners) -> None:
    """Pads the rows of a new CV-CUDA tensor by one pixel."""

    def tensor(shape: tuple[int, ...], kind: str, layout: str = "none") -> CvcudaTensor:
        return CvcudaTensor(memory.zeros((shape[0], shape[1] + 1, *shape[2:]), kind)[:, : shape[1]], layout)

    _module(found, "cvcuda").Tensor = tensor


@STAGE.fault("claim.flat-copy")
def dimensions_lie_backwards(found: Partners) -> None:
    """Creates a CV-CUDA tensor in column-major order."""

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
    """Returns a new copy from each call of a CV-CUDA tensor's ``cuda()``."""
    kept: list[Any] = []

    def cuda(tensor: CvcudaTensor) -> Array:
        kept.append(memory.copied(tensor.host))
        return Array(kept[-1])

    CvcudaTensor.cuda = cuda  # type: ignore[assignment, method-assign]


# cupy.asarray and cupy.asnumpy


@STAGE.fault("claim.cupy-views-tensor", "claim.buffer-accepted")
def asarray_copies(found: Partners) -> None:
    """Copies in ``cupy.asarray`` in place of sharing."""
    cupy = _module(found, "cupy")
    view = cupy.asarray
    cupy.asarray = lambda source: Array(memory.copied(view(source).host))


@STAGE.fault("claim.cupy-round-trip", "claim.numpy-to-cupy", "claim.numpy-by-cupy")
def asarray_changes_a_byte(found: Partners) -> None:
    """Changes the first byte of the array in ``cupy.asarray``."""
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
    """Raises in ``cupy.asarray`` for every array."""
    _module(found, "cupy").asarray = _raising


@STAGE.fault("claim.numpy-to-cupy")
def asarray_turns_columns_to_rows(found: Partners) -> None:
    """Converts a NumPy array in Fortran order to C order in ``cupy.asarray``."""
    cupy = _module(found, "cupy")
    right = cupy.asarray

    def asarray(source: Any) -> Array:
        array: Array = right(source)
        return array if array.owner is source else Array(array.host.copy(order="C"))

    cupy.asarray = asarray


@STAGE.fault("claim.cupy-views-tensor", "claim.cupy-round-trip")
def asarray_flattens(found: Partners) -> None:
    """Flattens an array with the array interface in ``cupy.asarray``."""
    cupy = _module(found, "cupy")
    right = cupy.asarray

    def asarray(source: Any) -> Array:
        array: Array = right(source)
        return Array(array.host.reshape(-1), owner=source) if array.owner is source else array

    cupy.asarray = asarray


@STAGE.fault("claim.numpy-to-cupy", "claim.numpy-by-cupy")
def asnumpy_widens(found: Partners) -> None:
    """Returns float64 from ``cupy.asnumpy``, whatever the element type."""
    _module(found, "cupy").asnumpy = lambda array: array.host.astype("float64")


@STAGE.fault("claim.import-owns-nothing")
def imports_free(found: Partners) -> None:
    """Frees the memory of another library when a CuPy array dies."""
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
    """Writes to shared memory after the PyTorch tensor on it has died."""
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


# PyTorch


@STAGE.fault("claim.from-numpy-shares")
def from_numpy_copies(found: Partners) -> None:
    """Copies in ``torch.from_numpy`` in place of sharing."""
    _module(found, "torch").from_numpy = lambda array: Tensor(memory.copied(array), gpu=False)


@STAGE.fault("claim.from-numpy-shares")
def from_numpy_forgets_strides(found: Partners) -> None:
    """Imports every array as packed in ``torch.from_numpy``."""
    _module(found, "torch").from_numpy = lambda array: Tensor(
        memory.at(array.ctypes.data, array.shape, array.dtype.str), gpu=False, owner=array
    )


@STAGE.fault("claim.from-numpy-shares", "claim.numpy-by-torch")
def from_numpy_raises(found: Partners) -> None:
    """Raises in ``torch.from_numpy`` for every array."""
    _module(found, "torch").from_numpy = _raising


@STAGE.fault("claim.tensor-to-torch", "claim.as-tensor-without-device", bugs="device-06 device-19")
def torch_moves_to_the_host(found: Partners) -> None:
    """Copies to the CPU in ``torch.as_tensor`` without a device."""
    _module(found, "torch").as_tensor = lambda source: Tensor(memory.copied(memory.told(source)), gpu=False)


@STAGE.fault("claim.as-tensor-without-device")
def torch_takes_the_gpu_for_the_host(found: Partners) -> None:
    """Reports the CPU as the device of a tensor on GPU memory in ``torch.as_tensor``."""
    _module(found, "torch").as_tensor = lambda source: Tensor(memory.told(source), gpu=False, owner=source)


@STAGE.fault("claim.tensor-to-torch", "claim.as-tensor-without-device")
def torch_copies(found: Partners) -> None:
    """Copies on the GPU in ``torch.as_tensor`` in place of sharing."""
    _module(found, "torch").as_tensor = lambda source: Tensor(memory.copied(memory.told(source)))


@STAGE.fault("claim.tensor-to-torch")
def clones_share(found: Partners) -> None:
    """Shares memory in a PyTorch tensor's ``clone()``."""

    class Sharing(Tensor):
        def clone(self) -> Tensor:
            return self

    _module(found, "torch").kind = Sharing


@STAGE.fault("claim.numpy-by-torch", "claim.cpu-tensor-refused")
def moves_lose_the_elements(found: Partners) -> None:
    """Returns zeros from a PyTorch tensor's ``cuda()``."""

    class Losing(Tensor):
        def cuda(self) -> Tensor:
            return Tensor(memory.zeros(self.shape, self.dtype))

    _module(found, "torch").kind = Losing


# PyCUDA


@STAGE.fault("claim.numpy-by-pycuda")
def to_gpu_loses_the_elements(found: Partners) -> None:
    """Copies zeros to the GPU in ``pycuda.gpuarray.to_gpu``."""
    gpuarray = _module(found, "pycuda").gpuarray
    gpuarray.to_gpu = lambda array: gpuarray.GPUArray(array.shape, array.dtype)


@STAGE.fault("claim.gpuarray-on-tensor")
def gpuarray_copies(found: Partners) -> None:
    """Copies in ``GPUArray`` in place of sharing."""
    gpuarray = _module(found, "pycuda").gpuarray
    shared = gpuarray.GPUArray
    gpuarray.GPUArray = lambda *given, **named: Array(memory.copied(shared(*given, **named).host))


@STAGE.fault("claim.numpy-by-pycuda", "claim.gpuarray-on-tensor")
def gpuarray_transposes(found: Partners) -> None:
    """Reverses the dimensions in ``GPUArray``."""

    class Transposed(GPUArray):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self.host = self.host.T

    _module(found, "pycuda").gpuarray.GPUArray = Transposed


@STAGE.fault("claim.numpy-by-pycuda", "claim.gpuarray-on-tensor")
def gpuarray_raises(found: Partners) -> None:
    """Raises when a ``GPUArray`` is built on a pointer."""
    _module(found, "pycuda").gpuarray.GPUArray = _raising


# CUDA Python


@STAGE.fault(
    "claim.numpy-by-cuda-python",
    "claim.buffer-accepted",
    "claim.import-owns-nothing",
    "claim.wrapper-owns-nothing",
    "claim.tensor-as-buffer",
)
def memcpy_fails(found: Partners) -> None:
    """Returns an error from ``cudaMemcpy``."""
    _module(found, "cuda_python").cudaMemcpy = lambda *_: (1,)


@STAGE.fault(
    "claim.numpy-by-cuda-python",
    "claim.buffer-accepted",
    "claim.import-owns-nothing",
    "claim.wrapper-owns-nothing",
    "claim.tensor-as-buffer",
)
def memcpy_does_nothing(found: Partners) -> None:
    """Copies nothing in ``cudaMemcpy`` and returns success."""
    _module(found, "cuda_python").cudaMemcpy = lambda *_: (0,)


@STAGE.fault("claim.numpy-by-cuda-python", "claim.tensor-as-buffer", "claim.wrapper-owns-nothing")
def memcpy_stops_early(found: Partners) -> None:
    """Omits the last byte in ``cudaMemcpy``."""
    runtime = _module(found, "cuda_python")
    whole = runtime.cudaMemcpy
    runtime.cudaMemcpy = lambda to, source, nbytes, kind: whole(to, source, nbytes - 1, kind)


@STAGE.fault("claim.wrapper-owns-nothing")
def interfaces_lead_to_old_elements(found: Partners) -> None:
    """Publishes an outdated address in CuPy's array interface."""
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
    """Frees memory of another owner when a buffer of CUDA Python dies."""
    # The pages define this small class around `cudaMalloc`, and the checks bring it along, so the fault changes it for all.

    def free(self: DeviceBuffer) -> int:
        ctypes.memset(self.address, 0xDD, self.nbytes)
        return 0

    DeviceBuffer.free = free  # type: ignore[method-assign]
