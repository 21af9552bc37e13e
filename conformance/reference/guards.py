"""Guard bytes before and behind the reference library's blocks. A changed byte shows a write outside of the block.

A page without access behind each block would stop the write itself. The suite has no such pages, for three reasons. They cost five times
as much. A block with a size that is not a multiple of the alignment cannot end at a page. And a read beyond the end, which is harmless, would
end the process.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Seen = tuple[bytes, bytes]
"""The bytes before and behind a block, :data:`SIZE` each."""

SIZE = 256
"""The number of guard bytes on each side of a block. It is a multiple of the alignment of blocks."""
PATTERN = bytes((37 * i + 91) % 256 for i in range(SIZE))
"""A pattern without two equal neighbours, so that every run of two or more equal bytes shows."""


class Guarded(Protocol):
    """A block between guard bytes."""

    address: int
    nbytes: int

    def guards(self) -> Seen | None:
        """Return the bytes before and behind the block, or ``None`` if they cannot be read."""

    @classmethod
    def guards_of(cls, blocks: Sequence[Any]) -> Sequence[Seen | None]:
        """Return the guard bytes of several blocks of this class."""


@dataclass(frozen=True)
class Spill:
    """Changed bytes on one side of a block. ``offset`` is the place of the first one, in bytes from the start of the block."""

    address: int
    nbytes: int
    offset: int
    changed: int

    @property
    def told(self) -> str:
        """Return the number of changed bytes and their place relative to the block, as part of a sentence."""
        many = f"{self.changed} byte{'s' * (self.changed != 1)}"
        if self.offset < 0:
            return f"{many} changed, starting {-self.offset} bytes before the block ({self.nbytes} bytes at {self.address:#x})"
        behind = self.offset - self.nbytes
        return f"{many} changed, starting {behind} bytes behind the end of the block ({self.nbytes} bytes at {self.address:#x})"


class Guards:
    """The blocks since :meth:`begin`, and the writes outside of them, including blocks that are already released."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget all blocks, because a new case is not responsible for earlier ones."""
        self._living: weakref.WeakSet[Guarded] = weakref.WeakSet()
        self._found: list[Spill] = []

    def enrol(self, block: Guarded) -> None:
        """Watch a block that has its guard bytes."""
        self._living.add(block)

    def retire(self, block: Guarded) -> None:
        """Compare the guard bytes of a block for the last time, before its memory is released."""
        if block in self._living:
            self._living.discard(block)
            self._found += spills(block)

    def retire_all(self, blocks: Iterable[Guarded]) -> None:
        """Retire several blocks of one class together, before their release."""
        living = [block for block in blocks if block in self._living]
        if not living:
            return
        for block, seen in zip(living, type(living[0]).guards_of(living)):
            self._living.discard(block)
            self._found += _changes(block, seen)

    def forget(self, block: Guarded) -> None:
        """Stop watching a block after its damaged guard bytes are reported."""
        self._living.discard(block)

    def spills(self) -> tuple[Spill, ...]:
        """Return the changed bytes outside of all blocks."""
        return (*self._found, *(spill for block in list(self._living) for spill in spills(block)))


def spills(block: Guarded) -> list[Spill]:
    """Return the changed bytes on either side of a block."""
    return _changes(block, block.guards())


def _changes(block: Guarded, seen: Seen | None) -> list[Spill]:
    if seen is None:
        return []
    found = []
    for start, guard in zip((-SIZE, block.nbytes), seen):
        changed = [n for n in range(SIZE) if guard[n] != PATTERN[n]] if guard != PATTERN else []
        if changed:
            found.append(Spill(block.address, block.nbytes, start + changed[0], len(changed)))
    return found


GUARDS = Guards()
"""The guards of this process. The workbench calls :meth:`Guards.begin` for each case, and :meth:`Guards.spills` at its end."""
