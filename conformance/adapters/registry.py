"""Which adapters there are: ours by name, and those that other packages announce."""

from __future__ import annotations

import importlib
from importlib import metadata

from .base import Adapter

_OURS = {
    "reference": "conformance.adapters.reference:ReferenceAdapter",
    "numpy": "conformance.adapters.numpy:NumpyAdapter",
    "torch": "conformance.adapters.torch:TorchAdapter",
    "jax": "conformance.adapters.jax:JaxAdapter",
    "cupy": "conformance.adapters.cupy:CupyAdapter",
    "cvcuda": "conformance.adapters.cvcuda:CvcudaAdapter",
    "pycuda": "conformance.adapters.pycuda:PycudaAdapter",
    "cuda_python": "conformance.adapters.cuda_python:CudaPythonAdapter",
}
ENTRY_POINTS = "cuda_interop_conformance.adapters"


def names() -> tuple[str, ...]:
    """Every adapter's name, ours first, in the order of tables and plans."""
    return (*_OURS, *sorted(_announced()))


def create(name: str) -> Adapter:
    """A new adapter; its library is not imported yet. ``KeyError`` for an unknown name."""
    target = _OURS.get(name) or _announced()[name]
    module, _, attribute = target.partition(":")
    made: Adapter = getattr(importlib.import_module(module), attribute)()
    return made


def _announced() -> dict[str, str]:
    found = metadata.entry_points(group=ENTRY_POINTS)
    return {point.name: point.value for point in found if point.name not in _OURS}
