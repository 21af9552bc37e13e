"""Cells × libraries in little room: cells that look alike are one row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from conformance.verdict import Verdict
from conformance.verdicts.model import CellResult, RunFile

from .words import SIGNS

Field = tuple[tuple[Verdict, int], ...]
"""How many cases are in which states, the worst first; nothing where the library has no case in the cell."""
_QUIET = frozenset({Verdict.CONFORMS, Verdict.REFUSED, Verdict.OBSERVED})


@dataclass(frozen=True)
class Row:
    """The titles of all cells that look like this, and a field for each library."""

    titles: tuple[str, ...]
    fields: tuple[Field, ...]

    @property
    def violations(self) -> int:
        """Of all libraries; a case counts for each that takes part."""
        return sum(number for field in self.fields for state, number in field if state is Verdict.VIOLATES)


@dataclass(frozen=True)
class Grid:
    """Libraries across, rows down: the most violations first. Cells without results are not in it.

    ``common`` are the parts of their titles that all cells have alike; the rows leave them out.
    """

    libraries: tuple[str, ...]
    rows: tuple[Row, ...]
    common: str = ""


def grid(run: RunFile) -> Grid:
    """The grid of a run."""
    pairs = [[case.split("/", 2)[1] for case in plan] for plan in run.plans]
    names = _libraries(run, {pair for plan in pairs for pair in plan})
    alike: dict[tuple[Field, ...], list[str]] = {}
    tested = [cell for cell in run.cells if cell.is_tested]
    common, titles_apart = _apart([cell.title for cell in tested])
    for cell, title in zip(tested, titles_apart):
        alike.setdefault(_fields(pairs[cell.plan], cell, names), []).append(title)
    rows = [Row(tuple(titles), fields) for fields, titles in alike.items()]
    return Grid(tuple(names), tuple(sorted(rows, key=lambda row: -row.violations)), common)


def _apart(titles: Sequence[str]) -> tuple[str, list[str]]:
    """The parts, between hyphens, that all titles have, and each title without them; as they are where one would be empty."""
    parts = [title.split("-") for title in titles]
    shared = set(parts[0]).intersection(*parts) if len(parts) > 1 else set()
    apart = ["-".join(part for part in each if part not in shared) for each in parts]
    if not shared or not all(apart):
        return "", list(titles)
    return "-".join(part for part in parts[0] if part in shared), apart


def shown(field: Field) -> Field:
    """What a field says in little room: all that is wrong or open, else the first of what is left."""
    return tuple(one for one in field if one[0] not in _QUIET) or field[:1]


def _libraries(run: RunFile, pairs: Iterable[str]) -> list[str]:
    found = {name for pair in pairs for name in pair.split("-")}
    absent = {name for cell in run.cells for name in cell.absent}
    return sorted(found | absent, key=lambda name: (name != "reference", name))


def _fields(pairs: Sequence[str], cell: CellResult, names: Sequence[str]) -> tuple[Field, ...]:
    found: dict[str, Counter[str]] = {name: Counter() for name in names}
    for (pair, letter), number in Counter(zip(pairs, cell.states)).items():
        for name in set(pair.split("-")):
            found[name][letter] += number
    return tuple(tuple((s, found[name][s.value]) for s in SIGNS if found[name][s.value]) for name in names)
