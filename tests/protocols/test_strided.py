"""The suite's own view arithmetic, by example; against NumPy it is tried in ``tests/properties``."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest

from conformance.protocols.strided import (
    Broadcast,
    Index,
    Step,
    Strided,
    Transpose,
    apply,
    c_strides,
    packed,
    same_strides,
)


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
        ((3, 4), (4,), (4, 1), False),
        ((3, 0), (), (0, 1), False),
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
