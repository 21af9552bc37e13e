"""Memory of make-believe GPUs: NumPy arrays, because calls that the pages show give and take such. NumPy is imported late."""

from __future__ import annotations

from math import prod
from types import SimpleNamespace
from typing import Any

from conformance.adapters.numpy import NumpyAdapter
from conformance.protocols import cai


def absent() -> str | None:
    """Why there can be no such memory here."""
    return (
        None
        if NumpyAdapter().versions()
        else "NumPy is not installed, and the make-believe libraries' memory is NumPy's"
    )


def zeros(shape: tuple[int, ...], kind: Any) -> Any:
    """New memory; ``kind`` is a NumPy dtype or its name."""
    import numpy

    return numpy.zeros(shape, kind)


def at(address: int, shape: tuple[int, ...], typestr: str, strides: tuple[int, ...] | None = None) -> Any:
    """Memory that is there already; strides in bytes, ``None`` for packed. Nothing is kept alive."""
    if not prod(shape):
        return zeros(shape, typestr)  # of no elements the address means nothing
    import numpy

    described = {"version": 3, "shape": shape, "typestr": typestr, "data": (address, False), "strides": strides}
    return numpy.asarray(SimpleNamespace(__array_interface__=described))


def told(source: Any) -> Any:
    """The memory that an object's array interface tells."""
    described = source.__cuda_array_interface__
    return at(described["data"][0], described["shape"], described["typestr"], described.get("strides"))


def interface(host: Any) -> dict[str, Any]:
    """The reverse of :func:`told`."""
    strides = None if host.flags.c_contiguous else tuple(host.strides)
    return cai.build(tuple(host.shape), host.dtype.str, host.ctypes.data if host.size else 0, strides=strides)


def copied(host: Any) -> Any:
    """The same elsewhere, in the same order of rows and columns."""
    return host.copy(order="K")
