"""Points of the family ``combination``: factors of an exchange, their levels, the permitted pairs of levels, and the array of a point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import product

from conformance.adapters.base import Device, Protocol, Trait
from conformance.protocols.dtypes import ARRAY_API, DTYPES, DType, dtype
from conformance.protocols.strided import Broadcast, Index, Step, Strided, Transpose

from .covering_arrays import Pair as Couple
from .covering_arrays import Space, covering
from .layouts import Layout
from .libraries import REFERENCE, Pair

LAYOUTS = ("packed", "transposed", "padded", "stepped", "reversed", "broadcast")
RANKS = ("rank-2", "rank-0", "rank-1", "rank-3", "rank-4", "rank-5", "rank-6", "rank-7")
SIZES = ("few", "one", "empty", "long", "page", "large", "huge")
OFFSETS = ("offset-0", "offset-1", "offset-3", "offset-far")
"""Offset of the view in elements, or in rows for a packed view with several dimensions. See :data:`FAR_OFFSETS`."""
ACCESS = ("writable", "readonly")
CONTENTS = ("pattern", "zeros", "raw")
"""``raw`` elements have bits that arithmetic can change: signalling NaNs, and bool bytes other than 0 and 1."""
FORMS = {
    Protocol.DLPACK: ("newest", "version-1.0", "legacy"),
    Protocol.CAI: ("dictionary-3", "dictionary-2", "strides-told", "dictionary-2-strides-told"),
}
NO_STRIDES = ("legacy-no-strides", "version-1.0-no-strides")
"""Capsules with NULL strides, which is legal before DLPack 1.2 (DLP-21)."""
SPLIT = ("byte-offset", "version-1.0-byte-offset", "legacy-byte-offset")
"""Capsules whose data pointer lies before element 0 (DLP-17)."""
LEGACY = ("legacy", "legacy-no-strides", "legacy-byte-offset")
BYTE_OFFSET = 64
"""Number of bytes between the data pointer and element 0 for these levels."""
ASKED = ("version-1.1", "version-1.2", "version-1.9")
"""Versions that only a consumer can request. It receives the producer's newest version with the same major number."""
PATHS = ("own", "view", "reexport", "copy", "shared", "after-refusal")
COUNTS = ("first", "second", "again", "hundredth")
"""The exchange of the array that is judged: the first, one while an earlier one is alive, one after it is released, or one after many."""
SINGLE = (("count", "beside"), ("path", "far-reexport"))
"""Levels that only a point of their own has. Repeated checks may use them at any point.

``beside`` is an exchange while an exchange of another view is alive. The other view has the same element 0 and shape, but other strides.
``far-reexport`` is an import with the strides of a ``huge`` array, for a library that cannot create one.
"""
PLACES = ("here", "in-thread", "in-fork", "in-thread-of-fork")
VERSIONS: dict[str, tuple[int, int] | None] = {
    "legacy": None, "legacy-no-strides": None, "legacy-byte-offset": None, "version-1.0-no-strides": (1, 0), "version-1.0-byte-offset": (1, 0), "version-1.0": (1, 0), "version-1.1": (1, 1), "version-1.2": (1, 2), "version-1.9": (1, 9),
}  # fmt: skip
"""DLPack version for each level of ``form``. For other levels the reference uses the newest version."""
MANY = (1 << 16) + 1
"""Number of elements along one axis of a ``large`` array."""
FAR_OFFSETS = {"large": MANY + 65}
"""Offset of ``offset-far`` by size, in elements. It is 65 for the other sizes, which keeps their blocks small."""
PAGE = 4096
"""Number of bytes that an array of the size ``page`` slightly exceeds."""
FAR = 1 << 31
"""Minimum number of bytes between the rows of a ``huge`` array."""


@dataclass(frozen=True)
class Point:
    """A point of the test space: one level for each factor of an exchange."""

    dtype: str = "float32"
    layout: str = "packed"
    rank: str = "rank-2"
    size: str = "few"
    offset: str = "offset-0"
    access: str = "writable"
    content: str = "pattern"
    form: str = ""
    path: str = "own"
    count: str = "first"
    place: str = "here"

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, str]]) -> Point:
        """Return the point of a case: the levels in its parameters, and the default of every other factor."""
        return cls(**{name: level for name, level in parameters if name in _DEFAULTS})

    @property
    def changed(self) -> tuple[tuple[str, str], ...]:
        """The levels that are not the default of their factor, in the order of the factors."""
        return tuple((name, level) for name, level in vars(self).items() if level != _DEFAULTS[name])

    def without(self, name: str) -> Point:
        """Return the same point with the default level of this factor."""
        return Point(**{**vars(self), name: _DEFAULTS[name]})

    def nearest(self, levels: Iterable[tuple[str, str]], *, is_of_reference: bool) -> Point:
        """Return the point with these levels. A factor whose own level conflicts with them gets its default.

        ``is_of_reference`` says whether the reference is the producer.
        """
        wanted, apart = dict(levels), couples_apart(is_of_reference=is_of_reference)
        kept = {
            name: level for name, level in self.changed
            if name not in wanted and not any(frozenset({(name, level), other}) in apart for other in wanted.items())
        }  # fmt: skip
        return Point(**{**kept, **wanted})

    @property
    def kind(self) -> DType:
        """The element type."""
        return dtype(self.dtype)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return int(self.rank.removeprefix("rank-"))

    @property
    def skipped(self) -> int:
        """The number of elements (or rows) before element 0."""
        if self.offset == "offset-far":
            return FAR_OFFSETS.get(self.size, 65)
        return int(self.offset.removeprefix("offset-"))

    @property
    def is_legacy(self) -> bool:
        """True if the capsule holds a legacy struct."""
        return self.form in LEGACY

    @property
    def is_far(self) -> bool:
        """True if the distance of the rows in bytes exceeds 32 bits."""
        return self.size == "huge" or self.path == "far-reexport"

    @property
    def is_plain(self) -> bool:
        """True if every consumer must accept the array.

        At most the element type (of the array API standard), size, content, path and count of such an array are not the default.
        """
        return (
            self.dtype in ARRAY_API and self.layout == "packed" and 1 <= self.ndim <= 3 and self.size != "empty" and not self.is_far
            and not self.skipped and self.access == "writable" and not self.form and self.path not in ("copy", "shared") and "fork" not in self.place
        )  # fmt: skip

    def array(self) -> Layout:
        """Return the packed block and the steps of the view. For a ``huge`` array, see :func:`far_rows`.

        A view without elements is a slice of an array with elements, because some libraries cannot slice an array without memory.
        """
        assert not self.is_far
        if self.count == "beside":
            return self.beside()[0]
        is_view = self.layout != "packed" or self.skipped or self.path == "view"
        if self.size != "empty" or not is_view:
            return _BUILD[self.layout](self, _shape(self))
        whole = _BUILD[self.layout](self, _FEW[self.ndim])
        cut = (*(slice(None) for _ in range(self.ndim // 2)), slice(0, 0))
        return Layout(whole.name, whole.base, (*whole.steps, Index(cut)))

    def beside(self) -> tuple[Layout, Index, Index]:
        """Return a layout whose view is twice as long in one dimension, the step from it to the array, and the step to the other view.

        The other view takes every second element. It equals the array only if all strides are 0.
        """
        shape = _shape(self)
        repeated = _repeated_axes(len(shape)) if self.layout == "broadcast" else frozenset()
        axis = next((n for n, extent in enumerate(shape) if extent > 1 and n not in repeated), 0)
        twice = tuple(2 * extent if n == axis else extent for n, extent in enumerate(shape))
        whole = _BUILD[self.layout](self, twice)
        extent = whole.view.shape[axis] // 2
        before = (slice(None),) * axis
        first, second = Index((*before, slice(0, extent))), Index((*before, slice(0, 2 * extent, 2)))
        return Layout(whole.name, whole.base, (*whole.steps, first)), first, second


_DEFAULTS = {field.name: str(field.default) for field in fields(Point)}
"""The default level of each factor, in the order of the factors."""


def far_rows(kind: DType, ndim: int = 2, skipped: int = 0) -> Strided:
    """Return two rows of six elements that are more than :data:`FAR` bytes apart, or three such elements for one dimension.

    ``skipped`` is the offset in elements.
    """
    far = FAR // kind.itemsize + 64
    if ndim == 1:
        return Strided((3,), (far,), skipped)
    return Strided((*(1,) * (ndim - 2), 2, 6), (*(2 * far,) * (ndim - 2), far, 1), skipped)


# -- the array of a point

_FEW = {
    0: (), 1: (12,), 2: (3, 4), 3: (2, 3, 2), 4: (2, 3, 2, 2), 5: (2, 2, 2, 1, 3), 6: (2, 1, 2, 2, 1, 3), 7: (2, 1, 2, 1, 2, 1, 3),
}  # fmt: skip


def _shape(point: Point) -> tuple[int, ...]:
    """Return the shape of the view. The long axis is placed where an offset needs the least memory."""
    rank, few = point.ndim, _FEW[point.ndim]
    if point.size == "few" or not rank:
        return few
    if point.size == "one":
        return (1,) * rank
    if point.size == "empty":
        return tuple(0 if axis == rank // 2 else extent for axis, extent in enumerate(few))
    ends = 1 if rank == 1 else 37 if point.size == "page" else 2
    along = {"long": 300, "page": PAGE // (point.kind.itemsize * ends) + 1, "large": MANY}[point.size]
    longest = 0 if point.layout == "packed" else rank - 1
    shape = [ends if axis in (0, rank - 1) else 1 for axis in range(rank)]
    shape[longest] = along
    return tuple(shape)


def _packed(point: Point, shape: tuple[int, ...]) -> Layout:
    skipped, room = point.skipped, int(point.path == "view")
    if not skipped and not room:
        return Layout("packed", shape)
    if not shape:
        return Layout("packed", (skipped + 1 + room,), (Index((skipped,)),))
    rows = shape[0]
    return Layout(
        "packed", (skipped + rows + room, *shape[1:]), (Index((slice(skipped, skipped + rows),)),)
    )  # fmt: skip


def _transposed(point: Point, shape: tuple[int, ...]) -> Layout:
    rank, skipped, room = len(shape), point.skipped, int(point.path == "view")
    axes = tuple(reversed(range(rank))) if rank % 2 == 0 else (*range(1, rank), 0)
    base = [shape[axes.index(axis)] for axis in range(rank)]
    steps: list[Step] = []
    if skipped or room:
        steps.append(Index((slice(skipped, skipped + base[0]),)))
        base[0] += skipped + room
    return Layout("transposed", tuple(base), (*steps, Transpose(axes)))


def _padded(point: Point, shape: tuple[int, ...]) -> Layout:
    *outer, last = shape
    at = point.skipped
    keys = (*(slice(None) for _ in outer), slice(at, at + last))
    return Layout("padded", (*outer, at + last + 3), (Index(keys),))


def _stepped(point: Point, shape: tuple[int, ...]) -> Layout:
    """Return every third element of the last axis, and every second one of the first axis if there are several.

    A large array takes every second element of the last axis only.
    """
    *outer, last = shape
    at, step = point.skipped, 2 if point.size == "large" else 3
    keys = [slice(None) for _ in outer]
    base = list(outer)
    if outer and point.size != "large":
        keys[0], base[0] = slice(None, None, 2), 2 * outer[0]
    return Layout("stepped", (*base, at + step * last), (Index((*keys, slice(at, at + step * last, step))),))


def _reversed(point: Point, shape: tuple[int, ...]) -> Layout:
    """Return a view with negative strides in the first and the last axis. The offset lies before the lowest element."""
    *outer, last = shape
    at = point.skipped
    keys = [slice(None) for _ in outer]
    if outer:
        keys[0] = slice(None, None, -1)
    return Layout(
        "reversed", (*outer, at + last + 1), (Index((*keys, slice(at + last - 1, at - 1 if at else None, -1))),)
    )


def _repeated_axes(rank: int) -> frozenset[int]:
    """Return the broadcast axes: the first, a middle or the last one, by rank. Ranks 5 and 6 have two."""
    if rank in (5, 6):
        return frozenset({rank - 4, rank - 2})
    return frozenset({{0: rank // 2, 1: rank - 1, 2: 0}[rank % 3]})


def _broadcast(point: Point, shape: tuple[int, ...]) -> Layout:
    """Return a view with stride 0 in the axes of :func:`_repeated_axes`."""
    rank, at = len(shape), point.skipped
    axes = _repeated_axes(rank)
    view = tuple(max(extent, 3) if n in axes else extent for n, extent in enumerate(shape))
    once = tuple(1 if n in axes else extent for n, extent in enumerate(view))
    keys = (*(slice(None) for _ in once[:-1]), slice(at, at + once[-1]))
    return Layout("broadcast", (*once[:-1], at + once[-1] + 1), (Index(keys), Broadcast(view)))


_BUILD = {
    "packed": _packed, "transposed": _transposed, "padded": _padded, "stepped": _stepped, "reversed": _reversed, "broadcast": _broadcast,
}  # fmt: skip


# -- levels of an exchange


@dataclass(frozen=True)
class Reach:
    """The levels that an exchange can have, and the reasons for the missing levels."""

    space: Space
    turns: tuple[str, ...] = ()
    """The 8-bit float types. They share one level and take turns in it: they have one width, and libraries treat them alike."""
    missing: tuple[tuple[str, str], ...] = ()
    """Levels that the exchange cannot have, with the reasons."""
    single: tuple[tuple[str, str], ...] = ()
    """Levels that only a point of their own has."""

    @property
    def levels(self) -> frozenset[tuple[str, str]]:
        """All levels with their factors, including the element types that take turns and the defaults."""
        found = {(name, level) for name, levels in self.space.factors for level in levels}
        defaults = {(field.name, str(field.default)) for field in fields(Point)}
        return frozenset(found | defaults | {("dtype", name) for name in self.turns} | set(self.single))


_NOT_RESERVED = "a GPU allocates all memory at once"
_ALONE = "tested with the reference on one side only"


def reach(pair: Pair) -> Reach:
    """Return the levels that both sides of an exchange can have, as the probe has measured them."""
    missing: dict[str, str] = {}

    def having(levels: Iterable[str], reasons: Mapping[str, str]) -> tuple[str, ...]:
        found = tuple(levels)
        missing.update({level: reasons[level] for level in found if level in reasons})
        return tuple(level for level in found if level not in reasons)

    types, turns = _types(pair.source.dtypes)
    space = Space(
        (
            ("dtype", types),
            ("layout", having(LAYOUTS, _layouts_missing(pair))),
            ("rank", having(RANKS, _ranks_missing(pair))),
            ("size", having(SIZES, _sizes_missing(pair))),
            ("offset", having(OFFSETS, _offsets_missing(pair))),
            ("access", having(ACCESS, _access_missing(pair))),
            ("content", CONTENTS if pair.with_reference else CONTENTS[:1]),
            ("form", _forms(pair)),
            ("path", having(PATHS, _paths_missing(pair))),
            ("count", having(COUNTS, _counts_missing(pair))),
            ("place", having(PLACES, _places_missing(pair))),
        )
    )
    rare = having((level for _, level in SINGLE), {**_counts_missing(pair), **_paths_missing(pair)})
    single = (*(one for one in SINGLE if one[1] in rare), *(("form", name) for name in _forms_alone(pair)))
    return Reach(Space(space.factors, _apart(pair, space)), turns, tuple(missing.items()), single)


def _types(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the element types, float32 first and the 8-bit floats as one level, and the 8-bit floats."""
    small = tuple(name for name in names if name.startswith("float8_"))
    default = "float32" if "float32" in names else names[0]
    rest = tuple(name for name in names if name not in (default, *small))
    return (default, *rest, *small[:1]), small


def _layouts_missing(pair: Pair) -> dict[str, str]:
    have = {
        "transposed": "permuted", "padded": "columns", "stepped": "stepped", "reversed": "reversed-step", "broadcast": "broadcast-rows",
    }  # fmt: skip
    found = {
        level: f"{pair.producer.name} cannot create such views"
        for level, name in have.items()
        if name not in pair.source.layouts
    }
    if "reversed" not in found and have["reversed"] not in pair.target.layouts:
        found["reversed"] = f"{pair.consumer.name} cannot create such views; pointer.values tests it once"
    return found


def _views_missing(pair: Pair, levels: Iterable[str]) -> dict[str, str]:
    return {} if "rows" in pair.source.layouts else dict.fromkeys(levels, f"{pair.producer.name} has no views")


def _offsets_missing(pair: Pair) -> dict[str, str]:
    found = {} if pair.with_reference else dict.fromkeys(OFFSETS[2:], _ALONE)
    return {**found, **_views_missing(pair, OFFSETS[1:])}


def _ranks_missing(pair: Pair) -> dict[str, str]:
    """Return the missing ranks. The probe does not measure the maximum rank: a library without rank 8 is not tested above rank 3."""
    found = {} if pair.with_reference else dict.fromkeys(("rank-4", "rank-5", "rank-6"), _ALONE)
    if "scalar" not in pair.source.layouts:
        found["rank-0"] = _not_made(pair, "scalar", "arrays without dimensions")
    if "rank-8" not in pair.source.layouts:
        found.update(dict.fromkeys(RANKS[4:], _not_made(pair, "rank-8", "arrays of rank 8")))
    return found


def _sizes_missing(pair: Pair) -> dict[str, str]:
    found = {} if pair.with_reference else {"long": _ALONE}
    if "empty-columns" not in pair.source.layouts:
        found["empty"] = _not_made(pair, "empty-columns", "arrays without elements")
    if pair.producer.name != REFERENCE:
        found["huge"] = f"{pair.producer.name} would have to allocate and fill all of the memory"
    elif pair.device is Device.CUDA:
        found["huge"] = _NOT_RESERVED
    return found


def _not_made(pair: Pair, layout: str, arrays: str) -> str:
    """Return the reason why the producer does not create such arrays, with the probe's message."""
    why = pair.source.missing_layouts.get(layout, "")
    return f"{pair.producer.name} makes no {arrays}" + (f": {why}" if why else "")


def _access_missing(pair: Pair) -> dict[str, str]:
    if pair.producer.has(Trait.IMMUTABLE):
        return {"readonly": f"all arrays of {pair.producer.name} are read-only"}
    return {} if pair.producer.has(Trait.READONLY) else {"readonly": f"{pair.producer.name} has no read-only arrays"}


def _forms(pair: Pair) -> tuple[str, ...]:
    """Return the forms that the reference can offer or request. The default is an empty string."""
    if not pair.with_reference or (pair.protocol is Protocol.CAI and pair.producer.name != REFERENCE):
        return ("",)
    forms = ("", *FORMS[pair.protocol][1:])
    if pair.protocol is not Protocol.DLPACK:
        return forms
    return (*forms, *(ASKED if pair.consumer.name == REFERENCE else ()))


def _forms_alone(pair: Pair) -> tuple[str, ...]:
    """Return the forms of the reference's capsules that only a point of their own has.

    On a GPU, NULL strides crash a library at every point. So only ``layout.null-strides`` tests them there.
    """
    if pair.protocol is not Protocol.DLPACK or pair.producer.name != REFERENCE:
        return ()
    return (*SPLIT, *(NO_STRIDES if pair.device is not Device.CUDA else ()))


def _paths_missing(pair: Pair) -> dict[str, str]:
    found = _views_missing(pair, ("view",))
    if pair.protocol not in pair.source.imports:
        found.update(
            dict.fromkeys(("reexport", "far-reexport"), f"{pair.producer.name} does not import by this protocol")
        )
    elif pair.device is not Device.HOST:
        found["far-reexport"] = _NOT_RESERVED
    elif not pair.with_reference:
        found["far-reexport"] = _ALONE
    if pair.protocol is not Protocol.DLPACK:
        found.update(dict.fromkeys(("copy", "shared"), "only DLPack has a keyword for copies"))
    elif not pair.consumer.has(Trait.COPY_KEYWORD):
        found.update(dict.fromkeys(("copy", "shared"), f"{pair.consumer.name} does not accept copy="))
    if not pair.with_reference:
        found["after-refusal"] = _ALONE
    return found


def _counts_missing(pair: Pair) -> dict[str, str]:
    if not pair.with_reference:
        return dict.fromkeys((*COUNTS[1:], "beside"), _ALONE)
    if "stepped" not in pair.source.layouts:
        return {"beside": f"{pair.producer.name} has no strided views"}
    return _views_missing(pair, ("beside",))


def _places_missing(pair: Pair) -> dict[str, str]:
    if not pair.with_reference:
        return dict.fromkeys(PLACES[1:], _ALONE)
    if pair.device is not Device.CUDA:
        sides = [side for side in (pair.producer, pair.consumer) if side.name != REFERENCE]
        for side in sides:
            if side.has(Trait.THREADED):
                return dict.fromkeys(
                    PLACES[2:], f"{side.name} runs threads, and its documentation says that a fork may hang"
                )
            if Device.CUDA in side.sides:
                return dict.fromkeys(PLACES[2:], f"{side.name} uses CUDA here, which does not work after a fork")
        return {}
    forks = dict.fromkeys(("in-fork", "in-thread-of-fork"), "CUDA does not work after a fork")
    return {"in-thread": "the family context tests CUDA contexts in other threads", **forks}


@dataclass(frozen=True)
class Rule:
    """Exclude every combination of a level in ``these``, of the factor ``one``, with a level in ``those``, of the factor ``other``."""

    one: str
    these: tuple[str, ...]
    other: str
    those: tuple[str, ...]
    why: str


RULES = (
    Rule("layout", LAYOUTS[1:], "rank", ("rank-0",), "an array without dimensions has one layout"),
    Rule("layout", ("transposed", "padded"), "rank", ("rank-1",), "a 1-d array has no rows"),
    Rule("layout", ("reversed", "broadcast"), "size", ("empty",), "an empty array does not use its strides"),
    Rule("layout", ("broadcast",), "size", ("one",), "no element is repeated"),
    Rule("size", SIZES[1:], "rank", ("rank-0",), "an array without dimensions has one element"),
    Rule("size", ("huge",), "layout", LAYOUTS[1:], "a huge array has a layout of its own"),
    Rule("size", ("huge",), "path", ("view", "reexport"), "a huge array has a layout of its own"),
    Rule("size", ("huge",), "place", PLACES[2:], "few exchanges of a huge array are enough"),
    Rule("size", ("large",), "place", ("in-fork", "in-thread-of-fork"), "libraries copy large arrays in their threads, which do not exist after a fork"),
    Rule("size", ("large", "huge"), "count", ("hundredth",), "a hundred exchanges take too long"),
    Rule("content", CONTENTS[1:], "size", ("empty", "huge"), "no element can be compared"),
    Rule("form", NO_STRIDES, "layout", LAYOUTS[1:], "only a C-contiguous array can have NULL strides"),
    Rule("form", NO_STRIDES, "size", ("huge",), "only a C-contiguous array can have NULL strides"),
    Rule("form", (*NO_STRIDES, *SPLIT), "path", ("reexport",), "the library that exports its import chooses the form"),
    Rule("count", ("beside",), "rank", ("rank-0",), "an array without dimensions has no strides"),
    Rule("count", ("beside",), "size", ("one", "empty", "huge"), "no other strides make a difference"),
    Rule("count", ("beside",), "path", ("reexport",), "the array itself is an import"),
    *(
        Rule("path", ("far-reexport",), factor, levels, "the array has a layout and a size of its own")
        for factor, levels in (("layout", LAYOUTS[1:]), ("size", SIZES[1:]), ("offset", OFFSETS[1:]), ("rank", ("rank-0",)))
    ),
    Rule("path", ("far-reexport",), "content", CONTENTS[1:], "no element can be compared"),
    Rule("path", ("far-reexport",), "count", ("hundredth", "beside"), "few exchanges of the array are enough"),
    Rule("path", ("far-reexport",), "place", PLACES[2:], "few exchanges of the array are enough"),
)  # fmt: skip


_NO_EMPTY_VIEWS = "the producer cannot create views without elements"


def rules(names: tuple[str, ...], *, is_of_reference: bool, has_empty_views: bool = True) -> tuple[Rule, ...]:
    """Return the rules for levels that an exchange of these element types cannot combine, or whose combination has no meaning."""
    every_bit = tuple(name for name in names if not _has_raw(name))
    found: tuple[Rule, ...] = (
        *RULES,
        Rule("content", ("raw",), "dtype", every_bit, "arithmetic preserves every bit of these types"),
    )
    if not has_empty_views:
        views = {"layout": LAYOUTS[1:], "offset": OFFSETS[1:], "path": ("view",)}
        found = (
            *found,
            *(Rule("size", ("empty",), factor, levels, _NO_EMPTY_VIEWS) for factor, levels in views.items()),
        )
    if not is_of_reference:
        return found
    why = "a legacy capsule has no read-only flag, so the reference refuses the export"
    return (*found, Rule("access", ("readonly",), "form", LEGACY, why))


@lru_cache
def couples_apart(*, is_of_reference: bool, has_empty_views: bool = True) -> frozenset[Couple]:
    """Return all pairs of levels that :func:`rules` excludes."""
    return frozenset(
        frozenset({(rule.one, a), (rule.other, b)})
        for rule in rules(tuple(DTYPES), is_of_reference=is_of_reference, has_empty_views=has_empty_views)
        for a, b in product(rule.these, rule.those)
    )


def _apart(pair: Pair, space: Space) -> frozenset[Couple]:
    levels = {(name, level) for name, found in space.factors for level in found}
    return frozenset(couple for couple in couples_apart(**_kind(pair)) if couple <= levels)


def _kind(pair: Pair) -> dict[str, bool]:
    return {
        "is_of_reference": pair.producer.name == REFERENCE, "has_empty_views": "empty-slice" in pair.source.layouts,
    }  # fmt: skip


_WITH_OTHERS = {
    "beside": "each point repeats such an exchange, so it has no case of its own",
    "far-reexport": "the size huge, with the reference, covers such strides",
}


def left_out(pairs: Iterable[Pair]) -> Iterator[tuple[str, str]]:
    """Return the levels, and the combinations of levels, that no point of these exchanges has, with the reasons."""
    found: dict[tuple[str, str], None] = {}
    for pair in pairs:
        for level, why in reach(pair).missing:
            found[
                f"{level} from {pair.producer.name} to {pair.consumer.name} by {pair.protocol.value} on {pair.device.value}",
                why,
            ] = None
        for level, why in _WITH_OTHERS.items():
            found[f"{level} with other levels", why] = None
        for rule in rules(pair.source.dtypes, **_kind(pair)):
            found[f"{' or '.join(rule.these)} with {' or '.join(rule.those)}", rule.why] = None
    return iter(found)


def _has_raw(name: str) -> bool:
    """Return whether a type has bits that arithmetic can change."""
    return name == "bool" or name.startswith(("float16", "float32", "float64", "complex", "bfloat"))


# -- the points of an exchange


def points(found: Reach) -> Iterator[Point]:
    """Yield all points of an exchange. Points with at most one level that is not the default come first."""
    types, turn = dict(found.space.factors)["dtype"], 0
    for chosen in _covered(found.space):
        if chosen["dtype"] in found.turns:
            chosen = {**chosen, "dtype": found.turns[turn % len(found.turns)]}
            turn += 1
        yield Point(**chosen)
    default = found.space.default
    for name in found.turns:
        if name not in types:
            yield Point(**{**default, "dtype": name})
    for factor, level in found.single:
        yield Point(**{**default, factor: level})


@lru_cache(maxsize=256)
def _covered(space: Space) -> tuple[dict[str, str], ...]:
    return tuple(covering(space))
