"""Simulated PyTorch."""

from __future__ import annotations

from typing import Any

from . import memory
from .array import Array


class Tensor(Array):
    """A tensor on the GPU or on the CPU."""

    def cuda(self) -> Tensor:
        return type(self)(memory.copied(self.host))

    def cpu(self) -> Tensor:
        return type(self)(memory.copied(self.host), gpu=False)

    def clone(self) -> Tensor:
        return type(self)(memory.copied(self.host), gpu=self.gpu)

    def numpy(self) -> Any:
        return self.host

    def data_ptr(self) -> int:
        return int(self.host.ctypes.data)


class Torch:
    """The module ``torch``. ``kind`` is the class of its tensors."""

    kind = Tensor

    def from_numpy(self, array: Any) -> Tensor:
        return self.kind(array, gpu=False, owner=array)

    def as_tensor(self, source: Any) -> Tensor:
        return self.kind(memory.told(source), owner=source)
