"""Run-length encoding of rising numbers as ranges (first, count). Similar cases are neighbours, so ranges keep files small."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def stretches(numbers: Iterable[int]) -> list[list[int]]:
    """Return the ranges of consecutive numbers, in order."""
    found: list[list[int]] = []
    for number in numbers:
        if found and sum(found[-1]) == number:
            found[-1][1] += 1
        else:
            found.append([number, 1])
    return found


def expanded(found: Iterable[Sequence[int]], names: Sequence[str]) -> Iterator[str]:
    """Yield the names in these ranges. Raises ``ValueError`` if the ranges refer to more names than there are."""
    found = tuple(found)
    if sum(count for _, count in found) > len(names):
        raise ValueError(f"{sum(count for _, count in found)} names are referenced, but there are {len(names)}")
    for first, count in found:
        if not 0 <= first < first + count <= len(names):
            raise ValueError(f"{first + count} names are referenced, but there are {len(names)}")
        yield from names[first : first + count]
