"""The history of runs: a line of JSON for each, appended and never rewritten. Since when does a case fail, and does it flap?

A line has, for each cell, the cases that did not conform, as stretches of neighbours in the line's own list of cases, and a digest of
what was planned in it. Those that conform and have failed in that cell before are in it too: a plan changes with every release of the
suite, and what was mended together with it would else seem not to be planned any more.
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
"""What counts as failing; what was not decided or lost says nothing, neither way."""
_FIRST = 1 << 16
"""Number of leading bytes of a line that contain its format."""
_PLAN = 16
"""Characters of the digest of a plan."""


@dataclass(frozen=True)
class CellEntry:
    """One cell of a run: what became of it, and its cases that did not conform. ``plan`` is the digest of what was planned in it.

    ``found`` has stretches of neighbours among the entry's cases, by their state: of hundreds of runs there would be too much else.
    """

    lifecycle: str
    plan: str = ""
    planned: int = 0
    found: dict[Verdict, list[list[int]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One run."""

    id: str
    began: str
    suite: str
    tier: str
    digest: str
    """Of its run file: what tells one run from another."""
    cases: tuple[str, ...]
    """Those that did not conform in some cell, or had failed there before, in order."""
    cells: dict[str, CellEntry]

    def found(self, name: str, states: Iterable[Verdict] = Verdict) -> dict[str, Verdict]:
        """The cases of a cell that the entry names, with their states, or those in some states alone."""
        by_state = self.cells[name].found
        return {case: s for s in states if s in by_state for case in expanded(by_state[s], self.cases)}


@dataclass(frozen=True)
class History:
    """What a file holds, in its order, and what is wrong with lines that were passed over."""

    entries: tuple[Entry, ...]
    complaints: tuple[str, ...] = ()
    torn: bool = False
    """Whether the last line has no end."""


@dataclass(frozen=True)
class Streak:
    """How a case that has failed at least once stands: since which run it has been as it is, and how often it changed before.

    ``runs`` counts the runs in which it has been so, ``flaps`` the changes between failing and not failing in all runs.
    """

    failing: bool
    since: str
    began: str
    runs: int
    flaps: int


def entry(run: RunFile, canaries: Mapping[str, str], earlier: Sequence[Entry] = ()) -> Entry:
    """A run as its line has it, after these; invariants that test the run itself are left out."""
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
    """Those of the watched cases that the cell has planned and that conform in it."""
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
    """A line, as plain data."""
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
    """The runs of a file; one that is not there has none. A torn last line is passed over and told, like any that cannot be read.

    Raises UserError where the file cannot be read at all.
    """
    try:
        data = files.read(path)
    except files.Missing:
        return History(())
    except files.Unreadable as error:
        raise UserError(f"{error}; name a file that `gate --history` has made") from error
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
            complaints.append(f"{path}:{number}: no run that can be read ({error}); it was passed over")
    if rest:
        complaints.append(
            f"{path}:{len(lines) + 1}: the last line has no end, its writer was ended; it was passed over"
        )
    return History(tuple(entries), tuple(complaints), bool(rest))


def is_one(path: Path) -> bool:
    """Whether runs can be added to it: it is not there or empty, a line of it is a run, or its first line was to be one."""
    try:
        with files.opened(path) as file:
            first = os.pread(file, _FIRST, 0).split(b"\n")[0]
    except files.Unreadable:  # the function that appends to the file reports this error
        return True
    return not first.strip() or FORMAT.encode() in first or bool(read(path).entries)


def append(path: Path, run: RunFile, canaries: Mapping[str, str]) -> tuple[bool, tuple[str, ...]]:
    """Add a run at the end, by one write that reaches the disk. Earlier lines are never touched.

    Returns whether it was added, which it is not where it is there already, and complaints about lines that cannot be read. Raises
    UserError where the file cannot be written.
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
    """One write; what a full disk has cut off is taken back."""
    end = os.lseek(file, 0, os.SEEK_END)
    written = os.write(file, line)
    if written < len(line):
        os.ftruncate(file, end)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(file)


def latest(entries: Sequence[Entry]) -> list[Entry]:
    """The runs in the order in which they began; of one that was gone on with, what it came to in the end."""
    last = {(one.id, one.began): one for one in entries}
    return sorted(last.values(), key=lambda one: one.began)


def streaks(entries: Sequence[Entry]) -> dict[Spot, Streak]:
    """Every case that has ever failed in a cell, by both, with how it stands."""
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
    """By cell."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in runs:
        for name in one.cells:
            found[name].update(one.found(name, FAILING))
    return found


def _planned(runs: Iterable[Entry]) -> dict[str, set[str]]:
    """By the digest of a plan the cases that are known to be in it, since some entry names them.

    Nothing is planned in a cell without results.
    """
    known: dict[str, set[str]] = defaultdict(set)
    for one in runs:
        for name, cell in one.cells.items():
            if cell.plan:
                known[cell.plan].update(one.found(name))
    return known


def _streak(told: Sequence[tuple[Entry, bool]]) -> Streak:
    """``told`` has the runs that know whether it failed, and whether it did."""
    first, runs, flaps = 0, 1, 0
    for number in range(1, len(told)):
        if told[number][1] is told[number - 1][1]:
            runs += 1
        else:
            first, runs, flaps = number, 1, flaps + 1
    since, failing = told[first]
    return Streak(failing, since.id, since.began, runs, flaps)
