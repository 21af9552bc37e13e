"""Expressions by library: create an array, export it, import one, and read its address and elements, as users write them."""

from __future__ import annotations

from conformance.checks.catalogue import Case
from conformance.checks.layouts import Layout
from conformance.protocols.strided import Broadcast, Index, Step, Transpose, offsets

BY_DLPACK = '''
class Shown:
    """Shows an array by DLPack and by nothing else."""

    def __init__(self, array):
        self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__
'''
BY_CAI = '''
class Shown:
    """Shows an array by the CUDA Array Interface and by nothing else."""

    def __init__(self, array):
        self.owner, self.__cuda_array_interface__ = array, array.__cuda_array_interface__
'''


def made(library: str, form: Layout, dtype: str, device: str) -> str | None:
    """Return an expression for a view of a counting array; ``None`` if the library cannot make it."""
    count = form.elements
    if library == "torch":
        place = "cuda" if device == "cuda" else "cpu"
        base = f'torch.arange({count}, device="{place}").to(torch.{dtype})'
    elif library == "jax":
        base = f'jax.numpy.arange({count}).astype("{dtype}")'
    elif library in ("numpy", "cupy"):
        base = f'{library}.arange({count}).astype("{dtype}")'
    elif library == "pycuda":
        base = f'pycuda.gpuarray.to_gpu(numpy.arange({count}).astype("{dtype}").reshape{form.base!r})'
        return base + "".join(map(_index, form.steps)) if all(isinstance(s, Index) for s in form.steps) else None
    else:
        return None
    if library == "jax" and form.steps:
        return None
    if library == "numpy" and any(isinstance(step, Broadcast) for step in form.steps):
        return None  # NumPy's broadcast arrays are read-only
    text = f"{base}.reshape{form.base!r}" if len(form.base) != 1 else base
    for step in form.steps:
        text = _stepped(library, text, step)
    return text


def with_numpy(case: Case) -> tuple[str, ...]:
    """Return NumPy if the producer's array is made with it."""
    return ("numpy",) if case.producer in ("pycuda", "cuda_python") else ()


def _stepped(library: str, text: str, step: Step) -> str:
    if isinstance(step, Index):
        return text + _index(step)
    if isinstance(step, Transpose):
        return f"{text}.{'permute' if library == 'torch' else 'transpose'}{step.axes!r}"
    assert isinstance(step, Broadcast)
    return f"{text}.expand{step.shape!r}" if library == "torch" else f"{library}.broadcast_to({text}, {step.shape!r})"


def _index(step: Step) -> str:
    assert isinstance(step, Index)
    return f"[{', '.join(_key(key) for key in step.keys)}]"


def _key(key: slice | int) -> str:
    if isinstance(key, int):
        return str(key)
    parts = ["" if part is None else str(part) for part in (key.start, key.stop)]
    return ":".join(parts) + ("" if key.step is None else f":{key.step}")


def counted(form: Layout) -> list[int]:
    """Return the elements of such an array in row-major order."""
    return list(offsets(form.view))


def taken(library: str, protocol: str, what: str) -> str | None:
    """Return an expression for the import of ``what``; ``None`` if the pair of library and protocol is not covered."""
    calls = {
        ("numpy", "dlpack"): "numpy.from_dlpack({})",
        ("torch", "dlpack"): "torch.from_dlpack({})",
        ("jax", "dlpack"): "jax.dlpack.from_dlpack({})",
        ("cupy", "dlpack"): "cupy.from_dlpack({})",
        ("cvcuda", "dlpack"): "cvcuda.as_tensor({})",
        ("torch", "cai"): 'torch.as_tensor({}, device="cuda")',
        ("cupy", "cai"): "cupy.asarray({})",
        ("cvcuda", "cai"): "cvcuda.as_tensor({})",
    }
    call = calls.get((library, protocol))
    return call.format(what) if call else None


ADDRESS = {
    "numpy": "{}.ctypes.data",
    "torch": "{}.data_ptr()",
    "jax": "{}.unsafe_buffer_pointer()",
    "cupy": "{}.data.ptr",
    "cvcuda": '{}.cuda().__cuda_array_interface__["data"][0]',
}
"""Expressions for the address of element 0."""

VALUES = {
    "numpy": "{}.ravel().tolist()",
    "torch": "{}.cpu().flatten().tolist()",
    "jax": "jax.numpy.ravel({}).tolist()",
    "cupy": "{}.ravel().tolist()",
}
"""Expressions for the elements in row-major order."""
