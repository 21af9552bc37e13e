"""What an adapter is tried with: arrays of which our own arithmetic knows everything, and our own instruments to look at their memory."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

from conformance.adapters.base import Adapter, Device, Trait, Unsupported, View
from conformance.checks.exchange import brief, show
from conformance.checks.layouts import Layout, layout
from conformance.checks.libraries import Side
from conformance.checks.patterns import pattern
from conformance.protocols.dtypes import DType
from conformance.protocols.strided import Strided, c_strides, gather, offsets, same_strides, span
from conformance.reference.memory import CudaMemory, HostMemory, Memory, gather_by_bytes

EITHER = "; the adapter or the library is wrong"
"""Ends a sentence about what a library may do wrong as well as its adapter."""
OTHER = 60
"""The number with which elements begin that have to differ from those that begin with 1."""
SHORT = Layout("short", (3,))
"""What the probe has made of every element type: libraries that compile something for each shape have done so."""
FORMS = {
    SHORT.name: "a short vector",
    "vector": "a vector",
    "c-order": "a packed array",
    "cube": "a packed array of three dimensions",
    "scalar": "an array without dimensions",
    "fortran": "a transposed array",
    "permuted": "an array with permuted dimensions",
    "rows": "a slice of rows",
    "columns": "a slice of columns",
    "stepped": "a slice with steps",
    "stepped-permuted": "a transposed slice with steps",
    "reversed-rows": "an array with reversed rows",
    "broadcast-rows": "an array with repeated rows",
    "scalar-view": "a single element of an array",
}
"""Layouts that are tried, in words."""


class NotSo(Exception):
    """Something that an adapter says, or promises, is not so. The text is a sentence without its full stop, the same in every run."""


@dataclass(frozen=True)
class Bench:
    """An adapter on one device, and the traits that it has in this version."""

    adapter: Adapter
    device: Device
    traits: frozenset[Trait]

    @property
    def memory(self) -> Memory:
        """Our own instrument for the memory of the device."""
        return CudaMemory() if self.device is Device.CUDA else HostMemory()


@dataclass(frozen=True)
class Made:
    """An array, and what has to be so of it.

    ``form`` counts elements from the block's ``start``, an address; ``block`` are the bytes of the whole packed block; ``what`` are words
    for the array.
    """

    what: str
    array: Any
    kind: DType
    form: Strided
    start: int
    block: bytes

    @property
    def address(self) -> int:
        """The address of element 0."""
        return self.start + self.form.offset * self.kind.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        """In bytes."""
        return tuple(stride * self.kind.itemsize for stride in self.form.strides)

    def values(self, block: bytes) -> bytes:
        """The elements in row-major order, if these bytes are the block."""
        return gather(block, self.form, self.kind.itemsize)

    def block_with(self, data: bytes) -> bytes:
        """The block once the elements have these row-major bytes."""
        size, block = self.kind.itemsize, bytearray(self.block)
        for i, offset in enumerate(offsets(self.form)):
            block[offset * size : (offset + 1) * size] = data[i * size : (i + 1) * size]
        return bytes(block)


def usual_layout(side: Side) -> str:
    """The layout of a packed array, for what any array can show: a vector, of a library that has one dimension alone."""
    return "c-order" if "c-order" in side.layouts else "vector"


# -- elements


def elements(kind: DType, count: int, first: int = 1) -> bytes:
    """``count`` numbers from ``first`` on; of a type without readable numbers a pattern.

    None is one of the special values that a library's own operations may change.
    """
    code = _code(kind)
    if code is None:
        return pattern(kind, count, 1000 + first)
    numbers = [part for n in range(first, first + count) for part in ((n, -n) if kind.kind == "c" else (n,))]
    return struct.pack(f"={len(numbers)}{code}", *numbers)


def _code(kind: DType) -> str | None:
    """How :mod:`struct` writes such a number, or each of its two parts."""
    return _CODES.get((kind.kind or "", kind.itemsize))


_CODES = {
    ("i", 1): "b", ("i", 2): "h", ("i", 4): "i", ("i", 8): "q", ("u", 1): "B", ("u", 2): "H", ("u", 4): "I", ("u", 8): "Q",
    ("f", 2): "e", ("f", 4): "f", ("f", 8): "d", ("c", 8): "f", ("c", 16): "d",
}  # fmt: skip
"""By the array interface's letter and the bytes of an element."""
_SHOWN = 8
"""Elements that a sentence shows."""


def told(data: bytes, kind: DType) -> str:
    """The first elements, as numbers where they can be read so."""
    code = _code(kind)
    if code is None or kind.kind == "c" or len(data) % kind.itemsize:
        return show(data, kind)
    numbers = [f"{number:g}" for (number,) in struct.iter_unpack(f"={code}", data)]
    return " ".join(numbers[:_SHOWN]) + (" …" if len(numbers) > _SHOWN else "")


def by_columns(data: bytes, kind: DType, shape: tuple[int, ...]) -> bytes:
    """Row-major elements of an array of this shape, column by column instead."""
    return gather(data, Strided(shape[::-1], c_strides(shape)[::-1]), kind.itemsize)


def from_columns(data: bytes, kind: DType, shape: tuple[int, ...]) -> bytes:
    """The row-major elements of an array that took these column by column."""
    return gather(data, Strided(shape, c_strides(shape[::-1])[::-1]), kind.itemsize)


# -- arrays


def make(bench: Bench, kind: DType, name: str, first: int = 1) -> Made:
    """An array of the layout of this name, of numbers from ``first`` on; where its block starts is what the adapter says."""
    form = SHORT if name == SHORT.name else layout(name)
    block = elements(kind, form.elements, first)
    with answering(f"array() of {kind.name} and shape {form.base}"):
        base = bench.adapter.array(kind, form.base, block, bench.device)
    with answering(f"view() for {FORMS[name]}"):
        array = reduce(bench.adapter.view, form.steps, base)
    start = description(bench, base, f"the block of {FORMS[name]}").address
    return Made(f"{FORMS[name]} of {kind.name}", array, kind, form.view, start, block)


@contextmanager
def answering(what: str) -> Iterator[None]:
    """Inside, an exception is a mistake, save that something is said to be unsupported."""
    try:
        yield
    except (Unsupported, NotSo):
        raise
    except Exception as error:
        raise NotSo(f"{what} raises {brief(error)}{EITHER}") from error


_PARTS = ("address", "shape", "strides", "dtype", "device", "readonly")


def description(bench: Bench, array: Any, what: str) -> View:
    """What the adapter says of an array: in the types that were agreed on, and twice the same."""
    with answering(f"describe() of {what}"):
        view, again = bench.adapter.describe(array), bench.adapter.describe(array)
    for name in _PARTS:
        if getattr(view, name) != getattr(again, name):
            raise NotSo(f"describe() of {what} gives another {name} when it is asked again{EITHER}")
    _well_formed(view, what)
    return view


def _well_formed(view: View, what: str) -> None:
    if not isinstance(view.address, int):
        raise NotSo(f"describe() of {what} gives an address of type {type(view.address).__name__}; expected an int")
    for name, numbers in (("shape", view.shape), ("strides", view.strides)):
        if not isinstance(numbers, tuple) or not all(isinstance(number, int) for number in numbers):
            raise NotSo(f"describe() of {what} gives the {name} {numbers!r}; expected a tuple of ints")
    if len(view.shape) != len(view.strides):
        raise NotSo(f"describe() of {what} gives {len(view.strides)} strides for {len(view.shape)} dimensions")


def expect_description(bench: Bench, made: Made) -> View:
    """Shape, strides, address, element type and device are those that our own arithmetic says."""
    view = description(bench, made.array, made.what)
    said = f"describe() of {made.what}"
    if view.shape != made.form.shape:
        raise NotSo(f"{said} gives the shape {tuple(view.shape)}; expected {made.form.shape}{EITHER}")
    if not same_strides(view.shape, view.strides, made.strides):
        why = ": it counts elements" if same_strides(view.shape, view.strides, made.form.strides) else EITHER
        raise NotSo(
            f"{said} and shape {made.form.shape} gives the strides {view.strides}; expected {made.strides} bytes{why}"
        )
    if view.address != made.address:
        seen, wanted = _place(view.address - made.start), _place(made.address - made.start)
        raise NotSo(f"{said} puts element 0 {seen} the start of its block; expected {wanted} it{EITHER}")
    if view.dtype not in (None, made.kind.name):
        raise NotSo(f"{said} names the element type {view.dtype!r}; expected {made.kind.name!r}{EITHER}")
    if view.device is not None and view.device[0] != bench.device.dlpack_type:
        expected = bench.device.dlpack_type
        raise NotSo(
            f"{said} on {bench.device.value} gives the device type {view.device[0]}; expected {expected}{EITHER}"
        )
    return view


_FAR = 1 << 16


def _place(distance: int) -> str:
    """A distance in bytes; one that differs from run to run is only far."""
    if abs(distance) >= _FAR:
        return "far from"
    return f"{distance} bytes behind" if distance >= 0 else f"{-distance} bytes before"


# -- memory


def lying(bench: Bench, view: View, kind: DType, what: str) -> bytes:
    """The elements that lie where a description says: gathered by our own arithmetic, read by our own instruments."""
    strided = Strided(view.shape, view.strides)
    if strided.size == 0:
        return b""
    low, high = span(strided)
    if bench.device is not Device.CUDA and not is_memory(view.address + low, high - 1 - low + kind.itemsize):
        raise NotSo(f"describe() of {what} leads to addresses at which this process has no memory{EITHER}")
    try:
        return gather_by_bytes(bench.memory, view.address, strided, kind.itemsize)
    except Exception as error:
        raise NotSo(f"describe() of {what} leads to addresses that cannot be read: {brief(error)}{EITHER}") from error


def is_memory(address: int, nbytes: int, *, writable: bool = False) -> bool:
    """Whether these bytes are memory of this process that can be read, or also written; looking at it changes nothing.

    The kernel is asked to copy them through a pipe: it says no where a look of our own would be a crash.
    """
    ours, theirs = os.pipe()
    try:
        for start in range(address, address + nbytes, _PIECE):
            count = min(_PIECE, address + nbytes - start)
            if _LIBC.write(theirs, ctypes.c_void_p(start), ctypes.c_size_t(count)) != count:
                return False
            into = ctypes.c_void_p(start) if writable else ctypes.create_string_buffer(count)
            if _LIBC.read(ours, into, ctypes.c_size_t(count)) != count:
                return False
    finally:
        os.close(ours)
        os.close(theirs)
    return True


_LIBC = ctypes.CDLL(None)
_PIECE = 4096
"""Bytes that a pipe takes at once in any case."""


def read(bench: Bench, made: Made) -> bytes:
    """What ``read()`` gives; it leaves the array as it is."""
    with unchanged(bench, made, "read()"), answering(f"read() of {made.what}"):
        data = bench.adapter.read(made.array)
    expected = made.form.size * made.kind.itemsize
    if not isinstance(data, bytes) or len(data) != expected:
        seen = f"{len(data)} bytes" if isinstance(data, bytes) else f"a {type(data).__name__}"
        raise NotSo(f"read() of {made.what} and shape {made.form.shape} gives {seen}; expected {expected} bytes")
    return data


@contextmanager
def unchanged(bench: Bench, made: Made, by: str) -> Iterator[None]:
    """What happens inside, a call of this method, leaves the array's description and elements as they are."""
    before = description(bench, made.array, made.what)
    data = lying(bench, before, made.kind, made.what)
    yield
    after = description(bench, made.array, made.what)
    for name in _PARTS:
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            seen = "" if name == "address" else f" from {old} to {new}"
            raise NotSo(f"{by} changes the {name} of {made.what}{seen}; expected that it leaves the array as it is")
    if lying(bench, after, made.kind, made.what) != data:
        raise NotSo(f"{by} changes the elements of {made.what}; expected that it leaves the array as it is")
