"""Tables of calls of a run. Cells with equal results share a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from conformance.checks.call_table import Table, cell, names, producers
from conformance.checks.native_handover import Gives
from conformance.runs.model import RunFile

_GIVEN = {one.value: one for one in Gives}


@dataclass(frozen=True)
class CallTable:
    """One table: calls down, producers across. ``titles`` are those of its cells."""

    titles: tuple[str, ...]
    device: str
    producers: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def call_tables(run: RunFile) -> list[CallTable]:
    """Return all tables of a run, those of most cells first."""
    titles: dict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
    for one in run.cells:
        if one.calls:
            titles[tuple(one.calls.items())].append(one.title)
    by_number = sorted(titles.items(), key=lambda found: -len(found[1]))
    return [table for told, shown in by_number for table in _tables(tuple(shown), told)]


def _tables(titles: tuple[str, ...], told: Iterable[tuple[str, str]]) -> Iterator[CallTable]:
    for device, table in _by_device(dict(told)).items():
        across = tuple(producers(table))
        rows = tuple((call, tuple(cell(table, call, producer) for producer in across)) for call in names(table))
        yield CallTable(titles, device, across, rows)


def _by_device(told: Mapping[str, str]) -> dict[str, Table]:
    """Return the calls of a run file as tables. Keys in the form of another version of the suite are skipped."""
    found: dict[str, Table] = defaultdict(dict)
    for key, value in told.items():
        device, _, rest = key.partition("/")
        call, _, producer = rest.rpartition("/")
        if device and call and producer:
            found[device][call, producer] = _GIVEN.get(value)
    return dict(found)
