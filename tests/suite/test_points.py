"""The points of an exchange: their arrays, their number, and the levels that are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from itertools import product

import pytest

from conformance.adapters.base import Device, Protocol, Trait
from conformance.checks.catalogue import Tier, catalogue
from conformance.checks.covering_arrays import covering, uncovered
from conformance.checks.input_words import combined, parts
from conformance.checks.layouts import LAYOUTS
from conformance.checks.libraries import REFERENCE, Environment, Library, Pair, Side
from conformance.checks.points import LAYOUTS as LEVELS
from conformance.checks.points import MANY, PAGE, RANKS, Point, couples_apart, left_out, points, reach
from conformance.protocols.dtypes import DTYPES
from conformance.protocols.strided import apply, packed, span

BOTH = (Protocol.DLPACK, Protocol.CAI)
ALL = frozenset({Trait.READONLY, Trait.COPY_KEYWORD, Trait.ARRAY_API})


def library(name: str, traits: frozenset[Trait] = ALL, layouts: tuple[str, ...] = tuple(LAYOUTS)) -> Library:
    """One with every element type, on host memory and on a GPU."""
    sides = {device: Side(tuple(DTYPES), layouts, BOTH, BOTH) for device in (Device.HOST, Device.CUDA)}
    return Library(name, {}, traits, sides=sides)


def pairs() -> Iterator[Pair]:
    """Each of the reference, a library that can do all, and one without views and without copies."""
    plain = library(
        "plain", frozenset({Trait.IMMUTABLE}), ("c-order", "vector", "cube", "scalar", "rank-8", "empty-columns")
    )
    return Environment((library(REFERENCE), library("able"), plain)).pairs()


EVERY = [(pair, point) for pair in pairs() for point in points(reach(pair))]


def test_the_points_of_every_exchange_cover_its_pairs() -> None:
    """By the check that shares nothing with the search."""
    for pair in pairs():
        space = reach(pair).space
        assert not uncovered(space, covering(space))


def test_every_element_type_has_a_point_of_its_own() -> None:
    """Those that take turns in the covering array, too."""
    for pair in pairs():
        single = {point.dtype for point in points(reach(pair)) if len(point.changed) < 2}
        assert single == set(pair.source.dtypes)


def test_an_exchange_has_no_point_twice_and_not_too_many() -> None:
    """The run has to stay short."""
    for pair in pairs():
        found = list(points(reach(pair)))
        assert len(set(found)) == len(found)
        is_reference_alone = pair.producer.name == pair.consumer.name == REFERENCE
        assert len(found) <= (220 if is_reference_alone else 200 if pair.with_reference else 150)


def test_the_quick_tier_has_one_point_of_each_exchange_with_the_reference() -> None:
    """Each point makes about ninety checks, so these would be most of the tier."""
    libraries = Environment((library(REFERENCE), library("able")))
    cases = [case for case in catalogue()["combination.exchange"].cases(libraries) if case.tier is Tier.QUICK]
    exchanges = Counter((case.producer, case.consumer, case.protocol, case.device) for case in cases)
    assert exchanges == Counter(
        (pair.producer.name, pair.consumer.name, pair.protocol.value, pair.device)
        for pair in libraries.pairs()
        if pair.with_reference
    )
    assert all(len(case.parameters) == 1 for case in cases)


def test_long_cases_and_those_with_a_process_of_their_own_are_not_quick() -> None:
    """They would take most of the time of the tier."""
    libraries = Environment((library(REFERENCE), library("able")))
    for known in catalogue().values():
        if known.long or known.isolation.changes_others:
            assert not [case for case in known.cases(libraries) if case.tier is Tier.QUICK]


def test_an_array_is_as_its_point_says() -> None:
    """Rank, size, layout and offset, and everything inside of the block."""
    for _, point in EVERY:
        if point.is_far:
            continue
        form = point.array()
        view, size = form.view, form.view.size
        low, high = span(view)
        assert view.ndim == point.ndim
        assert not size or (low >= 0 and high <= form.elements), point
        assert (size == 0) == (point.size == "empty")
        assert point.size != "large" or size >= MANY
        assert point.size != "page" or PAGE < size * point.kind.itemsize <= PAGE * 10
        assert point.size != "long" or max(view.shape) == 300
        assert size < 2 or view.contiguous == (point.layout == "packed"), point
        assert not point.skipped or point.layout == "reversed" or not size or view.offset >= point.skipped
        assert form.elements * point.kind.itemsize < 8 << 20


def test_points_have_middle_extents_far_offsets_and_two_repeated_axes() -> None:
    """Extents of seven bits, offsets beyond 64 KiB, and stride 0 along two axes: a library may be wrong only there."""
    views = [point.array().view for _, point in EVERY if not point.is_far]
    assert any(32 <= extent <= 127 for view in views for extent in view.shape)
    assert any(view.offset > 1 << 16 for view in views)
    assert any(list(view.strides).count(0) == 2 for view in views)


def test_a_view_beside_another_has_its_start_and_shape_and_other_strides() -> None:
    """In every layout; where all strides are 0 there are no others."""
    for layout, rank, size in product(LEVELS, RANKS, ("few", "long", "page", "large")):
        point = Point(layout=layout, rank=rank, size=size, count="beside")
        if rank == "rank-0" or (rank == "rank-1" and layout in ("transposed", "padded", "broadcast")):
            continue
        form, first, second = point.beside()
        outer = reduce(apply, form.steps[:-1], packed(form.base))
        view, other = apply(outer, first), apply(outer, second)
        assert (view, view.contiguous) == (form.view, layout == "packed"), point
        assert (view.offset, view.shape) == (other.offset, other.shape)
        assert view.strides != other.strides
        assert max(span(other)) <= form.elements
        assert view.shape == replace(point, count="first").array().view.shape


def test_a_view_without_elements_is_part_of_an_array_that_has_some() -> None:
    """A library may make no view of an array without memory, as PyCUDA does not."""
    for levels in (
        {"layout": "transposed", "rank": "rank-4"},
        {"layout": "stepped"},
        {"offset": "offset-3"},
        {"path": "view"},
    ):
        form = Point(size="empty", **levels).array()
        assert (form.elements > 0, form.view.size) == (True, 0)
    assert Point(size="empty").array().steps == ()


@pytest.mark.parametrize(
    ("missing", "level"),
    [("scalar", "rank-0"), ("rank-8", "rank-4"), ("rank-8", "rank-7"), ("empty-columns", "empty")],
)
def test_an_array_that_the_producer_does_not_make_is_left_out(missing: str, level: str) -> None:
    """By the measure of the probe, in the library's own words."""
    able = library("able", layouts=tuple(name for name in LAYOUTS if name != missing))
    for side in able.sides.values():
        side.missing_layouts[missing] = "Shape data must not be NULL"
    pair = Pair(able, library(REFERENCE), Protocol.DLPACK, Device.CUDA)
    told = dict(left_out([pair]))
    assert told[f"{level} from able to reference by dlpack on cuda"].endswith(": Shape data must not be NULL")
    assert not any(level in dict(point.changed).values() for point in points(reach(pair)))


def test_a_producer_without_empty_views_has_empty_arrays() -> None:
    """They are left out only together with levels that make them views."""
    able = library("able", layouts=tuple(name for name in LAYOUTS if name != "empty-slice"))
    pair = Pair(able, library(REFERENCE), Protocol.DLPACK, Device.CUDA)
    empties = [point for point in points(reach(pair)) if point.size == "empty"]
    assert empties
    assert all(point.layout == "packed" and not point.skipped and point.path != "view" for point in empties)


@pytest.mark.parametrize(("layout", "sign"), [("reversed", -1), ("broadcast", 0)])
def test_strides_have_the_sign_of_their_layout(layout: str, sign: int) -> None:
    """In every rank."""
    for rank in range(1, 8):
        view = Point(layout=layout, rank=f"rank-{rank}").array().view
        assert any((stride > 0) - (stride < 0) == sign for n, stride in zip(view.shape, view.strides) if n > 1)


def test_a_point_is_read_from_the_parameters_of_its_case() -> None:
    """They have the levels that are not defaults, so the plain exchange has none."""
    for _, point in EVERY:
        assert Point.of(point.changed) == point
    assert Point().changed == ()


def test_only_plain_arrays_are_promised() -> None:
    """Element type, size and path may be special, and nothing else."""
    assert Point(dtype="int8", size="large", count="second").is_plain
    assert Point(rank="rank-3").is_plain
    for special in (
        Point(dtype="bfloat16"), Point(layout="stepped"), Point(rank="rank-4"), Point(offset="offset-1"), Point(access="readonly"),
        Point(form="legacy"), Point(path="copy"), Point(size="empty"),
    ):  # fmt: skip
        assert not special.is_plain


def test_the_words_for_levels_can_be_taken_apart() -> None:
    """One respect alone is said as older invariants say it."""
    assert combined(Point(layout="stepped").changed) == "a strided view"
    assert combined(Point(dtype="int8").changed) == "an array of int8"
    assert combined(Point(path="copy").changed) == "`copy=True`"
    for _, point in EVERY:
        given = combined(point.changed)
        single = [word for level in point.changed for word in combined([level]).split(", ")]
        assert not point.changed or list(parts(given)) == list(dict.fromkeys(single))
    assert parts("an array of 65 dimensions, and more") == ("an array of 65 dimensions, and more",)


def test_each_combination_that_is_left_out_has_a_reason() -> None:
    """The catalogue prints it."""
    told = dict(left_out(pairs()))
    assert told["readonly from plain to able by dlpack on host"] == "all arrays of plain are read-only"
    assert told["copy from able to plain by dlpack on host"] == "plain does not accept copy="
    assert told["in-fork from reference to able by dlpack on cuda"] == "CUDA does not work after a fork"
    assert all(told.values())


def test_a_process_with_a_threaded_library_is_not_forked() -> None:
    """A fork may hang there, by luck."""
    threaded = library("threaded", ALL | {Trait.THREADED})
    for pair in Environment((library(REFERENCE), threaded)).pairs(on=(Device.HOST,)):
        places = dict(reach(pair).space.factors)["place"]
        assert ("in-fork" in places) == ("threaded" not in (pair.producer.name, pair.consumer.name))


def test_a_process_with_a_cuda_library_is_not_forked() -> None:
    """Such a library may ask the driver about host memory, too, and CUDA does not survive a fork."""
    host = Library("host", {}, ALL, sides={Device.HOST: library("host").sides[Device.HOST]})
    for pair in Environment((library(REFERENCE), host, library("able"))).pairs(on=(Device.HOST,)):
        if pair.with_reference:
            places = dict(reach(pair).space.factors)["place"]
            assert ("in-fork" in places) == ("able" not in (pair.producer.name, pair.consumer.name))
    told = dict(left_out([Pair(library("able"), library(REFERENCE), Protocol.DLPACK, Device.HOST)]))
    why = told["in-fork from able to reference by dlpack on host"]
    assert why == "able uses CUDA here, which does not work after a fork"


# -- the nearest point


def test_the_nearest_point_has_the_levels_and_all_others_that_go_with_them() -> None:
    """The other levels are those of the point; a level that is wanted takes the place of one of its factor."""
    point = Point(dtype="int64", layout="stepped", access="readonly")
    found = point.nearest([("layout", "padded"), ("rank", "rank-3")], is_of_reference=True)
    assert found == Point(dtype="int64", layout="padded", access="readonly", rank="rank-3")
    assert point.nearest([], is_of_reference=True) == point


@pytest.mark.parametrize("is_of_reference", [True, False])
def test_a_level_that_does_not_go_with_those_wanted_is_the_default(is_of_reference: bool) -> None:
    """And the wanted one stays, in either direction."""
    apart = sorted(sorted(couple) for couple in couples_apart(is_of_reference=is_of_reference))
    couples = [couple for couple in apart if len(couple) == 2 and couple[0][0] != couple[1][0]][::9]
    assert couples
    for one, other in couples:
        for here, wanted in ((one, other), (other, one)):
            assert Point(**dict([here])).nearest([wanted], is_of_reference=is_of_reference) == Point(**dict([wanted]))
