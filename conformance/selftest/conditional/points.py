"""Points of the space of factors: arrays of the reference with given levels, and the points that a condition permits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from conformance.checks.patterns import pattern
from conformance.protocols.dtypes import DTYPES, DType
from conformance.protocols.strided import Strided, c_strides, packed, span
from conformance.reference.exporter import Exporter
from conformance.reference.memory import Memory

from .levels import (
    ACCESS,
    DEFAULTS,
    FACTORS,
    HUGE,
    KIND,
    LAYOUT,
    LONG,
    OFFSET,
    PAGE,
    PATH,
    RANK,
    SIZE,
    WIDTH,
    Level,
    of_array,
)  # fmt: skip

_OF_ARRAY = (LAYOUT, RANK, SIZE, OFFSET, ACCESS)
_FEW = 12
_GAP = 3
"""The number of elements between rows."""
_STEP = 2
_OFFSETS = {"0": 0, "some": 3}
_MOST_FILLED = 1 << 20
"""The size in bytes above which blocks are not filled."""
_PERIOD = 251
"""The number of elements after which the pattern repeats."""
_NAMES = {
    ("1", "bool"): "bool", ("1", "int"): "int8", ("1", "uint"): "uint8", ("1", "float8"): "float8_e4m3fn",
    ("2", "int"): "int16", ("2", "uint"): "uint16", ("2", "float"): "float16", ("2", "bfloat"): "bfloat16",
    ("4", "int"): "int32", ("4", "uint"): "uint32", ("4", "float"): "float32", ("4", "complex"): "complex32",
    ("8", "int"): "int64", ("8", "uint"): "uint64", ("8", "float"): "float64", ("8", "complex"): "complex64",
    ("16", "complex"): "complex128",
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """An array: its element type, and its view in a block of ``elements`` elements."""

    dtype: str
    view: Strided
    elements: int
    readonly: bool

    @property
    def kind(self) -> DType:
        """The element type."""
        return DTYPES[self.dtype]

    @property
    def is_small(self) -> bool:
        """``True`` if both the array and its block are cheap to read element by element."""
        return self.view.size <= _FEW and self.elements * self.kind.itemsize <= _MOST_FILLED

    def make(self, made: type[Exporter], memory: Memory) -> Exporter:
        """Return the array in a new block, which is filled with a pattern unless it is very large."""
        nbytes = self.elements * self.kind.itemsize
        if nbytes > _MOST_FILLED:
            return made(memory, memory.reserve(nbytes), self.kind, self.view, readonly=self.readonly)
        block = memory.allocate(nbytes)
        memory.write(block.address, _filling(self.kind, nbytes))
        return made(memory, block, self.kind, self.view, readonly=self.readonly)


@lru_cache(maxsize=256)
def _filling(kind: DType, nbytes: int) -> bytes:
    """Return a pattern with a period that divides no extent used here."""
    repeats = pattern(kind, _PERIOD)
    return (repeats * (nbytes // len(repeats) + 1))[:nbytes]


def point(levels: dict[str, str], behind: int = 0) -> Point | None:
    """Return the array with these levels and defaults for the others, or ``None`` if there is none, such as for a transposed vector.

    ``behind`` is the number of elements of the block behind the array.
    """
    chosen = {**DEFAULTS, **levels}
    name = _type(levels)
    if name is None:
        return None
    shape = _shape(chosen[SIZE], int(chosen[RANK]), DTYPES[name].itemsize)
    placed = _placed(shape, chosen[LAYOUT], chosen[SIZE], DTYPES[name].itemsize) if shape is not None else None
    if placed is None:
        return None
    low, high = span(placed)
    begins = _OFFSETS[chosen[OFFSET]] - low
    made = Point(
        name,
        Strided(placed.shape, placed.strides, begins),
        max(high - low, 0) + _OFFSETS[chosen[OFFSET]] + behind,
        chosen[ACCESS] == "readonly",
    )
    kind = made.kind
    strides = tuple(s * kind.itemsize for s in placed.strides)
    known = of_array(int(kind.code), kind.bits, placed.shape, strides)
    wanted = {(factor, chosen[factor]) for factor in (LAYOUT, RANK, SIZE)}
    return made if wanted <= known else None


def _type(levels: dict[str, str]) -> str | None:
    """Return float32, or the first type of a width, of a kind, or of both."""
    width, kind = levels.get(WIDTH), levels.get(KIND)
    if width is None and kind is None:
        return "float32"
    found = (name for (w, k), name in _NAMES.items() if width in (None, w) and kind in (None, k))
    return min(found, key=lambda name: ("float" not in name, DTYPES[name].itemsize != 4), default=None)


def _shape(size: str, rank: int, itemsize: int) -> tuple[int, ...] | None:
    """Return a shape of this rank and size, or ``None`` if there is none."""
    if rank == 0:
        return () if size == "one" else None
    head = (1,) * (rank - 2)
    if size == "one":
        return (1,) * rank
    if size == "empty":
        return (0,) if rank == 1 else (*head, 0, 3)
    if size == "few":
        return (_FEW,) if rank == 1 else (3, 4) if rank == 2 else (2, *((1,) * (rank - 3)), 3, 2)
    if size == "long":
        return (LONG + 44,) if rank == 1 else (*head, 2, LONG + 44)
    if size == "page":
        count = PAGE // itemsize
        return (count + 1,) if rank == 1 else (*head, 2, count // 2 + 1)
    if size == "large":
        return ((1 << 16) + 1,) if rank == 1 else (*head, 257, 256)
    return (3,) if rank == 1 else (*head, 2, 3)


def _placed(shape: tuple[int, ...], layout: str, size: str, itemsize: int) -> Strided | None:
    if size == "huge":
        return _huge(shape, layout, itemsize)
    if layout == "packed":
        return packed(shape)
    if not shape or 0 in shape or max(shape) < 2:
        return None
    if layout == "transposed":
        turned = c_strides(shape[::-1])[::-1]
        return Strided(shape, turned) if len(shape) > 1 else None
    if layout == "padded":
        inner = (*shape[:-1], shape[-1] + _GAP)
        return Strided(shape, c_strides(inner)) if len(shape) > 1 else None
    if layout == "stepped":
        return Strided(shape, tuple(_STEP * s for s in c_strides(shape)))
    axis = next(i for i, extent in enumerate(shape) if extent > 1)
    strides = list(c_strides(shape))
    strides[axis] = -strides[axis] if layout == "reversed" else 0
    return Strided(shape, tuple(strides))


def _huge(shape: tuple[int, ...], layout: str, itemsize: int) -> Strided | None:
    """Return a view of few elements that are far apart."""
    step = HUGE // itemsize + 1
    if layout == "stepped" and len(shape) == 1:
        return Strided(shape, (step,))
    if layout == "padded" and len(shape) > 1:
        return Strided(shape, (*((2 * step,) * (len(shape) - 2)), step, 1))
    return None


@lru_cache(maxsize=4096)
def allowed(condition: tuple[Level, ...]) -> tuple[Point, ...]:
    """Return the points at which a condition can hold."""
    behind = int((PATH, "view") in condition)
    made = (point(dict(chosen), behind) for chosen in choices(condition))
    return tuple(dict.fromkeys(one for one in made if one is not None))


@lru_cache(maxsize=4096)
def choices(condition: tuple[Level, ...]) -> tuple[tuple[Level, ...], ...]:
    """Return levels with which a condition can hold: defaults for the others, then each other level, then each other element type."""
    fixed = {factor: level for factor, level in condition if factor in (*_OF_ARRAY, WIDTH, KIND)}
    free = [factor for factor in (LAYOUT, RANK, SIZE, OFFSET, ACCESS) if factor not in fixed]
    types: list[dict[str, str]] = [{WIDTH: width, KIND: kind} for width, kind in _NAMES]
    single = [{factor: level} for factor in free for level in FACTORS[factor]]
    pairs = [{RANK: "0", SIZE: "one", OFFSET: "some"}, {ACCESS: "readonly", OFFSET: "some"}]
    fitting = (
        {**_fitting(fixed, more), **more, **fixed}
        for more in ({}, *single, *types, *pairs)
        if all(fixed.get(factor, level) == level for factor, level in more.items())
    )
    return tuple(dict.fromkeys(tuple(chosen.items()) for chosen in fitting))


def _fitting(fixed: dict[str, str], more: dict[str, str]) -> dict[str, str]:
    """Return the levels that other levels require: one element for rank 0, and long distances for a huge span."""
    chosen = {**more, **fixed}
    found = {}
    if chosen.get(RANK) == "0":
        found[SIZE] = "one"
    if chosen.get(SIZE) == "huge":
        found[LAYOUT] = "stepped" if chosen.get(RANK) == "1" else "padded"
    if chosen.get(SIZE) in ("page", "large") and RANK not in chosen and LAYOUT not in chosen:
        found[RANK] = "1"
    return found
