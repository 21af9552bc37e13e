"""Numbers in rising order as runs of neighbours, (first, how many): what is alike lies beside each other, and this keeps files small."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def stretches(numbers: Iterable[int]) -> list[list[int]]:
    """The runs of neighbours among these numbers, in their order."""
    found: list[list[int]] = []
    for number in numbers:
        if found and sum(found[-1]) == number:
            found[-1][1] += 1
        else:
            found.append([number, 1])
    return found


def expanded(found: Iterable[Sequence[int]], names: Sequence[str]) -> Iterator[str]:
    """The names at those numbers. Raises ``ValueError`` where there are not as many, counted all together."""
    found = tuple(found)
    if sum(count for _, count in found) > len(names):
        raise ValueError(f"{sum(count for _, count in found)} names are referred to, and there are {len(names)}")
    for first, count in found:
        if not 0 <= first < first + count <= len(names):
            raise ValueError(f"{first + count} names are referred to, and there are {len(names)}")
        yield from names[first : first + count]
