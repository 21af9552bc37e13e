"""Simulated CuPy."""

from __future__ import annotations

from typing import Any

from . import memory
from .array import Array


class Cupy:
    """The module ``cupy``."""

    def asarray(self, source: Any) -> Array:
        """Return a view of an object with the array interface, or else a copy on the GPU."""
        if hasattr(source, "__cuda_array_interface__"):
            return Array(memory.told(source), owner=source)
        return Array(memory.copied(source))

    def asnumpy(self, array: Array) -> Any:
        return memory.copied(array.host)
