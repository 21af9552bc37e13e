"""Where to print: how wide it is, and whether it knows colours."""

from __future__ import annotations

import os
import shutil
import textwrap
from dataclasses import dataclass
from typing import TextIO

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}
_MOST_LINES = 3


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
        return cls(stream, min(shutil.get_terminal_size((120, 24)).columns, 160), colours)

    def paint(self, text: str, *colours: str) -> str:
        """The text in these colours, or plain."""
        if not self.colours or not colours:
            return text
        return f"\033[{';'.join(_COLOURS[c] for c in colours)}m{text}\033[0m"

    def line(self, text: str = "") -> None:
        """Print one line."""
        print(text, file=self.stream)

    def wrapped(self, text: str, indent: str, *colours: str) -> None:
        """Print a paragraph, indented and folded, in these colours."""
        for line in textwrap.wrap(
            text, max(self.width - len(indent), 40), break_long_words=False, break_on_hyphens=False
        ):
            self.line(indent + self.paint(line, *colours))

    def noted(self, text: str) -> None:
        """Print a dim line; what does not fit goes on below, indented."""
        for line in textwrap.wrap(
            text, self.width, subsequent_indent=" " * 17, max_lines=_MOST_LINES, placeholder=" …"
        ):
            self.line(self.paint(line, "dim"))


def many(count: int, one: str, several: str = "") -> str:
    """A number with its noun."""
    return f"{count} {one if count == 1 else several or one + 's'}"
