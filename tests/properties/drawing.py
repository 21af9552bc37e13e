"""Arrays and exchanges at random, drawn from any ``random.Random``: Hypothesis drives the same functions as a bare seed does."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from random import Random

from conformance.checks.layouts import Layout
from conformance.protocols.dtypes import DTYPES, DType
from conformance.protocols.strided import Broadcast, Index, Step, Strided, Transpose, span

MOST_ELEMENTS = 48
"""Enough for every layout to differ from every other, few enough for thousands of exchanges."""
RANKS = (0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 8, 9, 12, 33)
_WIDEST = 256
"""Once a stride has grown so far, later ones leave no more gaps."""
_MEANINGLESS = (0, 1, -1, 7, -(2**20), 2**40)
"""Strides that are never taken, because there are fewer than two elements along them."""


@dataclass(frozen=True)
class Window(Layout):
    """A view of a block of one dimension that no slicing has made: any strides, negative, zero and overlapping ones too."""

    window: Strided = field(default_factory=lambda: Strided((), ()))

    @cached_property
    def view(self) -> Strided:
        """The view in elements."""
        return self.window

    @property
    def apart(self) -> bool:
        """Whether no two elements share a place by their strides' sizes alone, so that a write of one leaves the others."""
        reach = 1
        for extent, stride in sorted(zip(self.view.shape, self.view.strides), key=lambda each: abs(each[1])):
            if extent > 1 and abs(stride) < reach:
                return False
            reach += (extent - 1) * abs(stride) if extent > 1 else 0
        return True


def chosen(chance: Random, probability: float) -> bool:
    """True with this probability."""
    return chance.random() < probability


def element(chance: Random) -> DType:
    """Any element type, with or without a letter in the array interface."""
    return chance.choice(tuple(DTYPES.values()))


def shape(chance: Random) -> tuple[int, ...]:
    """A few dimensions or many, with extents of 1 among them, sometimes with an extent of 0."""
    room, extents = MOST_ELEMENTS, []
    for _ in range(chance.choice(RANKS)):
        extent = 0 if chosen(chance, 0.03) else min(chance.choice((1, 1, 2, 2, 3, 4, 5)), room)
        extents.append(extent)
        room //= max(extent, 1)
    return tuple(extents)


def window(chance: Random) -> Window:
    """A view with any strides, somewhere in a block that has elements before and behind it."""
    extents = shape(chance)
    strides = _strides(chance, extents)
    low, high = span(Strided(extents, strides))
    before, behind = chance.choice((0, 0, 1, 3, 17)), chance.choice((0, 0, 1, 5))
    return Window("window", (before + high - low + behind,), window=Strided(extents, strides, before - low))


def _strides(chance: Random, extents: tuple[int, ...]) -> tuple[int, ...]:
    """Packed, permuted, with gaps, backwards, repeated or overlapping; whatever it likes where it means nothing."""
    axes = list(range(len(extents)))[::-1]
    if chosen(chance, 0.4):
        chance.shuffle(axes)
    regular = chosen(chance, 0.3)
    strides, step = [0] * len(extents), 1
    for axis in axes:
        if regular:
            strides[axis] = step
        elif extents[axis] < 2 or 0 in extents:
            strides[axis] = chance.choice(_MEANINGLESS)
            continue
        else:
            strides[axis] = _stride(chance, step)
        step = max(step, abs(strides[axis]) * max(extents[axis], 1))
    return tuple(strides)


def _stride(chance: Random, packed: int) -> int:
    """One stride, where ``packed`` would leave no gap."""
    kind = chance.choice(("packed", "packed", "packed", "gap", "gap", "repeated", "overlapping"))
    if kind == "repeated":
        return 0
    size = chance.randint(0, packed) if kind == "overlapping" else packed
    if kind == "gap" and packed < _WIDEST:
        size = packed * chance.choice((2, 3)) + chance.choice((0, 1))
    return -size if chosen(chance, 0.25) else size


def step(chance: Random, extents: tuple[int, ...]) -> Step:
    """One step of slicing, transposing or broadcasting that a view of this shape allows."""
    kind = chance.choice(("index", "index", "transpose", "broadcast"))
    if kind == "transpose":
        axes = list(range(len(extents)))
        chance.shuffle(axes)
        return Transpose(tuple(axes))
    if kind == "broadcast" and prod(extents) <= MOST_ELEMENTS:
        lead = tuple(chance.choice((1, 2)) for _ in range(chance.choice((0, 0, 1, 2))))
        return Broadcast((*lead, *(chance.choice((1, 2, 0)) if n == 1 and chosen(chance, 0.2) else n for n in extents)))
    return Index(tuple(_key(chance, extent) for extent in extents[: chance.randint(0, len(extents))]))


def _key(chance: Random, extent: int) -> slice | int:
    if extent and chosen(chance, 0.3):
        return chance.randint(-extent, extent - 1)
    ends = (None, *range(-extent - 1, extent + 2))
    return slice(chance.choice(ends), chance.choice(ends), chance.choice((None, 1, 2, 3, -1, -2)))


def stepped(chance: Random, most: int = 3) -> Layout:
    """A packed block and up to ``most`` steps from there: what NumPy can make of it too."""
    made = Layout("stepped", shape(chance))
    for _ in range(chance.randint(0, most)):
        made = Layout(made.name, made.base, (*made.steps, step(chance, made.view.shape)))
    return made


def version(chance: Random) -> tuple[int, int] | None:
    """What a producer may speak: legacy (``None``), any minor of 1, and now and then a major that nobody knows yet."""
    if chosen(chance, 0.25):
        return None
    if chosen(chance, 0.08):
        return chance.choice(((2, 0), (2, 7), (3, 1), (2**32 - 1, 2**32 - 1)))
    return (1, chance.choice((0, 1, 2, 3, 3, 3, 4, 99, 2**32 - 1)))
