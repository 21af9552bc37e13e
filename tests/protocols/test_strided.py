"""The suite's own view arithmetic, with NumPy as its judge."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.protocols.strided import (
    Broadcast,
    Index,
    Step,
    Strided,
    Transpose,
    apply,
    c_strides,
    gather,
    offsets,
    packed,
    same_strides,
    span,
)
from conformance.suite.layouts import LAYOUTS

numpy = pytest.importorskip("numpy")
NUMPY_RANK = 32
"""Dimensions that every version of NumPy can have."""

SHAPES = st.lists(st.integers(0, 4), min_size=0, max_size=4).map(tuple)


@st.composite
def steps(draw: Any, shape: tuple[int, ...]) -> Step:
    """Any one step that a view of this shape allows."""
    kind = draw(st.sampled_from(("index", "transpose", "broadcast")))
    if kind == "transpose":
        return Transpose(tuple(draw(st.permutations(range(len(shape))))))
    if kind == "broadcast":
        lead = draw(st.lists(st.integers(1, 3), max_size=2))
        return Broadcast((*lead, *(draw(st.integers(0, 3)) if extent == 1 else extent for extent in shape)))
    keys = []
    for extent in shape[: draw(st.integers(0, len(shape)))]:
        picked = extent > 0 and draw(st.booleans())
        keys.append(draw(st.integers(-extent, extent - 1)) if picked else draw(st.slices(extent)))
    return Index(tuple(keys))


@st.composite
def views(draw: Any) -> tuple[tuple[int, ...], list[Step]]:
    """A packed block's shape and up to three steps from there."""
    base = draw(SHAPES)
    view, taken = packed(base), []
    for _ in range(draw(st.integers(0, 3))):
        step = draw(steps(view.shape))
        taken.append(step)
        view = apply(view, step)
    return base, taken


def by_numpy(base: tuple[int, ...], taken: list[Step]) -> Any:
    """The same view of a block that holds its own element numbers, made by NumPy."""
    array = numpy.arange(packed(base).size, dtype=numpy.int64).reshape(base)
    for step in taken:
        if isinstance(step, Index):
            array = array[step.keys]
        elif isinstance(step, Transpose):
            array = array.transpose(step.axes)
        else:
            array = numpy.broadcast_to(array, step.shape)
    return numpy.asarray(array)


@given(views())
def test_a_view_reaches_the_elements_that_numpys_does(made: tuple[tuple[int, ...], list[Step]]) -> None:
    """Shape and every element's offset agree after any slicing, transposing and broadcasting."""
    view, theirs = reduce(apply, made[1], packed(made[0])), by_numpy(*made)
    assert view.shape == theirs.shape
    assert list(offsets(view)) == theirs.ravel().tolist()


@given(views())
def test_strides_are_numpys_where_they_matter(made: tuple[tuple[int, ...], list[Step]]) -> None:
    """Extents below 2 may differ: their stride is never taken."""
    view, theirs = reduce(apply, made[1], packed(made[0])), by_numpy(*made)
    assert same_strides(view.shape, view.strides, tuple(s // 8 for s in theirs.strides))


@given(views())
def test_contiguous_is_numpys_c_contiguous(made: tuple[tuple[int, ...], list[Step]]) -> None:
    """The same answer for unit extents, empty views and scalars too."""
    assert reduce(apply, made[1], packed(made[0])).contiguous == by_numpy(*made).flags.c_contiguous


@given(views())
def test_the_span_holds_every_element_and_no_more(made: tuple[tuple[int, ...], list[Step]]) -> None:
    """It runs from the lowest offset to one past the highest."""
    view = reduce(apply, made[1], packed(made[0]))
    reached = list(offsets(view))
    assert span(view) == ((min(reached), max(reached) + 1) if reached else (view.offset, view.offset))


@given(views(), st.sampled_from((1, 2, 8)))
def test_gathering_takes_the_bytes_in_row_major_order(made: tuple[tuple[int, ...], list[Step]], itemsize: int) -> None:
    """What is taken out of a block is what NumPy's ``tobytes`` gives."""
    kind = {1: numpy.uint8, 2: numpy.uint16, 8: numpy.int64}[itemsize]
    block = numpy.arange(packed(made[0]).size, dtype=kind).tobytes()
    view = reduce(apply, made[1], packed(made[0]))
    assert gather(block, view, itemsize) == by_numpy(*made).astype(kind).tobytes()


@given(SHAPES)
def test_packed_is_row_major_from_the_start(shape: tuple[int, ...]) -> None:
    """The offsets of a packed view just count."""
    view = packed(shape)
    assert list(offsets(view)) == list(range(view.size))
    assert view.contiguous
    assert view.ndim == len(shape)


def test_strides_of_a_block_without_elements_are_those_of_extents_of_one() -> None:
    """An extent of 0 must not make every stride before it 0."""
    assert c_strides((2, 0, 3)) == (3, 3, 1)


@pytest.mark.parametrize(
    ("shape", "a", "b", "same"),
    [
        ((3, 4), (4, 1), (4, 1), True),
        ((3, 4), (4, 1), (1, 3), False),
        ((3, 1), (1, 99), (1, 0), True),
        ((3, 0), (7, 7), (1, 2), True),
        ((), (), (), True),
        ((2,), (-1,), (1,), False),
    ],
)
def test_strides_count_only_where_they_are_taken(
    shape: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...], same: bool
) -> None:
    """Extents of 0 and 1 never tell two layouts apart; a sign does."""
    assert same_strides(shape, a, b) is same


@pytest.mark.parametrize(
    ("keys", "negative"),
    [
        ((slice(None),), False),
        ((slice(None, None, -1),), True),
        ((2, slice(3, 1, -1)), True),
        ((-1,), False),
        ((), False),
    ],
)
def test_a_step_knows_whether_it_runs_backwards(keys: tuple[Any, ...], negative: bool) -> None:
    """A library without negative strides is asked for none; a negative position is not a stride."""
    assert Index(keys).negative is negative


@pytest.mark.parametrize("name", [n for n, form in LAYOUTS.items() if len(form.base) <= NUMPY_RANK])
def test_each_layout_is_the_view_that_its_steps_make(name: str) -> None:
    """The suite's layouts are what NumPy makes of the same steps, and lie within their block."""
    form = LAYOUTS[name]
    theirs = by_numpy(form.base, list(form.steps))
    low, high = span(form.view)
    assert form.view.shape == theirs.shape
    assert list(offsets(form.view)) == theirs.ravel().tolist()
    assert 0 <= low <= high <= max(form.elements, low)


@pytest.mark.parametrize("step", [Transpose((1, 0)), Broadcast((5, 2, 3))])
def test_other_dimensions_start_at_the_same_element(step: Step) -> None:
    """Element 0 stays where it is when dimensions are permuted or repeated."""
    assert apply(Strided((2, 3), (4, 1), 7), step).offset == 7


def test_a_dimension_that_is_repeated_has_no_stride() -> None:
    """New ones in front, and those of extent 1 that become longer; who stays as it is keeps its own."""
    assert apply(Strided((1, 1, 4), (9, 5, 2)), Broadcast((3, 2, 1, 4))) == Strided((3, 2, 1, 4), (0, 0, 5, 2))


@pytest.mark.parametrize("key", [slice(4, None), slice(2, 2), slice(9, 1)])
def test_an_empty_slice_starts_where_its_source_does(key: slice) -> None:
    """It has no element that could be elsewhere, and past the block's end lies another block."""
    assert apply(Strided((4,), (1,), 3), Index((key,))).offset == 3


def test_a_view_of_a_view_starts_where_both_offsets_lead() -> None:
    """The offset of element 0 adds up over steps."""
    view = reduce(apply, (Index((slice(1, None), slice(2, None))), Index((1, slice(1, None)))), packed((4, 6)))
    assert view == Strided((3,), (1,), 15)
