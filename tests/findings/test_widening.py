"""Special inputs that together are one wider input."""

from __future__ import annotations

import pytest

from conformance.findings.input_groups import widened

_STRIDED, _OFFSET = " that is also a strided view", ", a capsule with a `byte_offset`"
_SIZES = ("an array with an extent of 300", "an array of more than 4 KiB", "an array of more than 64 Ki elements")


def of_types(*names: str, rest: str = "") -> list[str]:
    """Arrays of these element types that are special in a further respect, or not."""
    return [f"an array of {name}{rest}" for name in names]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (of_types("int64", "uint64", "float64", "complex64"), "an array of 8-byte elements"),
        (of_types("int16", "uint16", "float16", rest=_STRIDED), f"an array of 2-byte elements{_STRIDED}"),
        (of_types("bool", "int8", "uint8", "float8_e5m2", rest=_OFFSET), f"an array of 1-byte elements{_OFFSET}"),
        ([f"an array of {rank} dimensions" for rank in (4, 5, 6, 7)], "an array of 4 or more dimensions"),
        ([f"an array of int8 that is also an array of {rank} dimensions" for rank in (3, 4, 5, 6, 7)], "an array of int8 that is also an array of 3 or more dimensions"),
        ([f"{size}, `copy=True`" for size in _SIZES], "an array with an extent of 300 or more, `copy=True`"),
        (list(_SIZES[1:]), "an array of more than 4 KiB"),
    ],
)  # fmt: skip
def test_all_of_a_kind_are_one(given: list[str], told: str) -> None:
    """The rest stays."""
    assert set(widened(given).values()) == {told}


@pytest.mark.parametrize(
    "given",
    [
        of_types("int64", "uint64"),
        of_types("float8_e5m2", "float8_e4m3fn", "float8_e3m4"),
        [*of_types("int64", "uint64"), *of_types("float64", rest=_STRIDED)],
        [f"an array of {rank} dimensions" for rank in (3, 5, 7)],
        ["an array of 7 dimensions", "an array of 6 dimensions"],
        [_SIZES[0], _SIZES[2]],
        ["", "a strided view", "something that a check says, and more"],
    ],
)
def test_some_of_a_kind_are_as_many(given: list[str]) -> None:
    """One that is right is enough."""
    assert widened(given) == {one: one for one in given}


def test_several_kinds_are_widened_at_once() -> None:
    """Element types first, then ranks."""
    given = [
        f"an array of {name} that is also an array of {rank} dimensions"
        for name in ("int64", "uint64", "float64")
        for rank in (5, 6, 7)
    ]
    assert set(widened(given).values()) == {"an array of 8-byte elements that is also an array of 5 or more dimensions"}
