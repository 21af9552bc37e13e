"""Pack many rows of small numbers: each row is encoded as its difference from an earlier one.

Neighbouring cells of a run differ little, so most rows take a few dozen bytes before compression. The page's script decodes them
(``data.js``). Numbers are unsigned LEB128: seven bits a byte, the lowest first, the highest bit set if more bytes follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from conformance.runs.ranges import stretches

_LOOK_BACK = 4
"""Number of earlier rows that are tried as the base of a row."""


class Packer:
    """A growing sequence of numbers and texts."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def number(self, value: int) -> None:
        """Add one number, 0 or more."""
        put = self._bytes.append
        while value > 127:
            put(value & 127 | 128)
            value >>= 7
        put(value)

    def block(self, content: bytes) -> None:
        """Add a length and that number of bytes."""
        self.number(len(content))
        self._bytes += content

    def stretches(self, numbers: Sequence[int]) -> None:
        """Add ascending numbers as ranges: the distance from the end of the previous range, and the length."""
        found = stretches(numbers)
        self.number(len(found))
        end = 0
        for first, count in found:
            self.number(first - end)
            self.number(count)
            end = first + count

    def rows(self, rows: Iterable[Mapping[int, int]]) -> None:
        """Add rows of numbers by position.

        The encoding of a row has: the distance to its base row (0: none), the number of differing positions, their distances, and for each its
        number plus one, or 0 if the row has none there.
        """
        last: list[Mapping[int, int]] = []
        for row in rows:
            back, differing = _nearest(row, last)
            self.number(back)
            self.number(len(differing))
            before = 0
            for position in differing:
                self.number(position - before)
                before = position
            for position in differing:
                self.number(row[position] + 1 if position in row else 0)
            last = [row, *last[: _LOOK_BACK - 1]]

    def __bytes__(self) -> bytes:
        return bytes(self._bytes)


def _nearest(row: Mapping[int, int], last: Sequence[Mapping[int, int]]) -> tuple[int, list[int]]:
    """Return the base row that differs least, and the differing positions."""
    best, differing = 0, set(row)
    for back, other in enumerate(last, 1):
        found = {position for position, _ in row.items() ^ other.items()}
        if len(found) < len(differing):
            best, differing = back, found
    return best, sorted(differing)
