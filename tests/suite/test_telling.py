"""Streams and elements in the words of a report."""

from __future__ import annotations

import pytest

from conformance.ordering import wording


@pytest.mark.parametrize(
    ("handle", "told"),
    [
        (1, "the legacy default stream (1)"),
        (2, "the per-thread default stream (2)"),
        (0x55D0, "stream 0x55d0"),
        (None, "no stream"),
        (0, "stream 0"),
        ("x", "stream 'x'"),
    ],
)
def test_a_stream_is_told_by_its_handle(handle: object, told: str) -> None:
    """The default ones by name, what is no stream as it is."""
    assert wording.stream(handle) == told


def test_elements_are_told_by_their_values_the_most_frequent_first() -> None:
    """So many of so many."""
    data = b"".join(word.to_bytes(4, "little") for word in (7, 7, 9, 7, 1))
    known = {7: "the old value", 9: "the new value"}
    assert wording.elements(data, known) == (
        "the old value in 3 of 5 elements and the new value in 1 of 5 elements and another value in 1 of 5 elements"
    )
