"""Test arrays and measurements for adapter checks.

The expected values come from the suite's own stride arithmetic. The suite reads the memory itself, without the library.
"""

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
"""End of a message about a fact that can be the fault of the library or of its adapter."""
OTHER = 60
"""First number of elements that must differ from those that start with 1."""
SHORT = Layout("short", (3,))
"""The shape that the probe has created for every element type. So libraries that compile code for each shape have done so already."""
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
"""Noun phrases for messages, by the name of each layout that the check uses."""


class NotSo(Exception):
    """A statement or promise of an adapter is false. The text is a sentence without its full stop, identical in every run."""


@dataclass(frozen=True)
class Bench:
    """An adapter on one device, with the traits that it has in the installed version."""

    adapter: Adapter
    device: Device
    traits: frozenset[Trait]

    @property
    def memory(self) -> Memory:
        """The suite's own access to the memory of the device."""
        return CudaMemory() if self.device is Device.CUDA else HostMemory()


@dataclass(frozen=True)
class Made:
    """An array with its expected description.

    ``form`` counts elements from the address ``start`` of the block. ``block`` has the bytes of the whole packed block. ``what`` is a noun
    phrase for messages.
    """

    what: str
    array: Any
    kind: DType
    form: Strided
    start: int
    block: bytes

    @property
    def address(self) -> int:
        """Address of element 0."""
        return self.start + self.form.offset * self.kind.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        """Expected strides, in bytes."""
        return tuple(stride * self.kind.itemsize for stride in self.form.strides)

    def values(self, block: bytes) -> bytes:
        """Return the elements in row-major order, given the bytes of the block."""
        return gather(block, self.form, self.kind.itemsize)

    def block_with(self, data: bytes) -> bytes:
        """Return the block after these row-major bytes are written to the elements."""
        size, block = self.kind.itemsize, bytearray(self.block)
        for i, offset in enumerate(offsets(self.form)):
            block[offset * size : (offset + 1) * size] = data[i * size : (i + 1) * size]
        return bytes(block)


def usual_layout(side: Side) -> str:
    """Return a packed layout for checks that need no special one: a vector for libraries with one dimension only."""
    return "c-order" if "c-order" in side.layouts else "vector"


# -- elements


def elements(kind: DType, count: int, first: int = 1) -> bytes:
    """Return the bytes of ``count`` numbers that start with ``first``; a fixed pattern for types that ``struct`` cannot write.

    Special values such as NaN are not included, because the operations of a library may change them.
    """
    code = _code(kind)
    if code is None:
        return pattern(kind, count, 1000 + first)
    numbers = [part for n in range(first, first + count) for part in ((n, -n) if kind.kind == "c" else (n,))]
    return struct.pack(f"={len(numbers)}{code}", *numbers)


def _code(kind: DType) -> str | None:
    """Return the :mod:`struct` code of an element, or of each part of a complex one; ``None`` if there is none."""
    return _CODES.get((kind.kind or "", kind.itemsize))


_CODES = {
    ("i", 1): "b", ("i", 2): "h", ("i", 4): "i", ("i", 8): "q", ("u", 1): "B", ("u", 2): "H", ("u", 4): "I", ("u", 8): "Q",
    ("f", 2): "e", ("f", 4): "f", ("f", 8): "d", ("c", 8): "f", ("c", 16): "d",
}  # fmt: skip
"""Codes of :mod:`struct`, by the typestr letter and the item size in bytes."""
_SHOWN = 8
"""Number of elements that a message shows."""


def told(data: bytes, kind: DType) -> str:
    """Return the first elements as text: as numbers where possible."""
    code = _code(kind)
    if code is None or kind.kind == "c" or len(data) % kind.itemsize:
        return show(data, kind)
    numbers = [f"{number:g}" for (number,) in struct.iter_unpack(f"={code}", data)]
    return " ".join(numbers[:_SHOWN]) + (" …" if len(numbers) > _SHOWN else "")


def by_columns(data: bytes, kind: DType, shape: tuple[int, ...]) -> bytes:
    """Reorder row-major elements of an array of this shape to column-major order."""
    return gather(data, Strided(shape[::-1], c_strides(shape)[::-1]), kind.itemsize)


def from_columns(data: bytes, kind: DType, shape: tuple[int, ...]) -> bytes:
    """Return the row-major elements of an array that stored these bytes in column-major order."""
    return gather(data, Strided(shape, c_strides(shape[::-1])[::-1]), kind.itemsize)


# -- arrays


def make(bench: Bench, kind: DType, name: str, first: int = 1) -> Made:
    """Create an array of a named layout, with numbers that start with ``first``. The adapter reports where its block starts."""
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
    """Turn any exception but ``Unsupported`` and ``NotSo`` inside the block into a mistake of the adapter."""
    try:
        yield
    except (Unsupported, NotSo):
        raise
    except Exception as error:
        raise NotSo(f"{what} raises {brief(error)}{EITHER}") from error


_PARTS = ("address", "shape", "strides", "dtype", "device", "readonly")


def description(bench: Bench, array: Any, what: str) -> View:
    """Return the adapter's description of an array. Two calls must agree, and the values must have the declared types."""
    with answering(f"describe() of {what}"):
        view, again = bench.adapter.describe(array), bench.adapter.describe(array)
    for name in _PARTS:
        if getattr(view, name) != getattr(again, name):
            raise NotSo(f"describe() of {what} returns a different {name} on the second call{EITHER}")
    _well_formed(view, what)
    return view


def _well_formed(view: View, what: str) -> None:
    if not isinstance(view.address, int):
        raise NotSo(f"describe() of {what} returns an address of type {type(view.address).__name__}; expected an int")
    for name, numbers in (("shape", view.shape), ("strides", view.strides)):
        if not isinstance(numbers, tuple) or not all(isinstance(number, int) for number in numbers):
            raise NotSo(f"describe() of {what} returns the {name} {numbers!r}; expected a tuple of ints")
    if len(view.shape) != len(view.strides):
        raise NotSo(f"describe() of {what} returns {len(view.strides)} strides for {len(view.shape)} dimensions")


def expect_description(bench: Bench, made: Made) -> View:
    """Return the description of an array. Shape, strides, address, element type and device must match the suite's own arithmetic."""
    view = description(bench, made.array, made.what)
    said = f"describe() of {made.what}"
    if view.shape != made.form.shape:
        raise NotSo(f"{said} returns the shape {tuple(view.shape)}; expected {made.form.shape}{EITHER}")
    if not same_strides(view.shape, view.strides, made.strides):
        why = ": it counts elements" if same_strides(view.shape, view.strides, made.form.strides) else EITHER
        raise NotSo(
            f"{said} and shape {made.form.shape} returns the strides {view.strides}; expected {made.strides} bytes{why}"
        )
    if view.address != made.address:
        seen, wanted = _place(view.address - made.start), _place(made.address - made.start)
        raise NotSo(f"{said} puts element 0 {seen} the start of its block; expected {wanted} it{EITHER}")
    if view.dtype not in (None, made.kind.name):
        raise NotSo(f"{said} names the element type {view.dtype!r}; expected {made.kind.name!r}{EITHER}")
    if view.device is not None and view.device[0] != bench.device.dlpack_type:
        expected = bench.device.dlpack_type
        raise NotSo(
            f"{said} on {bench.device.value} returns the device type {view.device[0]}; expected {expected}{EITHER}"
        )
    return view


_FAR = 1 << 16


def _place(distance: int) -> str:
    """Return a distance in words. A large one differs from run to run, so it has no number."""
    if abs(distance) >= _FAR:
        return "far from"
    return f"{distance} bytes behind" if distance >= 0 else f"{-distance} bytes before"


# -- memory


def lying(bench: Bench, view: View, kind: DType, what: str) -> bytes:
    """Return the elements at the described address and strides, gathered and read by the suite itself."""
    strided = Strided(view.shape, view.strides)
    if strided.size == 0:
        return b""
    low, high = span(strided)
    if bench.device is not Device.CUDA and not is_memory(view.address + low, high - 1 - low + kind.itemsize):
        raise NotSo(f"describe() of {what} returns addresses that are not mapped in this process{EITHER}")
    try:
        return gather_by_bytes(bench.memory, view.address, strided, kind.itemsize)
    except Exception as error:
        raise NotSo(f"describe() of {what} returns addresses that cannot be read: {brief(error)}{EITHER}") from error


def is_memory(address: int, nbytes: int, *, writable: bool = False) -> bool:
    """Return whether this process can read these bytes, or also write them, without a change to them.

    The function has the kernel copy the bytes through a pipe. ``write`` and ``read`` then fail with ``EFAULT``, where a direct access would crash.
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
"""Number of bytes that an empty pipe always accepts in one call."""


def read(bench: Bench, made: Made) -> bytes:
    """Return the result of the adapter's ``read()``, which must not change the array."""
    with unchanged(bench, made, "read()"), answering(f"read() of {made.what}"):
        data = bench.adapter.read(made.array)
    expected = made.form.size * made.kind.itemsize
    if not isinstance(data, bytes) or len(data) != expected:
        seen = f"{len(data)} bytes" if isinstance(data, bytes) else f"a {type(data).__name__}"
        raise NotSo(f"read() of {made.what} and shape {made.form.shape} returns {seen}; expected {expected} bytes")
    return data


@contextmanager
def unchanged(bench: Bench, made: Made, by: str) -> Iterator[None]:
    """Check that the method called inside the block changes neither the description nor the elements of the array."""
    before = description(bench, made.array, made.what)
    data = lying(bench, before, made.kind, made.what)
    yield
    after = description(bench, made.array, made.what)
    for name in _PARTS:
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            seen = "" if name == "address" else f" from {old} to {new}"
            raise NotSo(f"{by} changes the {name} of {made.what}{seen}; expected no change")
    if lying(bench, after, made.kind, made.what) != data:
        raise NotSo(f"{by} changes the elements of {made.what}; expected no change")
