"""Patterns have one special character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.wildcards import fits, may_begin

texts = st.text(st.sampled_from("ab*[]-?.\n\\/^$"), max_size=12)


@given(texts)
def test_every_text_is_its_own_pattern(text: str) -> None:
    """Brackets, dots, question marks and line ends are themselves."""
    assert fits(text, text)


@given(st.text(st.sampled_from("ab[]?.-")), texts)
def test_without_a_star_nothing_else_fits(pattern: str, text: str) -> None:
    """A text is what it is."""
    assert fits(pattern, text) is (pattern == text)


@given(texts, texts, texts)
def test_a_star_stands_for_any_text(one: str, other: str, between: str) -> None:
    """Also for several lines, and for none."""
    plain = one.replace("*", "+"), other.replace("*", "+")
    assert fits("*".join(plain), between.join(plain))
    assert fits("*".join(plain), "".join(plain))


@pytest.mark.parametrize(
    ("pattern", "possible"),
    [("dtype.exchange/a", True), ("dtype.*", True), ("*", True), ("d*e/x", True), ("dtype.exchanges/a", False), ("layout.*", False), ("dtype", False)],
)  # fmt: skip
def test_a_pattern_may_begin_with_what_its_part_before_the_star_allows(pattern: str, possible: bool) -> None:
    """An id that is cut off is none."""
    assert may_begin(pattern, "dtype.exchange/") is possible
