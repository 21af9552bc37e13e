"""Arrays that share one block of memory: a small package, as an example of a release."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy

__all__ = ["Stripes"]
__version__ = version("stripes")


class Stripes:
    """A view of a one-dimensional block: where it begins in it, its shape, and its strides, in elements."""

    def __init__(
        self, block: numpy.ndarray[Any, Any], offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        self.block = block
        self.offset = offset
        self.shape = shape
        self.strides = strides

    @classmethod
    def empty(cls, shape: tuple[int, ...], dtype: Any) -> Stripes:
        """A block of its own, in row-major order, with undefined content."""
        made = numpy.empty(shape, dtype)
        return cls(made.reshape(-1), 0, shape, tuple(stride // made.itemsize for stride in made.strides))

    def rows(self, which: slice) -> Stripes:
        """Some of the rows, forwards; the memory is the same."""
        chosen = range(self.shape[0])[which]
        if chosen.step < 1:
            raise ValueError("rows go forwards")
        offset = self.offset + chosen.start * self.strides[0]
        return Stripes(
            self.block, offset, (len(chosen), *self.shape[1:]), (chosen.step * self.strides[0], *self.strides[1:])
        )

    def transpose(self, axes: tuple[int, ...]) -> Stripes:
        """Permuted dimensions."""
        shape, strides = (tuple(values[axis] for axis in axes) for values in (self.shape, self.strides))
        return Stripes(self.block, self.offset, shape, strides)

    def numpy(self) -> numpy.ndarray[Any, Any]:
        """The same elements as an array of NumPy's."""
        strides = tuple(stride * self.block.itemsize for stride in self.strides)
        return numpy.lib.stride_tricks.as_strided(self.block[self.offset :], self.shape, strides)

    def __dlpack__(self, **keywords: Any) -> Any:
        """As NumPy exports it."""
        return self.numpy().__dlpack__(**keywords)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Host memory."""
        return (1, 0)
