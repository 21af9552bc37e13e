"""Array layouts of test cases: a packed block, and the steps that create a view of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce

from conformance.protocols.strided import Broadcast, Index, Step, Strided, Transpose, apply, packed


@dataclass(frozen=True)
class Layout:
    """A layout. ``base`` is the shape of the packed block in elements, and ``steps`` create the view."""

    name: str
    base: tuple[int, ...]
    steps: tuple[Step, ...] = ()

    @cached_property
    def view(self) -> Strided:
        """Shape, strides and offset of the view in elements, calculated without any library."""
        return reduce(apply, self.steps, packed(self.base))

    @property
    def elements(self) -> int:
        """The number of elements of the block."""
        return packed(self.base).size


def _index(*keys: slice | int) -> Index:
    return Index(keys)


_ALL = slice(None)

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("c-order", (3, 4)),
        Layout("vector", (7,)),
        Layout("cube", (2, 3, 4)),
        Layout("fortran", (4, 3), (Transpose((1, 0)),)),
        Layout("permuted", (2, 3, 4), (Transpose((2, 0, 1)),)),
        Layout("rows", (5, 4), (_index(slice(1, 4)),)),
        Layout("columns", (4, 6), (_index(_ALL, slice(2, 5)),)),
        Layout("inner", (4, 6), (_index(slice(1, None), slice(1, None)),)),
        Layout("stepped", (6, 8), (_index(slice(None, None, 2), slice(1, None, 3)),)),
        Layout(
            "stepped-permuted", (4, 3, 6), (_index(slice(1, None), _ALL, slice(None, None, 2)), Transpose((2, 1, 0)))
        ),
        Layout("reversed", (7,), (_index(slice(None, None, -1)),)),
        Layout("reversed-rows", (3, 4), (_index(slice(None, None, -1)),)),
        Layout("reversed-step", (4, 7), (_index(slice(None, None, -1), slice(None, None, -2)),)),
        Layout("broadcast-rows", (1, 4), (Broadcast((3, 4)),)),
        Layout("broadcast-columns", (3, 1), (Broadcast((3, 4)),)),
        Layout("scalar", ()),
        Layout("scalar-view", (5,), (_index(3),)),
        Layout("empty", (0,)),
        Layout("empty-rows", (0, 3)),
        Layout("empty-columns", (3, 0)),
        Layout("empty-slice", (4, 3), (_index(slice(2, 2)),)),
        Layout("unit-dims", (1, 5, 1)),
        Layout("unit-stepped", (6,), (_index(slice(None, None, 3)), _index(slice(None, 1)))),
        Layout("unit-column", (5, 3), (_index(_ALL, slice(1, 2)),)),
        Layout("misaligned", (9,), (_index(slice(1, None)),)),
        Layout("rank-8", (1, 2, 1, 2, 1, 2, 1, 2)),
        Layout("rank-16", (2, 1) * 2 + (1,) * 11 + (3,)),
        Layout("rank-32", (2,) + (1,) * 30 + (3,)),
        Layout("rank-33", (2,) + (1,) * 31 + (3,)),
        Layout("rank-64", (2,) + (1,) * 62 + (3,)),
        Layout("rank-65", (2,) + (1,) * 63 + (3,)),
        Layout("pitched", (4, 8, 3), (_index(_ALL, slice(0, 5)),)),
        Layout("unit-row", (1, 7)),
    )
}

PLAIN = ("c-order", "vector", "cube")
"""Packed, aligned and not empty, with rank 1 to 3. A consumer that supports the element type must accept them."""
OFFSET = ("rows", "misaligned")
"""Packed, with an offset in the block, so the address is aligned to the element only (I32)."""
STRIDED = (
    "fortran", "permuted", "columns", "inner", "stepped", "stepped-permuted", "unit-column", "unit-stepped",
)  # fmt: skip
NEGATIVE = ("reversed", "reversed-rows", "reversed-step")
ZERO_STRIDE = ("broadcast-rows", "broadcast-columns")
EMPTY = ("empty", "empty-rows", "empty-columns", "empty-slice")
SCALAR = ("scalar", "scalar-view")
HIGH_RANK = ("rank-8", "rank-16", "rank-32", "rank-33", "rank-64")
"""Packed arrays of high rank. Each library has its own limit in this range."""
PADDED = ("columns", "pitched")
"""Rows with padding behind them: a matrix, and an image with packed pixels."""
UNIT = ("unit-dims", "unit-row", "unit-column", "unit-stepped")
"""Arrays with dimensions of size 1. The strides of these dimensions have no meaning (I05)."""


def layout(name: str) -> Layout:
    """Return the layout with this name.

    Raises:
        KeyError: there is no such layout.
    """
    return LAYOUTS[name]
