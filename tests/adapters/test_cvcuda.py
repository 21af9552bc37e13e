"""CV-CUDA's adapter, with a stand-in for the library."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from conformance.adapters.base import Device, Unsupported
from conformance.adapters.cvcuda import CvcudaAdapter
from conformance.protocols.dtypes import dtype

FLOAT = dtype("float32")


class Tensor:
    """One whose strides are products of the extents behind them, 0 too, or one with rows of at least 32 bytes."""

    row = 0

    def __init__(self, shape: tuple[int, ...], kind: Any, rowalign: int = 0) -> None:
        strides, step = [], 4
        for extent in reversed(shape):
            strides.append(step)
            step = max(step * extent, self.row)
        self.__cuda_array_interface__ = {
            "shape": shape, "typestr": "<f4", "data": (0, False), "strides": tuple(reversed(strides)),
        }  # fmt: skip

    def cuda(self) -> Tensor:
        """Itself."""
        return self

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


class Padding(Tensor):
    """Pads its rows."""

    row = 32


def adapter(kind: type[Tensor]) -> CvcudaAdapter:
    """With a library that has such tensors."""
    found = CvcudaAdapter()
    found.cvcuda = SimpleNamespace(Tensor=kind, Type=SimpleNamespace(F32="F32"))
    return found


@pytest.mark.parametrize("shape", [(3, 0), (2, 0, 4), (0, 3), (3, 4)])
def test_strides_without_elements_are_no_padding(shape: tuple[int, ...]) -> None:
    """No step is ever taken (I04)."""
    adapter(Tensor).empty(FLOAT, shape, Device.CUDA)


def test_padded_rows_are_described() -> None:
    """The library then makes no packed array."""
    with pytest.raises(Unsupported, match="pads"):
        adapter(Padding).empty(FLOAT, (3, 4), Device.CUDA)
