"""Cells × libraries in little room: cells that look alike are one row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from conformance.verdicts.model import CellResult, RunFile, State

from .words import SIGNS

Field = tuple[tuple[State, int], ...]
"""How many cases are in which states, the worst first; nothing where the library has no case in the cell."""
_QUIET = frozenset({State.CONFORMS, State.REFUSED, State.OBSERVED})


@dataclass(frozen=True)
class Row:
    """The titles of all cells that look like this, and a field for each library."""

    titles: tuple[str, ...]
    fields: tuple[Field, ...]

    @property
    def violations(self) -> int:
        """Of all libraries; a case between two counts for both."""
        return sum(number for field in self.fields for state, number in field if state is State.VIOLATES)


@dataclass(frozen=True)
class Grid:
    """Libraries across, rows down: the most violations first. Cells without results are not in it."""

    libraries: tuple[str, ...]
    rows: tuple[Row, ...]


def grid(run: RunFile) -> Grid:
    """The grid of a run."""
    pairs = [[case.split("/", 2)[1] for case in plan] for plan in run.plans]
    names = _libraries(run, {pair for plan in pairs for pair in plan})
    alike: dict[tuple[Field, ...], list[str]] = {}
    for cell in run.cells:
        if cell.is_tested:
            alike.setdefault(_fields(pairs[cell.plan], cell, names), []).append(cell.title)
    rows = [Row(tuple(titles), fields) for fields, titles in alike.items()]
    return Grid(tuple(names), tuple(sorted(rows, key=lambda row: -row.violations)))


def shown(field: Field) -> Field:
    """What a field says in little room: all that is wrong or open, else the first of what is left."""
    return tuple(one for one in field if one[0] not in _QUIET) or field[:1]


def _libraries(run: RunFile, pairs: Iterable[str]) -> list[str]:
    found = {name for pair in pairs for name in pair.split("-", 1)}
    absent = {name for cell in run.cells for name in cell.absent}
    return sorted(found | absent, key=lambda name: (name != "reference", name))


def _fields(pairs: Sequence[str], cell: CellResult, names: Sequence[str]) -> tuple[Field, ...]:
    found: dict[str, Counter[str]] = {name: Counter() for name in names}
    for (pair, letter), number in Counter(zip(pairs, cell.states)).items():
        producer, _, consumer = pair.partition("-")
        for name in {producer, consumer}:
            found[name][letter] += number
    return tuple(tuple((s, found[name][s.value]) for s in SIGNS if found[name][s.value]) for name in names)
