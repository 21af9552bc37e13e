"""The suite's own view arithmetic, with NumPy as its judge: slices of slices, and any strides at all."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.adapters.base import Device
from conformance.checks.layouts import LAYOUTS, Layout
from conformance.checks.patterns import pattern
from conformance.protocols.dtypes import dtype
from conformance.protocols.strided import (
    Broadcast,
    Index,
    Strided,
    c_strides,
    gather,
    offsets,
    packed,
    same_strides,
    scatter_by_bytes,
    span,
)

from .drawing import Window, shape, stepped, window
from .exchanges import LIBRARY
from .strategies import drawn, examples

numpy = pytest.importorskip("numpy")
NUMPY_RANK = 32
"""Dimensions that every version of NumPy can have."""


def few(form: Layout) -> bool:
    """Whether NumPy can have it."""
    return max(len(form.base), form.view.ndim) <= NUMPY_RANK


STEPPED = drawn(stepped).filter(few)
WINDOWS = drawn(window).filter(few)
SHAPES = drawn(shape).filter(lambda extents: len(extents) <= NUMPY_RANK)


def by_numpy(form: Layout) -> Any:
    """The same view of a block that holds its own element numbers, made by NumPy."""
    array = numpy.arange(form.elements, dtype=numpy.int64).reshape(form.base)
    if isinstance(form, Window):
        first, strides = (
            form.view.offset,
            tuple(8 * s if n > 1 else 8 for n, s in zip(form.view.shape, form.view.strides)),
        )
        return numpy.lib.stride_tricks.as_strided(array[first:], form.view.shape, strides)
    for step in form.steps:
        if isinstance(step, Index):
            array = numpy.asarray(array[step.keys])
        elif isinstance(step, Broadcast):
            array = numpy.broadcast_to(array, step.shape)
        else:
            array = array.transpose(step.axes)
    return array


@examples
@given(STEPPED | WINDOWS)
def test_a_view_reaches_the_elements_that_numpys_does(form: Layout) -> None:
    """Shape and every element's offset, after any slicing, transposing and broadcasting, and with any strides."""
    theirs = by_numpy(form)
    assert form.view.shape == theirs.shape
    assert list(offsets(form.view)) == theirs.ravel().tolist()
    assert (form.view.size, form.view.ndim) == (theirs.size, theirs.ndim)


@examples
@given(STEPPED)
def test_strides_are_numpys_where_they_matter(form: Layout) -> None:
    """Extents below 2 may differ: their stride is never taken."""
    assert same_strides(form.view.shape, form.view.strides, tuple(s // 8 for s in by_numpy(form).strides))


@examples
@given(STEPPED | WINDOWS)
def test_contiguous_is_numpys_c_contiguous(form: Layout) -> None:
    """The same answer for unit extents, empty views and scalars too; and it is that the offsets just count."""
    reached = list(offsets(form.view))
    counting = reached == list(range(form.view.offset, form.view.offset + len(reached)))
    assert form.view.contiguous == by_numpy(form).flags.c_contiguous == counting


@examples
@given(STEPPED | WINDOWS)
def test_the_span_holds_every_element_and_no_more(form: Layout) -> None:
    """It runs from the lowest offset to one past the highest, and lies within the block."""
    reached = list(offsets(form.view))
    low, high = span(form.view)
    assert (low, high) == ((min(reached), max(reached) + 1) if reached else (form.view.offset, form.view.offset))
    assert not reached or 0 <= low <= high <= form.elements


@examples
@given(STEPPED | WINDOWS, st.sampled_from((1, 2, 8)))
def test_gathering_takes_the_bytes_in_row_major_order(form: Layout, itemsize: int) -> None:
    """What is taken out of a block is what NumPy's ``tobytes`` gives."""
    kind = {1: numpy.uint8, 2: numpy.uint16, 8: numpy.int64}[itemsize]
    block = numpy.arange(form.elements, dtype=kind).tobytes()
    assert gather(block, form.view, itemsize) == by_numpy(form).astype(kind).tobytes()


@examples
@given(WINDOWS.filter(lambda form: form.apart))
def test_a_window_whose_elements_are_apart_has_none_twice(form: Window) -> None:
    """What is written to one of them changes no other."""
    reached = list(offsets(form.view))
    assert len(set(reached)) == len(reached)


@examples
@given(WINDOWS)
def test_the_reference_reads_and_writes_as_numpy_does(form: Window) -> None:
    """Element by element through address and strides, the last of those that share a place winning."""
    kind = dtype("int64")
    array = LIBRARY.array(kind, form.base, pattern(kind, form.elements), Device.HOST)
    array.view = form.view
    theirs = numpy.frombuffer(bytearray(pattern(kind, form.elements)), numpy.int64)
    at = by_numpy(form)
    assert LIBRARY.read(array) == theirs[at].tobytes()
    data = pattern(kind, form.view.size, 1)
    LIBRARY.write(array, data)
    theirs[at.ravel()] = numpy.frombuffer(data, numpy.int64)
    assert array.memory.read(array.block.address, array.block.nbytes) == theirs.tobytes()


@examples
@given(SHAPES, st.randoms(use_true_random=False))
def test_the_same_strides_are_those_that_lead_to_the_same_elements(extents: tuple[int, ...], chance: Random) -> None:
    """No more and no fewer, whatever strides are compared; and there is one for each dimension."""
    first, second = (tuple(chance.choice((-2, 0, 1, 3, 3, 12)) for _ in extents) for _ in range(2))
    same = list(offsets(Strided(extents, first))) == list(offsets(Strided(extents, second)))
    assert same_strides(extents, first, second) == same
    assert same_strides(extents, first, first)
    assert not same_strides(extents, first, (*first, 1))
    assert not same_strides((*extents, 1), first, first)


@examples
@given(SHAPES)
def test_packed_is_row_major_from_the_start(extents: tuple[int, ...]) -> None:
    """The offsets of a packed view just count, and its strides are those of NumPy's own arrays."""
    view = packed(extents)
    assert list(offsets(view)) == list(range(view.size))
    assert view.contiguous
    assert same_strides(extents, c_strides(extents), tuple(s // 8 for s in numpy.empty(extents, numpy.int64).strides))


@pytest.mark.parametrize("name", [n for n, form in LAYOUTS.items() if few(form)])
def test_each_layout_is_the_view_that_its_steps_make(name: str) -> None:
    """The suite's layouts are what NumPy makes of the same steps, and lie within their block."""
    form = LAYOUTS[name]
    theirs = by_numpy(form)
    low, high = span(form.view)
    assert form.view.shape == theirs.shape
    assert list(offsets(form.view)) == theirs.ravel().tolist()
    assert 0 <= low <= high <= max(form.elements, low)


@given(STEPPED)
def test_what_is_written_through_a_view_lies_where_its_elements_are(form: Layout) -> None:
    """And the rest of the block is as before. Of elements in one place the last one stays."""
    size = 3
    block = bytearray(range(256)) * (-(-form.elements * size // 256) or 1)
    wanted = bytearray(block)
    data = bytes((7 * number) % 251 for number in range(form.view.size * size))
    for number, offset in enumerate(offsets(form.view)):
        wanted[offset * size : (offset + 1) * size] = data[number * size : (number + 1) * size]
    bytewise = Strided(form.view.shape, tuple(s * size for s in form.view.strides), form.view.offset * size)
    scatter_by_bytes(block, bytewise, size, data)
    assert block == wanted
