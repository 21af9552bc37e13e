"""Arrays as users make them: by the library's own calls, with the strides and the address that the library chooses.

The other arrays of the suite are made for a check: aligned, filled by the suite, and in a given layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .base import Device

_HOST_AND_CUDA = (Device.HOST, Device.CUDA)


@dataclass(frozen=True)
class Making:
    """One way to create an array of float32.

    ``code`` is an expression of the library's own module, as a user writes it. «device» stands for the library's name of the device.
    ``shape`` is the shape of the array, and ``numbers`` are its elements in row-major order.
    """

    name: str
    code: str
    shape: tuple[int, ...]
    numbers: tuple[float, ...] = ()
    devices: tuple[Device, ...] = _HOST_AND_CUDA

    def written(self, device: Device) -> str:
        """Return the expression for this device."""
        return self.code.replace("«device»", device.value.replace("host", "cpu"))

    def made(self, device: Device, **names: Any) -> Any:
        """Return the array. ``names`` are the names that the expression uses. The library's own exception propagates."""
        return eval(self.written(device), dict(names))


NONE_INSIDE, NO_KEYS = (2, 0, 3), (1, 8, 0, 128)
"""Shapes without elements that occur in practice: an empty batch, and a cache without keys."""


def array_makings(module: str, dtype: str, *, keywords: str = "", immutable: bool = False) -> tuple[Making, ...]:
    """Return the ways of a library with NumPy's calls.

    ``module`` and ``dtype`` are written as in code. ``keywords`` are passed to every call that creates an array.
    """

    def range_(count: int) -> str:
        return f"{module}.arange({count}, dtype={dtype}{keywords})"

    filled = f"{module}.full((2, 3), 7, dtype={dtype}{keywords})"
    empty = (
        f"{module}.zeros({{}}, dtype={dtype}{keywords})"
        if immutable
        else f"{module}.empty({{}}, dtype={dtype}{keywords})"
    )
    return (
        Making("zeros", f"{module}.zeros((3, 4), dtype={dtype}{keywords})", (3, 4), (0.0,) * 12),
        Making("filled", filled, (2, 3), (7.0,) * 6),
        Making("grid", f"{range_(12)}.reshape(3, 4)", (3, 4), tuple(map(float, range(12)))),
        Making("slice", f"{range_(24)}.reshape(4, 6)[1:3, ::2]", (2, 3), (6.0, 8.0, 10.0, 12.0, 14.0, 16.0)),
        Making("mask", f"(lambda x: x[x > 2])({range_(8)})", (5,), (3.0, 4.0, 5.0, 6.0, 7.0)),
        Making("no-rows", f"{range_(12)}.reshape(4, 3)[4:]", (0, 3)),
        Making("none-inside", empty.format(NONE_INSIDE), NONE_INSIDE),
        Making("no-keys", empty.format(NO_KEYS), NO_KEYS),
    )
