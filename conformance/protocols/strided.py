"""Shape, strides and offset of a view, and the operations that create one view from another.

All numbers count **elements**, not bytes. The suite computes the result of a slice, a transposition or a broadcast here, and never asks a
library for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Union


@dataclass(frozen=True)
class Strided:
    """A view of a block: ``shape`` and ``strides`` of each dimension, and the ``offset`` of element 0."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements, which may share addresses."""
        return prod(self.shape)

    @property
    def contiguous(self) -> bool:
        """``True`` if the view is C-contiguous. Strides of extents 0 and 1 are ignored (CAI-13)."""
        return same_strides(self.shape, self.strides, c_strides(self.shape))


@dataclass(frozen=True)
class Index:
    """NumPy's basic indexing: one slice or integer for each leading dimension."""

    keys: tuple[Union[slice, int], ...]

    @property
    def negative(self) -> bool:
        """``True`` if a step is negative, which some libraries do not support."""
        return any(isinstance(k, slice) and (k.step or 1) < 0 for k in self.keys)


@dataclass(frozen=True)
class Transpose:
    """Permute the dimensions."""

    axes: tuple[int, ...]


@dataclass(frozen=True)
class Broadcast:
    """Repeat extents of 1 without copying: their stride becomes 0."""

    shape: tuple[int, ...]


Step = Union[Index, Transpose, Broadcast]


@lru_cache(maxsize=4096)
def c_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the row-major strides of a packed array, in elements."""
    strides: list[int] = []
    step = 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


def packed(shape: tuple[int, ...]) -> Strided:
    """Return the packed, row-major view of a whole block."""
    return Strided(shape, c_strides(shape))


def same_strides(shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Return ``True`` if two tuples of strides address the same elements. Strides of extents below 2 are ignored (I04, I05)."""
    if not len(shape) == len(a) == len(b):
        return False
    if 0 in shape:
        return True
    return all(x == y for extent, x, y in zip(shape, a, b) if extent > 1)


def apply(view: Strided, step: Step) -> Strided:
    """Return the view that ``step`` creates from ``view``."""
    if isinstance(step, Index):
        return _index(view, step)
    if isinstance(step, Transpose):
        return Strided(tuple(view.shape[a] for a in step.axes), tuple(view.strides[a] for a in step.axes), view.offset)
    return _broadcast(view, step)


def _index(view: Strided, step: Index) -> Strided:
    shape: list[int] = []
    strides: list[int] = []
    offset = view.offset
    for axis, (extent, stride) in enumerate(zip(view.shape, view.strides)):
        key = step.keys[axis] if axis < len(step.keys) else slice(None)
        if isinstance(key, int):
            offset += (key % extent) * stride
            continue
        start, stop, jump = key.indices(extent)
        length = len(range(start, stop, jump))
        offset += start * stride if length else 0
        shape.append(length)
        strides.append(stride * jump)
    return Strided(tuple(shape), tuple(strides), offset)


def _broadcast(view: Strided, step: Broadcast) -> Strided:
    lead = len(step.shape) - view.ndim
    kept = zip(view.shape, step.shape[lead:], view.strides)
    strides = (0,) * lead + tuple(0 if old == 1 and new != 1 else stride for old, new, stride in kept)
    return Strided(step.shape, strides, view.offset)


def offsets(view: Strided) -> Iterator[int]:
    """Yield the offset of every element in row-major order, in elements."""
    for point in product(*(range(extent) for extent in view.shape)):
        yield view.offset + sum(i * s for i, s in zip(point, view.strides))


def span(view: Strided) -> tuple[int, int]:
    """Return the lowest element offset and one past the highest. Both are the view's offset if it is empty."""
    if view.size == 0:
        return view.offset, view.offset
    low = view.offset + sum(min(0, (n - 1) * s) for n, s in zip(view.shape, view.strides))
    high = view.offset + sum(max(0, (n - 1) * s) for n, s in zip(view.shape, view.strides))
    return low, high + 1


def gather(block: bytes, view: Strided, itemsize: int) -> bytes:
    """Return the bytes of the view's elements in row-major order, from the bytes of the block."""
    strides = tuple(stride * itemsize for stride in view.strides)
    return gather_by_bytes(block, Strided(view.shape, strides, view.offset * itemsize), itemsize)


def gather_by_bytes(block: bytes, view: Strided, itemsize: int) -> bytes:
    """Like :func:`gather`, for a view with strides and offset in bytes.

    Slices copy the longest axis at once, for each byte of an element, so a large array costs no more than a copy of it. The results for the
    latest small blocks are cached, because an exchange reads the same elements several times.
    """
    return (_gathered if len(block) <= _SMALL else _gather_by_bytes)(block, view, itemsize)


_SMALL = 1 << 14
"""The size in bytes up to which a block is small."""


def _gather_by_bytes(block: bytes, view: Strided, itemsize: int) -> bytes:
    if not view.size:
        return b""
    if not view.shape:
        return block[view.offset : view.offset + itemsize]
    axis = max(range(view.ndim), key=view.shape.__getitem__)
    extent, step, into = view.shape[axis], view.strides[axis], c_strides(view.shape)[axis] * itemsize
    others = [n for n in range(view.ndim) if n != axis]
    here = Strided(tuple(view.shape[n] for n in others), tuple(view.strides[n] for n in others), view.offset)
    there = Strided(here.shape, tuple(c_strides(view.shape)[n] * itemsize for n in others))
    found = bytearray(view.size * itemsize)
    for at, to in zip(offsets(here), offsets(there)):
        if step == into == itemsize:
            found[to : to + extent * itemsize] = block[at : at + extent * itemsize]
            continue
        for byte in range(itemsize):
            found[to + byte : to + (extent - 1) * into + byte + 1 : into] = _every(block, at + byte, extent, step)
    return bytes(found)


_gathered = lru_cache(maxsize=256)(_gather_by_bytes)


def _every(block: bytes, first: int, count: int, step: int) -> bytes:
    """Return ``count`` bytes of the block that are ``step`` bytes apart."""
    if not step:
        return block[first : first + 1] * count
    last = first + (count - 1) * step
    end = last + (1 if step > 0 else -1)
    return block[first : end if end >= 0 else None : step]


def scatter_by_bytes(block: bytearray, view: Strided, itemsize: int, data: bytes) -> None:
    """Write elements in row-major order into the block, through a view with strides and offset in bytes.

    Slices write the longest axis at once, as in :func:`gather_by_bytes`. If elements share an address, the last one remains.
    """
    if not view.size:
        return
    if not view.shape:
        block[view.offset : view.offset + itemsize] = data
        return
    axis = max(range(view.ndim), key=view.shape.__getitem__)
    extent, step, taken = view.shape[axis], view.strides[axis], c_strides(view.shape)[axis] * itemsize
    others = [n for n in range(view.ndim) if n != axis]
    into = Strided(tuple(view.shape[n] for n in others), tuple(view.strides[n] for n in others), view.offset)
    here = Strided(into.shape, tuple(c_strides(view.shape)[n] * itemsize for n in others))
    for to, at in zip(offsets(into), offsets(here)):
        if step == taken == itemsize:
            block[to : to + extent * itemsize] = data[at : at + extent * itemsize]
            continue
        for byte in range(itemsize):
            column = data[at + byte : at + (extent - 1) * taken + byte + 1 : taken]
            if step:
                end = to + byte + extent * step
                block[to + byte : end if end >= 0 else None : step] = column
            else:
                block[to + byte] = column[-1]
