"""Whatever is printed is made harmless by the screen."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from conformance.console.screen import Screen

HOSTILE = "a\x1b[8mb\x1b]0;title\x07c\u202ed\udc80e\x9bf"
SHOWN = "a\\u001b[8mb\\u001b]0;title\\u0007c\\u202ed\\udc80e\\u009bf"
WAYS: dict[str, Callable[[Screen, str], None]] = {
    "line": lambda screen, text: screen.line(text),
    "painted": lambda screen, text: screen.line(screen.paint(text, "red", "bold")),
    "wrapped": lambda screen, text: screen.wrapped(text, "", "red", "bold"),
    "noted": lambda screen, text: screen.noted(text),
    "entries": lambda screen, text: screen.entries(text, "red", "bold"),
}


def printed(way: str, text: str, *, colours: bool) -> str:
    """What reaches the stream."""
    stream = io.StringIO()
    WAYS[way](Screen(stream, 200, colours), text)
    return stream.getvalue()


@pytest.mark.parametrize("way", WAYS)
def test_what_acts_instead_of_being_seen_is_spelt_out(way: str) -> None:
    """Escape sequences, marks of direction, halves of surrogate pairs; on a screen with colours these are all that acts."""
    assert printed(way, HOSTILE, colours=False) == f"{SHOWN}\n"
    colour = {"line": "", "noted": "\x1b[2m"}.get(way, "\x1b[31;1m")
    assert printed(way, HOSTILE, colours=True) == f"{colour}{SHOWN}{colour and chr(27) + '[0m'}\n"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\u2028", "\x85", "\x0b"])
def test_a_line_is_one_line(way: str, end: str) -> None:
    """Nothing from outside can pass for a line of ours."""
    text = printed(way, f"killed{end}{end}PASS: no new findings", colours=False)
    assert len(text.splitlines()) == 1


def test_a_colour_from_outside_ends_with_its_line() -> None:
    """It can look like ours, and no more; without colours it is spelt out."""
    assert printed("line", "a\x1b[31mb", colours=True) == "a\x1b[31mb\x1b[0m\n"
    assert printed("line", "a\x1b[31mb", colours=False) == "a\\u001b[31mb\n"
    for kept in ("\x1b[31mb\x1b[0m", "\x1b[32mb\x1b[0m c \x1b[2;1md\x1b[0m", ""):
        assert printed("line", kept, colours=True) == f"{kept}\n"


def test_no_line_of_a_legend_ends_inside_of_an_entry() -> None:
    """A sign at the end of a line and its word on the next one are read as nothing."""
    stream = io.StringIO()
    Screen(stream, 40, False).entries("✓ conforms as it must   ✗ violates a promise   ? not decided")
    assert stream.getvalue() == "✓ conforms as it must\n✗ violates a promise   ? not decided\n"
