"""Make-believe PyTorch."""

from __future__ import annotations

from typing import Any

from . import memory
from .array import Array


class Tensor(Array):
    """A tensor, on the GPU or on the CPU."""

    def cuda(self) -> Tensor:
        """A copy on the GPU."""
        return type(self)(memory.copied(self.host))

    def cpu(self) -> Tensor:
        """A copy on the CPU."""
        return type(self)(memory.copied(self.host), gpu=False)

    def clone(self) -> Tensor:
        """A copy where it is."""
        return type(self)(memory.copied(self.host), gpu=self.gpu)

    def numpy(self) -> Any:
        """The memory itself."""
        return self.host

    def data_ptr(self) -> int:
        """Address of element 0."""
        return int(self.host.ctypes.data)


class Torch:
    """The module. ``kind`` is what its tensors are."""

    kind = Tensor

    def from_numpy(self, array: Any) -> Tensor:
        """On the array's own memory."""
        return self.kind(array, gpu=False, owner=array)

    def as_tensor(self, source: Any) -> Tensor:
        """On the memory of what has the array interface."""
        return self.kind(memory.told(source), owner=source)
