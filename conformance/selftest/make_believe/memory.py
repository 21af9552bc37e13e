"""Memory of simulated GPUs: NumPy arrays, because the calls of the pages accept and return them. NumPy is imported late."""

from __future__ import annotations

from math import prod
from types import SimpleNamespace
from typing import Any

from conformance.adapters.numpy import NumpyAdapter
from conformance.protocols import cai


def absent() -> str | None:
    """Return the reason why this memory does not exist here, or ``None``."""
    return None if NumpyAdapter().versions() else "NumPy is not installed, and the simulated libraries use its memory"


def zeros(shape: tuple[int, ...], kind: Any) -> Any:
    """Return new memory. ``kind`` is a NumPy dtype or its name."""
    import numpy

    return numpy.zeros(shape, kind)


def at(address: int, shape: tuple[int, ...], typestr: str, strides: tuple[int, ...] | None = None) -> Any:
    """Return an array on existing memory. Strides are in bytes, and ``None`` means packed. No owner is kept alive."""
    if not prod(shape):
        return zeros(shape, typestr)  # the address of an empty array has no meaning
    import numpy

    described = {"version": 3, "shape": shape, "typestr": typestr, "data": (address, False), "strides": strides}
    return numpy.asarray(SimpleNamespace(__array_interface__=described))


def told(source: Any) -> Any:
    """Return an array on the memory of an object's array interface."""
    described = source.__cuda_array_interface__
    return at(described["data"][0], described["shape"], described["typestr"], described.get("strides"))


def interface(host: Any) -> dict[str, Any]:
    """Return the array interface of a NumPy array."""
    strides = None if host.flags.c_contiguous else tuple(host.strides)
    return cai.build(tuple(host.shape), host.dtype.str, host.ctypes.data if host.size else 0, strides=strides)


def copied(host: Any) -> Any:
    """Return a copy with the same order of rows and columns."""
    return host.copy(order="K")
