"""Base classes of the simulated libraries' arrays."""

from __future__ import annotations

from typing import Any

from . import memory


class Elements:
    """Elements in a NumPy array. ``owner`` is kept alive."""

    def __init__(self, host: Any, owner: Any = None) -> None:
        self.host = host
        self.owner = owner

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.host.shape)

    @property
    def dtype(self) -> Any:
        return self.host.dtype


class Array(Elements):
    """An array on the simulated GPU, or on the host if ``gpu`` is false."""

    def __init__(self, host: Any, *, gpu: bool = True, owner: Any = None) -> None:
        super().__init__(host, owner)
        self.gpu = gpu

    @property
    def flags(self) -> Any:
        return self.host.flags

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if not self.gpu:
            raise AttributeError("not on the GPU")
        return memory.interface(self.host)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2 if self.gpu else 1, 0)
