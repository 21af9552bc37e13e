"""Mistakes in a file, collected so that one message reports all of them with their lines."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from conformance.exits import UserError


@dataclass
class Mistakes:
    """The mistakes in one file."""

    path: Path
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, text: str) -> None:
        """Add a mistake. ``line`` counts from 1."""
        self.found.append((line, text))

    def settle(self) -> None:
        """Raise UserError with all mistakes in the order of the file, if there are any."""
        if not self.found:
            return
        listed = [f"{self.path}:{line}: {text}" for line, text in sorted(dict.fromkeys(self.found))]
        count = f"{len(listed)} mistakes" if len(listed) > 1 else "a mistake"
        raise UserError("\n  ".join([f"{self.path} has {count}; nothing was done", *listed]))


def nearest(word: str, known: Collection[str]) -> str:
    """Return ``; did you mean X?``, or a list of the known names."""
    close = get_close_matches(word, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"
