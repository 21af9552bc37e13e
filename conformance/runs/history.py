"""History of runs: one JSON line for each run, in a file that is only appended to.

The history answers since when a case fails, and whether it is flaky. A line lists, for each cell, the cases that did not conform, and a
digest of the cell's plan. It also lists conforming cases that failed in the cell before. The plan changes with every release of the suite,
so without these a fixed case could not be told from a case that is no longer planned.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance import documents, files, shapes
from conformance.exits import UserError
from conformance.runs import run_file
from conformance.runs.model import CellResult, RunFile
from conformance.runs.ranges import expanded, stretches
from conformance.runs.trust import is_trusted, without_canaries
from conformance.verdict import BY_LETTER, Verdict

from .observations import Spot

FORMAT = "conformance-history/1"
FAILING = frozenset(verdict for verdict in Verdict if verdict.speaks_against)
"""Verdicts that count as failing. Undecided cases and cases without a result count neither way."""
_FIRST = 1 << 16
"""Number of leading bytes of a line that contain its format."""
_PLAN = 16
"""Hexadecimal digits of a plan's digest."""


@dataclass(frozen=True)
class CellEntry:
    """One cell of a run: its lifecycle, the digest of its plan, and its cases that did not conform.

    ``found`` maps each verdict to ranges of indices into the entry's cases. Ranges keep a file with hundreds of runs small.
    """

    lifecycle: str
    plan: str = ""
    planned: int = 0
    found: dict[Verdict, list[list[int]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One run, as one line of the file."""

    id: str
    began: str
    suite: str
    tier: str
    digest: str
    """Digest of the run file. It identifies the run."""
    cases: tuple[str, ...]
    """The cases that did not conform in some cell, now or in an earlier run, in order."""
    cells: dict[str, CellEntry]

    def found(self, name: str, states: Iterable[Verdict] = Verdict) -> dict[str, Verdict]:
        """Return the cases that the entry lists for a cell, with their verdicts; optionally only some verdicts."""
        by_state = self.cells[name].found
        return {case: s for s in states if s in by_state for case in expanded(by_state[s], self.cases)}


@dataclass(frozen=True)
class History:
    """The entries of a history file, in file order, and complaints about lines that could not be read."""

    entries: tuple[Entry, ...]
    complaints: tuple[str, ...] = ()
    torn: bool = False
    """Whether the last line has no newline, because its writer was killed."""


@dataclass(frozen=True)
class Streak:
    """Current state of a case that failed at least once, and the run since which it has this state.

    ``runs`` counts the runs in this state. ``flaps`` counts the changes between failing and not failing over all runs.
    """

    failing: bool
    since: str
    began: str
    runs: int
    flaps: int


def entry(run: RunFile, canaries: Mapping[str, str], earlier: Sequence[Entry] = ()) -> Entry:
    """Return the entry of a run, given the earlier entries. Canary invariants are left out."""
    digest, run = run_file.digest(run), without_canaries(run, canaries)
    digests = {index: _digest(run.plans[index]) for index in {cell.plan for cell in run.cells if cell.is_tested}}
    watched = _ever_failing(earlier)
    found = {
        cell.name: [(one.case, one.verdict) for one in run.found(cell)] + _conforming(run, cell, watched[cell.name])
        for cell in run.cells
        if is_trusted(cell)
    }
    cases = tuple(sorted({case for of_cell in found.values() for case, _ in of_cell}))
    index = {case: number for number, case in enumerate(cases)}
    cells = {
        cell.name: CellEntry(cell.lifecycle, digests[cell.plan], len(cell.states), _by_state(found[cell.name], index))
        if cell.name in found
        else CellEntry(cell.lifecycle)
        for cell in run.cells
    }
    return Entry(run.id, run.began, run.suite, run.tier, digest, cases, cells)


def _digest(plan: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(plan).encode()).hexdigest()[:_PLAN]


def _conforming(run: RunFile, cell: CellResult, watched: set[str]) -> list[tuple[str, Verdict]]:
    """Return the watched cases that are planned in the cell and conform there."""
    if not watched:
        return []
    return [
        (case, Verdict.CONFORMS)
        for case, letter in zip(run.cases(cell), cell.states)
        if letter == Verdict.CONFORMS.letter and case in watched
    ]


def _by_state(found: Iterable[tuple[str, Verdict]], index: dict[str, int]) -> dict[Verdict, list[list[int]]]:
    by_state: dict[Verdict, list[int]] = defaultdict(list)
    for case, state in found:
        by_state[state].append(index[case])
    return {state: stretches(sorted(by_state[state])) for state in Verdict if state in by_state}


def to_json(one: Entry) -> dict[str, Any]:
    """Return one line as plain data."""
    return {
        "format": FORMAT, "id": one.id, "began": one.began, "suite": one.suite, "tier": one.tier, "digest": one.digest,
        "cases": list(one.cases), "cells": {name: _cell_to_json(cell) for name, cell in one.cells.items()},
    }  # fmt: skip


def _cell_to_json(cell: CellEntry) -> dict[str, Any]:
    found = {state.letter: of_state for state, of_state in cell.found.items()}
    return {"lifecycle": cell.lifecycle, "plan": cell.plan, "planned": cell.planned, "found": found}


_CELL = {"lifecycle": str, "plan": str, "planned": int, "found": shapes.Each([[int]])}
_ENTRY = {
    "format": frozenset((FORMAT,)),
    **dict.fromkeys(("id", "began", "suite", "tier", "digest"), str),
    "cases": [str],
    "cells": shapes.Each(_CELL),
}


def from_json(data: object) -> Entry:
    """Return an entry from the result of :func:`to_json`. Raises ``ValueError`` for invalid data."""
    told = shapes.mistake(data, _ENTRY)
    if told or not isinstance(data, dict):
        raise ValueError(told)
    cells = {name: _cell_from_json(name, cell) for name, cell in data["cells"].items()}
    cases = tuple(map(sys.intern, data["cases"]))
    made = Entry(data["id"], data["began"], data["suite"], data["tier"], data["digest"], cases, cells)
    for name in cells:
        made.found(name)
    return made


def _cell_from_json(name: str, cell: dict[str, Any]) -> CellEntry:
    found = cell["found"]
    if not found.keys() <= BY_LETTER.keys() or any(len(pair) != 2 for pairs in found.values() for pair in pairs):
        raise ValueError(f"cells.{name}.found has no pairs of numbers by verdicts")
    return CellEntry(cell["lifecycle"], cell["plan"], cell["planned"], {BY_LETTER[k]: v for k, v in found.items()})


def read(path: Path) -> History:
    """Read the runs of a file; a missing file has none. Unreadable lines and an incomplete last line become complaints.

    Raises UserError if the file cannot be read at all.
    """
    try:
        data = files.read(path)
    except files.Missing:
        return History(())
    except files.Unreadable as error:
        raise UserError(f"{error}; name a file written by `gate --history`") from error
    return _parsed(path, data)


def _parsed(path: Path, data: bytes) -> History:
    entries, complaints = [], []
    *lines, rest = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entries.append(from_json(documents.parsed(line)))
        except ValueError as error:
            complaints.append(f"{path}:{number}: skipped a line that is not a run ({error})")
    if rest:
        complaints.append(f"{path}:{len(lines) + 1}: skipped an incomplete last line, which a killed process left")
    return History(tuple(entries), tuple(complaints), bool(rest))


def is_one(path: Path) -> bool:
    """Return whether runs may be appended: the file is missing, empty, or has a line in the history format."""
    try:
        with files.opened(path) as file:
            first = os.pread(file, _FIRST, 0).split(b"\n")[0]
    except files.Unreadable:  # `append` reports this error
        return True
    return not first.strip() or FORMAT.encode() in first or bool(read(path).entries)


def append(path: Path, run: RunFile, canaries: Mapping[str, str]) -> tuple[bool, tuple[str, ...]]:
    """Append a run by one write, and flush it to the disk. Earlier lines stay as they are.

    Returns whether the run was added (not if the file already has it), and complaints about unreadable lines. Raises UserError if the
    file cannot be written.
    """
    try:
        file = files.appendable(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            known = read(path)
            new = entry(run, canaries, known.entries)
            if any(one.digest == new.digest for one in known.entries):
                return False, known.complaints
            line = json.dumps(to_json(new), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            _write(file, b"\n" + line if known.torn else line)
        finally:
            os.close(file)
    except OSError as error:
        raise UserError(
            f"--history: {path} cannot be written: {error.strerror}; make room, or choose another file"
        ) from error
    return True, known.complaints


def _write(file: int, line: bytes) -> None:
    """Write the line at once. If the disk is full, remove the part that was written, so that the file stays valid."""
    end = os.lseek(file, 0, os.SEEK_END)
    written = os.write(file, line)
    if written < len(line):
        os.ftruncate(file, end)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(file)


def latest(entries: Sequence[Entry]) -> list[Entry]:
    """Return the runs in the order in which they began. Of a resumed run, keep the last entry."""
    last = {(one.id, one.began): one for one in entries}
    return sorted(last.values(), key=lambda one: one.began)


def streaks(entries: Sequence[Entry]) -> dict[Spot, Streak]:
    """Return the streak of every case that failed at least once, by cell and case."""
    runs = latest(entries)
    cases = _ever_failing(runs)
    planned = _planned(runs)
    told: dict[Spot, list[tuple[Entry, bool]]] = defaultdict(list)
    for one in runs:
        for name in one.cells.keys() & cases.keys():
            found = one.found(name)
            for case in cases[name] & planned[one.cells[name].plan]:
                state = found.get(case, Verdict.CONFORMS)
                if state.is_decided:
                    told[name, case].append((one, state in FAILING))
    return {spot: _streak(told[spot]) for spot in sorted(told)}


def _ever_failing(runs: Iterable[Entry]) -> dict[str, set[str]]:
    """Return the cases that failed at least once, by cell."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in runs:
        for name in one.cells:
            found[name].update(one.found(name, FAILING))
    return found


def _planned(runs: Iterable[Entry]) -> dict[str, set[str]]:
    """Return the cases known to be in each plan, by the digest of the plan. A case is known if some entry lists it.

    A cell without results has no plan.
    """
    known: dict[str, set[str]] = defaultdict(set)
    for one in runs:
        for name, cell in one.cells.items():
            if cell.plan:
                known[cell.plan].update(one.found(name))
    return known


def _streak(told: Sequence[tuple[Entry, bool]]) -> Streak:
    """Return the streak of one case. ``told`` has each run with a verdict on the case, and whether the case failed in it."""
    first, runs, flaps = 0, 1, 0
    for number in range(1, len(told)):
        if told[number][1] is told[number - 1][1]:
            runs += 1
        else:
            first, runs, flaps = number, 1, flaps + 1
    since, failing = told[first]
    return Streak(failing, since.id, since.began, runs, flaps)
