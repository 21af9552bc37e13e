"""Rows of numbers in few bytes, and back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from conformance.reports.page.packing import Packer

ROWS = st.lists(st.dictionaries(st.integers(0, 300), st.integers(0, 40), max_size=30), max_size=12)


class Reader:
    """Undoes it, as the page's script does."""

    def __init__(self, packed: bytes) -> None:
        self.packed, self.at = packed, 0

    def number(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self.packed[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def row(self, before: list[dict[int, int]]) -> dict[int, int]:
        back = self.number()
        row = dict(before[-back]) if back else {}
        positions, position = [], 0
        for _ in range(self.number()):
            position += self.number()
            positions.append(position)
        for position in positions:
            number = self.number()
            row.pop(position, None)
            if number:
                row[position] = number - 1
        return row


@given(ROWS)
def test_rows_come_back_as_they_were(rows: list[dict[int, int]]) -> None:
    """By whichever row they were told."""
    packer = Packer()
    packer.rows(rows)
    reader, found = Reader(bytes(packer)), []
    for _ in rows:
        found.append(reader.row(found))
    assert found == rows
    assert reader.at == len(reader.packed)


@given(st.sets(st.integers(0, 500)))
def test_stretches_come_back_as_they_were(numbers: set[int]) -> None:
    """Neighbours cost two numbers, however many they are."""
    packer = Packer()
    packer.stretches(sorted(numbers))
    reader, found, end = Reader(bytes(packer)), [], 0
    for _ in range(reader.number()):
        first = end + reader.number()
        end = first + reader.number()
        found += range(first, end)
    assert found == sorted(numbers)


def test_a_row_like_an_earlier_one_costs_two_numbers() -> None:
    """Which one, and that nothing differs."""
    row = dict.fromkeys(range(0, 1000, 3), 1)
    once, twice = Packer(), Packer()
    once.rows([row])
    twice.rows([row, row])
    assert len(bytes(twice)) == len(bytes(once)) + 2
