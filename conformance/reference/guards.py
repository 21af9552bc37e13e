"""Guard bytes before and behind the blocks of the reference: a byte that changes there was written outside of the block.

A page without access behind each block would stop the write itself. It costs five times as much for each block, a block whose size is no multiple
of the alignment cannot end at a page, and reading beyond the end, which harms nobody, would end the process. So there are none.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Protocol

SIZE = 256
"""Bytes before a block, and as many behind it. A multiple of the alignment of blocks."""
PATTERN = bytes((37 * i + 91) % 256 for i in range(SIZE))
"""No byte is like the next one, so a run of equal bytes shows, whatever their value is, but for one byte."""


class Guarded(Protocol):
    """A block between guard bytes."""

    address: int
    nbytes: int

    def guards(self) -> tuple[bytes, bytes] | None:
        """The bytes before and behind, :data:`SIZE` each; ``None`` where they cannot be read."""


@dataclass(frozen=True)
class Spill:
    """Bytes that have changed on one side of a block. ``offset`` is that of the first one from the start of the block, in bytes."""

    address: int
    nbytes: int
    offset: int
    changed: int

    @property
    def told(self) -> str:
        """In words: where they are, seen from the block."""
        many = f"{self.changed} byte{'s' * (self.changed != 1)}"
        if self.offset < 0:
            return f"{many} changed from {-self.offset} bytes before the block on ({self.nbytes} bytes at {self.address:#x})"
        behind = self.offset - self.nbytes
        return f"{many} changed from {behind} bytes behind the end of the block on ({self.nbytes} bytes at {self.address:#x})"


class Guards:
    """The blocks that have been made since :meth:`begin`, and what was written outside of them, also of those that are gone."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget all blocks so far: what becomes of them is no matter of what begins now."""
        self._living: weakref.WeakSet[Guarded] = weakref.WeakSet()
        self._found: list[Spill] = []

    def enrol(self, block: Guarded) -> None:
        """Watch a block, whose guard bytes are written."""
        self._living.add(block)

    def retire(self, block: Guarded) -> None:
        """Look at a block for the last time: its memory goes back."""
        if block in self._living:
            self._living.discard(block)
            self._found += spills(block)

    def forget(self, block: Guarded) -> None:
        """Do not look at a block any more: what was written beside it is told elsewhere."""
        self._living.discard(block)

    def spills(self) -> tuple[Spill, ...]:
        """What was written outside of any of the blocks."""
        return (*self._found, *(spill for block in list(self._living) for spill in spills(block)))


def spills(block: Guarded) -> list[Spill]:
    """What was written outside of a block, on either side of it."""
    seen = block.guards()
    if seen is None:
        return []
    found = []
    for start, guard in zip((-SIZE, block.nbytes), seen):
        changed = [n for n in range(SIZE) if guard[n] != PATTERN[n]] if guard != PATTERN else []
        if changed:
            found.append(Spill(block.address, block.nbytes, start + changed[0], len(changed)))
    return found


GUARDS = Guards()
"""Those of this process. A case begins anew and looks at its end (``execution/workbench.py``)."""
