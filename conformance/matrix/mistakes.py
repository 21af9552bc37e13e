"""Mistakes in a file, gathered: all of them are told at once, each with its line."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from conformance.exits import UserError


@dataclass
class Mistakes:
    """What is wrong with one file."""

    path: Path
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, text: str) -> None:
        """Note one mistake; ``line`` counts from 1."""
        self.found.append((line, text))

    def settle(self) -> None:
        """Raise what was found, in the order of the file; nothing where nothing was."""
        if not self.found:
            return
        told = [f"{self.path}:{line}: {text}" for line, text in sorted(dict.fromkeys(self.found))]
        count = f"{len(told)} mistakes" if len(told) > 1 else "a mistake"
        raise UserError("\n  ".join([f"{self.path} has {count}; nothing was done", *told]))


def nearest(word: str, known: Collection[str]) -> str:
    """``; did you mean X?``, or what there is."""
    close = get_close_matches(word, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; there is {', '.join(known)}"
