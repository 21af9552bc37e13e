"""The layouts that cases use: each is a packed block and the steps that make a view of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce

from conformance.protocols.strided import Broadcast, Index, Step, Strided, Transpose, apply, packed


@dataclass(frozen=True)
class Layout:
    """``base`` is the packed block's shape in elements."""

    name: str
    base: tuple[int, ...]
    steps: tuple[Step, ...] = ()

    @cached_property
    def view(self) -> Strided:
        """The view in elements, by the suite's own arithmetic."""
        return reduce(apply, self.steps, packed(self.base))

    @property
    def elements(self) -> int:
        """Elements of the block."""
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
"""Packed, aligned, with elements, rank 1 to 3: what every consumer of a dtype has to take."""
OFFSET = ("rows", "misaligned")
"""Packed, but starting anywhere in a block: aligned to the element and to nothing more (I32)."""
STRIDED = (
    "fortran", "permuted", "columns", "inner", "stepped", "stepped-permuted", "unit-column", "unit-stepped",
)  # fmt: skip
NEGATIVE = ("reversed", "reversed-rows", "reversed-step")
ZERO_STRIDE = ("broadcast-rows", "broadcast-columns")
EMPTY = ("empty", "empty-rows", "empty-columns", "empty-slice")
SCALAR = ("scalar", "scalar-view")
HIGH_RANK = ("rank-8", "rank-16", "rank-32", "rank-33", "rank-64")
"""Packed; every library has a limit of its own somewhere here."""
PADDED = ("columns", "pitched")
"""Rows with padding behind them: of numbers, and of packed pixels as images have them."""
UNIT = ("unit-dims", "unit-row", "unit-column", "unit-stepped")
"""With extents of 1, whose strides mean nothing (I05)."""


def layout(name: str) -> Layout:
    """The layout of this name; ``KeyError`` if there is none."""
    return LAYOUTS[name]
