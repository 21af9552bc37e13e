"""Make-believe PyCUDA."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from . import memory
from .array import Array


class GPUArray(Array):
    """New memory, or with ``gpudata`` a view of memory that is there already."""

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, gpudata: int | None = None, strides: Any = None, base: Any = None
    ) -> None:
        made = memory.zeros(shape, dtype)
        super().__init__(made if gpudata is None else memory.at(gpudata, shape, made.dtype.str, strides), owner=base)

    @property
    def ptr(self) -> int:
        """Address of element 0."""
        return int(self.host.ctypes.data)

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes."""
        return tuple(self.host.strides)

    @property
    def size(self) -> int:
        """Elements in all."""
        return int(self.host.size)

    @property
    def ndim(self) -> int:
        """Dimensions."""
        return int(self.host.ndim)

    def get(self) -> Any:
        """A copy on the host."""
        return memory.copied(self.host)

    def set(self, host: Any) -> None:
        """Overwrite all elements."""
        self.host[...] = host


class Pycuda:
    """The package, with those of its modules that the adapter and the pages use."""

    def __init__(self) -> None:
        self.autoinit: Callable[[], None] = lambda: None
        """What the import of ``pycuda.autoinit`` does: contexts mean nothing on host memory."""
        self.driver = SimpleNamespace(Context=SimpleNamespace(synchronize=lambda: None))
        self.gpuarray = SimpleNamespace(to_gpu=_to_gpu, GPUArray=GPUArray)


def _to_gpu(array: Any) -> GPUArray:
    made = GPUArray(array.shape, array.dtype)
    made.set(array)
    return made
