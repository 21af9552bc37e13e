"""Compact table of cells × libraries. Equal cells share a row, and a failure counts only for the library that it accuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from conformance.runs.model import CellResult, RunFile
from conformance.verdict import BY_LETTER, Verdict

Field = tuple[tuple[Verdict, int], ...]
"""Number of cases by verdict, the worst first; empty if the library has no case in the cell."""
_QUIET = frozenset({Verdict.CONFORMS, Verdict.REFUSED, Verdict.OBSERVED})
NOT_KNOWN = "unknown"
"""Column of failures that accuse no known library; present only if there are any."""


@dataclass(frozen=True)
class Row:
    """Titles of all cells with equal fields, and a field for each library."""

    titles: tuple[str, ...]
    fields: tuple[Field, ...]

    @property
    def violations(self) -> int:
        """Number of violations of all libraries. A case counts once for each library that it accuses."""
        return sum(number for field in self.fields for verdict, number in field if verdict is Verdict.VIOLATES)


@dataclass(frozen=True)
class Grid:
    """Libraries across, rows down, the most violations first. Cells without results are omitted.

    ``common`` has the parts of the titles that all cells share. The rows omit them.
    """

    libraries: tuple[str, ...]
    rows: tuple[Row, ...]
    common: str = ""


def grid(run: RunFile) -> Grid:
    """Return the grid of a run."""
    pairs = [[case.split("/", 2)[1] for case in plan] for plan in run.plans]
    names = _libraries(run, {pair for plan in pairs for pair in plan})
    alike: dict[tuple[Field, ...], list[str]] = {}
    tested = [cell for cell in run.cells if cell.is_tested]
    common, titles_apart = _apart([cell.title for cell in tested])
    for cell, title in zip(tested, titles_apart):
        alike.setdefault(_fields(run, pairs[cell.plan], cell, names), []).append(title)
    rows = [Row(tuple(titles), fields) for fields, titles in alike.items()]
    return Grid(tuple(names), tuple(sorted(rows, key=lambda row: -row.violations)), common)


def _apart(titles: Sequence[str]) -> tuple[str, list[str]]:
    """Return the hyphen-separated parts that all titles share, and the titles without them; unchanged if a title would be empty."""
    parts = [title.split("-") for title in titles]
    shared = set(parts[0]).intersection(*parts) if len(parts) > 1 else set()
    apart = ["-".join(part for part in each if part not in shared) for each in parts]
    if not shared or not all(apart):
        return "", list(titles)
    return "-".join(part for part in parts[0] if part in shared), apart


def shown(field: Field) -> Field:
    """Return the short form of a field: all failing and undecided verdicts, or else the first of the others."""
    return tuple(one for one in field if one[0] not in _QUIET) or field[:1]


def _libraries(run: RunFile, pairs: Iterable[str]) -> list[str]:
    found = {name for pair in pairs for name in pair.split("-")}
    found |= {name for cell in run.cells for name in cell.absent}
    nameless = [NOT_KNOWN] if any(e.verdict.speaks_against and not e.accused for e in run.evidence) else []
    return [*sorted(found, key=lambda name: (name != "reference", name)), *nameless]


def _fields(run: RunFile, pairs: Sequence[str], cell: CellResult, names: Sequence[str]) -> tuple[Field, ...]:
    found: dict[str, Counter[Verdict]] = {name: Counter() for name in names}
    for (pair, letter), number in Counter(zip(pairs, cell.states)).items():
        verdict = BY_LETTER[letter]
        for name in () if verdict.speaks_against else set(pair.split("-")):
            found[name][verdict] += number
    for index, number in Counter(cell.evidence).items():
        evidence = run.evidence[index]
        for name in (evidence.accused or (NOT_KNOWN,)) if evidence.verdict.speaks_against else ():
            found.setdefault(name, Counter())[evidence.verdict] += number
    return tuple(_field(found[name]) for name in names)


def _field(found: Mapping[Verdict, int]) -> Field:
    return tuple((verdict, found[verdict]) for verdict in Verdict if found[verdict])
