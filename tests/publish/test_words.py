"""Text from outside is made safe to show."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from conformance.reports.words import MEANINGS, line, plain
from conformance.runs.remarks import Kind

ANY = st.text(st.characters(), max_size=200) | st.text("\x00\x1b\u202e\u2066\ud800\n\tab ", max_size=50)


@given(ANY)
def test_nothing_that_acts_is_left(text: str) -> None:
    """No control character but line end and tab, no mark of direction, no half of a pair."""
    left = {unicodedata.category(c) for c in plain(text) if c not in "\n\t"}
    assert left & {"Cc", "Cs", "Zl", "Zp"} == set()
    assert not set(plain(text)) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\ufeff")
    plain(text).encode()


@given(ANY, st.integers(20, 100))
def test_it_is_never_longer_than_asked_for(text: str, most: int) -> None:
    """Both ends of a long text stay, and twice is once."""
    found = plain(text, most)
    assert len(found) <= most
    assert plain(found, most) == found


def test_what_is_cut_out_is_the_middle() -> None:
    """An exception says what it is at its beginning, a stack at its end."""
    found = plain("begin" + "x" * 10_000 + "end", 100)
    assert (found.startswith("begin"), found.endswith("end"), "[…]" in found) == (True, True, True)


def test_a_line_is_one_line() -> None:
    """By whichever sign its lines end."""
    assert line("a\r\n b\t\tc\n") == "a b c"


def test_every_kind_of_remark_has_a_meaning() -> None:
    """A new one cannot be forgotten."""
    assert set(MEANINGS) == set(Kind)
