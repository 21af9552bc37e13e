"""Where to print: how wide it is, and whether it knows colours; and text from outside made safe to show.

What a library raised, what a cell is called and why it was killed comes from outside, and may hold anything: escape sequences, marks
that turn the direction of the text around. Everything that is printed by a screen is made harmless there, so that nobody can forget it.
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
"""What :meth:`Screen.paint` puts around a text."""
_NARROWEST, _WIDEST = 40, 160
"""Limits of the width, in columns. The terminal folds longer lines, and lines above the maximum are hard to read."""
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\ufffe\uffff]"
)


def harmless(text: str) -> str:
    """The text without anything that acts instead of being seen; line ends and tabs stay.

    Control characters, marks of direction and halves of surrogate pairs become ``\\u202e`` and the like.
    """
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\r\n", "\n"))


def columns(default: int) -> int:
    """Return the terminal's width from ``COLUMNS`` or the terminal, at least 1; the default if neither is positive."""
    return max(shutil.get_terminal_size((default, 24)).columns, 1)


_WITHIN = "\u00a0"
"""A space at which no line is folded."""


@dataclass(frozen=True)
class Screen:
    """Where to print: how wide it is and whether it knows colours."""

    stream: TextIO
    width: int
    colours: bool

    @classmethod
    def of(cls, stream: TextIO) -> Screen:
        """As the stream and the environment (``NO_COLOR``, ``FORCE_COLOR``, ``COLUMNS``) say."""
        terminal = stream.isatty()
        colours = (terminal and "NO_COLOR" not in os.environ) or "FORCE_COLOR" in os.environ
        return cls(stream, min(max(columns(120), _NARROWEST), _WIDEST), colours)

    def paint(self, text: str, *colours: str) -> str:
        """The text in these colours, or plain."""
        if not self.colours or not colours:
            return text
        return f"\x1b[{';'.join(_COLOURS[c] for c in colours)}m{harmless(text)}{_PLAIN}"

    def line(self, text: str = "") -> None:
        """Print one line. Of what acts instead of being seen only colours remain, where there are any, and they end with the line."""
        text = " ".join(text.splitlines())
        parts = _PAINT.split(text) if self.colours else [text]  # each second one is a colour
        safe = "".join(part if number % 2 else harmless(part) for number, part in enumerate(parts))
        is_open = len(parts) > 1 and parts[-2] != _PLAIN
        print(safe + (_PLAIN if is_open else ""), file=self.stream)

    def wrapped(self, text: str, indent: str, *colours: str) -> None:
        """Print a paragraph, indented and folded, in these colours."""
        for line in textwrap.wrap(
            harmless(text), max(self.width - len(indent), _NARROWEST), break_long_words=False, break_on_hyphens=False
        ):
            self.line(indent + self.paint(line, *colours))

    def entries(self, text: str, *colours: str) -> None:
        """Print entries that three spaces divide, folded, in these colours; no line ends inside of one."""
        whole = "   ".join(entry.replace(" ", _WITHIN) for entry in harmless(text).split("   "))
        for line in textwrap.wrap(whole, max(self.width, _NARROWEST), break_long_words=False, break_on_hyphens=False):
            self.line(self.paint(line.replace(_WITHIN, " "), *colours))

    def noted(self, text: str) -> None:
        """Print a dim line; what does not fit goes on below, indented."""
        for line in textwrap.wrap(
            harmless(text),
            max(self.width, _NARROWEST),
            subsequent_indent=" " * 17,
            max_lines=_MOST_LINES,
            placeholder=" …",
        ):
            self.line(self.paint(line, "dim"))
