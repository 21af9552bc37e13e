"""Validation of JSON data: the first part of another shape is reported."""

from __future__ import annotations

from typing import Any

import pytest

from conformance import shapes
from conformance.shapes import ANYTHING, Each, Maybe, mistake

SHAPE: dict[str, Any] = {
    "name": str,
    "size": int,
    "seconds": float,
    "good": bool,
    "parts": [{"id": (None, str)}],
    "notes": Each(str),
    "some": Each(int, frozenset(("a", "b"))),
    "word": frozenset(("a", "b")),
    "way": ({"open": True, "to": str}, {"open": False}),
    "more": Maybe(str),
}
SOUND: dict[str, Any] = {
    "name": "x", "size": 1, "seconds": 0.5, "good": True, "parts": [{"id": None}, {"id": "x"}], "notes": {"k": "v"}, "some": {"a": 1},
    "word": "a", "way": {"open": False},
}  # fmt: skip


def nested(levels: int) -> list[Any]:
    """Return nested lists."""
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    "change",
    [{}, {"more": "x"}, {"other": nested(40)}, {"seconds": 3}, {"way": {"open": True, "to": "x"}}, {"parts": []}],
)
def test_what_is_of_its_shape_is_none(change: dict[str, Any]) -> None:
    """Keys beyond the shape are allowed."""
    assert mistake({**SOUND, **change}, SHAPE) == ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": 5}, "name is 5, but must be a string"),
        ({"size": True}, "size is True, but must be an integer"),
        ({"size": 1.0}, "size is 1.0, but must be an integer"),
        ({"size": 1 << 63}, "size is 9223372036854775808, but must be an integer"),
        ({"seconds": float("inf")}, "seconds is inf, but must be a number"),
        ({"seconds": float("nan")}, "seconds is nan, but must be a number"),
        ({"seconds": 10**400}, "but must be a number"),
        ({"good": 1}, "good is 1, but must be true or false"),
        ({"parts": {}}, "parts is {}, but must be a list"),
        ({"parts": [{"id": "x"}, {"id": 5}]}, "parts[1].id is 5, but must be a string"),
        ({"parts": [{}]}, "parts[0] has no 'id'"),
        ({"notes": []}, "notes is [], but must be an object"),
        ({"notes": {"k": None}}, "notes.k is None, but must be a string"),
        ({"some": {"c": 1}}, "some has 'c', which is unknown"),
        ({"word": "c"}, "word is 'c', which is unknown"),
        ({"word": ["a"]}, "word is ['a'], which is unknown"),
        ({"way": {"open": True}}, "way has no 'to'"),
        ({"way": 5}, "way is 5, but must be an object"),
        ({"more": None}, "more is None, but must be a string"),
        ({"other": nested(100)}, "other is nested too deeply"),
        ({"other": {"x": nested(900)}}, "other is nested too deeply"),
    ],
)
def test_the_first_part_of_another_kind_is_told(change: dict[str, Any], told: str) -> None:
    """The message has the part, its value and the expected shape."""
    assert told in mistake({**SOUND, **change}, SHAPE)


@pytest.mark.parametrize("value", [None, 5, "x", [], ()])
def test_what_is_no_object_at_all_is_told(value: object) -> None:
    """Such a value has no parts."""
    assert mistake(value, SHAPE) == f"it is {value!r}, but must be an object"


def test_anything_goes_as_deep_as_anything_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of the nesting depth applies."""
    assert mistake(nested(shapes.LEVELS - 1), ANYTHING) == ""
    assert mistake(nested(shapes.LEVELS), ANYTHING) == "it is nested too deeply"
