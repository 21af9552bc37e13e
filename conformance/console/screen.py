"""Terminal output with a width and colours, and the escaping of text from outside.

Exception texts of libraries, names of cells and reasons of failures come from outside. They can contain escape sequences and marks
that reverse the direction of text. A screen escapes every text that it prints, so that no caller has to remember it.
"""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from dataclasses import dataclass
from typing import TextIO

from conformance.console.wording import many as many

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "dim": "2", "bold": "1"}
_MOST_LINES = 3
_CODE = f"(?:{'|'.join(_COLOURS.values())})"
_PLAIN = "\x1b[0m"
_PAINT = re.compile(rf"(\x1b\[{_CODE}(?:;{_CODE})*m|{re.escape(_PLAIN)})")
"""Escape sequences that :meth:`Screen.paint` adds to a text."""
_NARROWEST, _WIDEST = 40, 160
"""Limits of the width, in columns. A narrower terminal folds the lines. Lines above the maximum are hard to read."""
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\ufffe\uffff]"
)


def harmless(text: str) -> str:
    """Return the text with every character escaped that controls the terminal. Line ends and tabs stay.

    Control characters, direction marks and unpaired surrogates become escapes such as ``\\u202e``.
    """
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\r\n", "\n"))


def columns(default: int) -> int:
    """Return the terminal's width from ``COLUMNS`` or the terminal, at least 1; the default if neither is positive."""
    return max(shutil.get_terminal_size((default, 24)).columns, 1)


_WITHIN = "\u00a0"
"""A space at which lines are not folded (U+00A0)."""


@dataclass(frozen=True)
class Screen:
    """An output stream with its width in columns and its support for colours."""

    stream: TextIO
    width: int
    colours: bool

    @classmethod
    def of(cls, stream: TextIO) -> Screen:
        """Create a screen for a stream. The environment (``NO_COLOR``, ``FORCE_COLOR``, ``COLUMNS``) can change the defaults."""
        terminal = stream.isatty()
        colours = (terminal and "NO_COLOR" not in os.environ) or "FORCE_COLOR" in os.environ
        return cls(stream, min(max(columns(120), _NARROWEST), _WIDEST), colours)

    def paint(self, text: str, *colours: str) -> str:
        """Return the text in these colours, or unchanged if the stream has no colours."""
        if not self.colours or not colours:
            return text
        return f"\x1b[{';'.join(_COLOURS[c] for c in colours)}m{harmless(text)}{_PLAIN}"

    def line(self, text: str = "") -> None:
        """Print one line. Control characters are escaped, except colours of :meth:`paint`, which end with the line."""
        text = " ".join(text.splitlines())
        parts = _PAINT.split(text) if self.colours else [text]  # every second part is a colour
        safe = "".join(part if number % 2 else harmless(part) for number, part in enumerate(parts))
        is_open = len(parts) > 1 and parts[-2] != _PLAIN
        print(safe + (_PLAIN if is_open else ""), file=self.stream)

    def wrapped(self, text: str, indent: str, *colours: str) -> None:
        """Print a paragraph, folded to the width and indented, in these colours."""
        for line in textwrap.wrap(
            harmless(text), max(self.width - len(indent), _NARROWEST), break_long_words=False, break_on_hyphens=False
        ):
            self.line(indent + self.paint(line, *colours))

    def entries(self, text: str, *colours: str) -> None:
        """Print entries that three spaces separate, in these colours. Lines are folded only between entries."""
        whole = "   ".join(entry.replace(" ", _WITHIN) for entry in harmless(text).split("   "))
        for line in textwrap.wrap(whole, max(self.width, _NARROWEST), break_long_words=False, break_on_hyphens=False):
            self.line(self.paint(line.replace(_WITHIN, " "), *colours))

    def noted(self, text: str) -> None:
        """Print a dim text of at most three lines. The lines after the first are indented."""
        for line in textwrap.wrap(
            harmless(text),
            max(self.width, _NARROWEST),
            subsequent_indent=" " * 17,
            max_lines=_MOST_LINES,
            placeholder=" …",
        ):
            self.line(self.paint(line, "dim"))
