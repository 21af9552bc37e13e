"""Dictionaries of the CUDA Array Interface: made, judged and read."""

from __future__ import annotations

import re
from collections import OrderedDict, namedtuple
from enum import IntEnum
from typing import Any

import pytest

from conformance.protocols import cai
from conformance.protocols.clauses import clause


class Indexable:
    """A number that is no Python int, as NumPy's are."""

    def __index__(self) -> int:
        return 3


class WithInterface:
    """What a mask has to be."""

    __cuda_array_interface__: dict[str, Any] = {}


def dictionary(**changes: Any) -> dict[str, Any]:
    """A well-formed dictionary of 3 by 4 elements of float32, with some keys replaced."""
    return {**cai.build((3, 4), "<f4", 4096), **changes}


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_what_is_built_reads_back(version: int) -> None:
    """Building and parsing are each other's reverse in every version."""
    built = cai.build((2, 3), "<i8", 8192, strides=(48, 8), readonly=True, version=version)
    assert cai.parse(built) == cai.ArrayInterface((2, 3), "<i8", 8192, True, (48, 8), version, None, None)


def test_what_is_not_said_is_the_newest_version_writable_and_packed() -> None:
    """A dictionary that is built of three facts claims nothing more."""
    assert cai.build((2,), "<f4", 64) == {
        "shape": (2,), "typestr": "<f4", "data": (64, False), "version": 3, "strides": None, "stream": None,
    }  # fmt: skip


def test_stream_and_mask_are_read() -> None:
    """Whoever waits or masks by what was read gets the dictionary's own."""
    mask = WithInterface()
    read = cai.parse(dictionary(stream=7, mask=mask))
    assert (read.stream, read.mask) == (7, mask)


def test_only_version_3_has_a_stream() -> None:
    """An older dictionary does not get a key that its version does not know."""
    assert cai.build((), "<f4", 0, version=3, stream=7)["stream"] == 7
    assert "stream" not in cai.build((), "<f4", 0, version=2, stream=7)


def test_extra_keys_are_built_in() -> None:
    """``descr``, ``mask`` and whatever else goes in as it is given."""
    assert cai.build((), "<f4", 0, descr=[("", "<f4")], other=1)["descr"] == [("", "<f4")]


def test_keys_can_be_left_out() -> None:
    """The dictionary less some keys is a new one."""
    whole = dictionary()
    assert set(cai.without(whole, "strides", "stream")) == {*cai.REQUIRED}
    assert "strides" in whole


@pytest.mark.parametrize(
    "well_formed",
    [
        dictionary(),
        cai.without(dictionary(), "strides", "stream"),
        dictionary(shape=(), strides=()),
        dictionary(shape=(0, 3), data=(0, False)),
        dictionary(strides=(-16, 4)),
        dictionary(strides=(0, 0)),
        dictionary(descr=[("", "<f4")]),
        dictionary(typestr="|V8", descr=[("a", "<f4"), ("b", "<i4")]),
        dictionary(typestr="<M8[25s]", descr=None),
        dictionary(typestr=">c16"),
        dictionary(mask=None),
        dictionary(mask=WithInterface()),
        dictionary(stream=1),
        dictionary(stream=None),
        dictionary(stream=0, version=2),
        dictionary(version=IntEnum("Version", "ONE")(1)),
        dictionary(shape=namedtuple("Shape", "rows columns")(3, 4)),
        dictionary(later_key=object()),
        OrderedDict(dictionary()),
    ],
    ids=lambda described: re.sub(r" at 0x[0-9a-f]+", "", str(described)),
)
def test_a_well_formed_dictionary_has_no_problems(well_formed: dict[str, Any]) -> None:
    """Whatever the interface allows is allowed: optional keys, tuples and ints by inheritance, keys nobody knows."""
    assert cai.problems(well_formed) == []
    assert cai.parse(well_formed).typestr == well_formed["typestr"]


MALFORMED = [
    ("CAI-01", "shape", cai.without(dictionary(), "shape")),
    ("CAI-01", "typestr", cai.without(dictionary(), "typestr")),
    ("CAI-01", "data", cai.without(dictionary(), "data")),
    ("CAI-01", "version", cai.without(dictionary(), "version")),
    ("CAI-02", "shape", dictionary(shape=[3, 4])),
    ("CAI-02", "shape", dictionary(shape=12)),
    ("CAI-02", "shape", dictionary(shape=(Indexable(), 4))),
    ("CAI-02", "shape", dictionary(shape=(True, 4))),
    ("CAI-02", "shape", dictionary(shape=(-3, 4))),
    ("CAI-03", "typestr", dictionary(typestr="float32")),
    ("CAI-03", "typestr", dictionary(typestr="f4")),
    ("CAI-03", "typestr", dictionary(typestr="=f4")),
    ("CAI-03", "typestr", dictionary(typestr="<f")),
    ("CAI-03", "typestr", dictionary(typestr="<q4")),
    ("CAI-03", "typestr", dictionary(typestr="<f4\n")),
    ("CAI-03", "typestr", dictionary(typestr=b"<f4")),
    ("CAI-04", "data", dictionary(data=4096)),
    ("CAI-04", "data", dictionary(data=[4096, False])),
    ("CAI-04", "data", dictionary(data=(4096,))),
    ("CAI-04", "data", dictionary(data=(4096, 0))),
    ("CAI-04", "data", dictionary(data=(True, False))),
    ("CAI-04", "data", dictionary(data=(None, False))),
    ("CAI-04", "data[0]", dictionary(data=(-1, False))),
    ("CAI-09", "version", dictionary(version="3")),
    ("CAI-09", "version", dictionary(version=None)),
    ("CAI-11", "strides", dictionary(strides=[16, 4])),
    ("CAI-11", "strides", dictionary(strides=(16,))),
    ("CAI-11", "strides", dictionary(strides=(16.0, 4))),
    ("CAI-14", "descr", dictionary(descr="<f4")),
    ("CAI-14", "descr", dictionary(descr=[("", "<f8")])),
    ("CAI-15", "mask", dictionary(mask=object())),
    ("CAI-16", "stream", dictionary(stream=0)),
    ("CAI-16", "stream", dictionary(stream=Indexable())),
    ("CAI-16", "stream", dictionary(stream=False)),
]


@pytest.mark.parametrize(
    ("cited", "key", "malformed"), MALFORMED, ids=[f"{c}-{k}-{i}" for i, (c, k, _) in enumerate(MALFORMED)]
)
def test_a_malformed_field_is_named_with_its_clause(cited: str, key: str, malformed: dict[str, Any]) -> None:
    """Each way to be wrong gives one problem, which says what was expected and what was there."""
    (problem,) = cai.problems(malformed)
    assert (problem.clause, problem.key) == (cited, key)
    assert problem.expected
    assert problem.seen
    assert clause(problem.clause)


@pytest.mark.parametrize(
    ("key", "value", "seen"),
    [
        ("shape", [3, 4], "[3, 4] (list)"),
        ("typestr", b"<f4", "b'<f4' (bytes)"),
        ("data", [4096, False], "[4096, False] (list)"),
        ("data", (-1, False), "(-1, False) (tuple)"),
        ("version", "3", "'3' (str)"),
        ("strides", [16, 4], "[16, 4] (list)"),
        ("strides", (16,), "(16,) (tuple)"),
        ("descr", "<f4", "'<f4' (str)"),
        ("descr", [("", "<f8")], "[('', '<f8')]: 8 bytes"),
        ("stream", False, "False (bool)"),
        ("stream", 0, "0"),
        ("mask", 1, "1 (int)"),
    ],
)
def test_what_is_there_instead_is_shown_with_its_type(key: str, value: Any, seen: str) -> None:
    """A list that looks like the tuple, or a bool that looks like the number, is told from it."""
    (problem,) = cai.problems(dictionary(**{key: value}))
    assert problem.seen == seen


def test_what_is_missing_is_called_missing() -> None:
    """Not ``None``, which would be a value."""
    assert [p.seen for p in cai.problems({})] == ["missing"] * len(cai.REQUIRED)


@pytest.mark.parametrize("described", [None, [], "shape", tuple(dictionary().items())])
def test_what_is_no_dict_is_one_problem(described: Any) -> None:
    """Nothing else can be said of it."""
    (problem,) = cai.problems(described)
    assert problem == cai.Problem("CAI-01", "(the whole)", "a dict", f"{described!r} ({type(described).__name__})")


def test_every_problem_is_reported_not_only_the_first() -> None:
    """A reader of the report should not have to fix one field to hear of the next."""
    wrong = dictionary(shape=[3, 4], version="3", stream=0)
    assert {p.key for p in cai.problems(wrong)} == {"shape", "version", "stream"}
    with pytest.raises(ValueError, match=r"^shape: [^;]*; version: [^;]*; stream: [^;]*$"):
        cai.parse(wrong)


@pytest.mark.parametrize(
    ("typestr", "nbytes"),
    [
        ("|b1", 1),
        ("<f4", 4),
        (">c16", 16),
        ("|V0", 0),
        ("<U2", 8),
        ("|S5", 5),
        ("|t1", 1),
        ("|t8", 1),
        ("|t12", 2),
        ("|t16", 2),
        ("<M8[25s]", 8),
        ("|O8", 8),
    ],
)
def test_a_typestr_says_how_wide_an_element_is(typestr: str, nbytes: int) -> None:
    """Bytes for most kinds, characters of 4 bytes for ``U``, bits for ``t``; a date's unit does not count."""
    assert cai.typestr_bytes(typestr) == nbytes


@pytest.mark.parametrize("typestr", ["", "<", "f4", "<f", "<z4", "float32"])
def test_a_typestr_outside_the_grammar_has_no_width(typestr: str) -> None:
    """Guessing one would hide the mistake."""
    with pytest.raises(ValueError, match="typestr"):
        cai.typestr_bytes(typestr)


@pytest.mark.parametrize(
    ("descr", "nbytes"),
    [
        ([("", "<f4")], 4),
        ([("a", "|u1"), ("", "|V3"), ("b", "<f4")], 8),
        ([("a", "<f4", (2, 3))], 24),
        ([("a", "<f4", ())], 4),
        ([("a", [("x", "<f4"), ("y", "<f8")]), ("b", "|u1")], 13),
        ([(("title", "a"), "<f4")], 4),
        ([("a", "|V0"), ("b", "<f4")], 4),
        ([("a", "<f4", (0, 3)), ("b", "<f4", (1,))], 4),
        ([], 0),
    ],
)
def test_a_descr_adds_up(descr: Any, nbytes: int) -> None:
    """Nested records, sub-arrays, padding and titles included."""
    assert cai.descr_bytes(descr) == nbytes


@pytest.mark.parametrize(
    "descr",
    [
        None,
        "<f4",
        ("a", "<f4"),
        [["a", "<f4"]],
        [("a",)],
        [("a", "f4")],
        [(1, "<f4")],
        [("a", "<f4", [2])],
        [("a", "<f4", (-1,))],
        [("a", "<f4", (-1, -2))],
    ],
)
def test_a_malformed_descr_adds_up_to_nothing(descr: Any) -> None:
    """``None`` says that it is malformed; 0 would say that it is empty."""
    assert cai.descr_bytes(descr) is None


class Speechless:
    """Raises whatever is asked of it."""

    @property
    def __cuda_array_interface__(self) -> Any:
        raise RuntimeError("not now")

    def __repr__(self) -> str:
        raise RuntimeError("no words")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = object.__hash__


@pytest.mark.parametrize("key", ["shape", "typestr", "data", "version", "strides", "descr", "mask", "stream"])
def test_a_value_that_raises_whatever_is_asked_of_it_is_a_problem_like_any_other(key: str) -> None:
    """A tensor that requires a gradient has the attribute, which raises ``RuntimeError``."""
    (problem,) = cai.problems({**cai.build((3,), "<f4", 4096), key: Speechless()})
    assert problem.key == key
    assert problem.seen.startswith("a Speechless with a repr ")
    assert problem.seen.endswith(" raises RuntimeError")


def test_records_in_records_are_followed_as_deep_as_anybody_nests_them() -> None:
    """Up to a depth that only a list that contains itself has."""
    deep: Any = [("x", "<f4")]
    for _ in range(cai._DEEPEST - 1):
        deep = [("in", deep)]
    assert cai.descr_bytes(deep) == 4
    assert cai.descr_bytes([("in", deep)]) is None


def test_a_descr_that_contains_itself_is_malformed() -> None:
    """It is told, and not followed for ever."""
    described: list[Any] = []
    described.append(("again", described))
    assert cai.descr_bytes(described) is None
    assert [problem.key for problem in cai.problems(dictionary(descr=described))] == ["descr"]


def test_a_typestr_with_more_digits_than_any_element_has_bytes_is_malformed() -> None:
    """Python refuses to read a number of 5000 digits."""
    endless = dictionary(typestr="<f" + "9" * 5000, descr=[("", "<f4")])
    assert [problem.key for problem in cai.problems(endless)] == ["typestr"]
