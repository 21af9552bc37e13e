"""The suite's own view arithmetic, by example; against NumPy it is tried in ``tests/properties``."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest

from conformance.protocols.strided import Index, Strided, apply, c_strides, packed, same_strides


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


def test_a_view_of_a_view_starts_where_both_offsets_lead() -> None:
    """The offset of element 0 adds up over steps."""
    view = reduce(apply, (Index((slice(1, None), slice(2, None))), Index((1, slice(1, None)))), packed((4, 6)))
    assert view == Strided((3,), (1,), 15)
