"""Files of a run over cells: the plan, a record for each cell, and the parts of a cell's results that the runner reads."""

from __future__ import annotations

import json
import os
import re
import reprlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import conformance
from conformance import documents, files, shapes
from conformance.execution import check_folder
from conformance.execution.results import mistake
from conformance.exits import UserError
from conformance.files import NotOwn, Unreadable
from conformance.verdict import Verdict

from .model import Bounds, Candidate, Cell, Ending, Lifecycle, Older, WithTests
from .package_tests import FOLDER, Finish, OwnTests

RUN = "run.json"
CELL = "cell.json"
PLAN, JOURNAL, RESULTS, LOG = "plan.jsonl", "journal.jsonl", "results.jsonl", "check.log"
ENVIRONMENT = "environment.json"
CANDIDATES = "candidates"
"""Name of the folder with unpacked candidates, beside the folders of the cells."""
OF_CHECK = (PLAN, JOURNAL, RESULTS, ENVIRONMENT, "findings.json", "diagnostics.log")


@dataclass(frozen=True)
class Run:
    """Plan of a run: its cells, engine and options. It is written before any cell starts."""

    id: str
    tier: str
    on: str
    """Program of the container engine, or ``here`` or ``venv``."""
    why: str
    """Reason for this engine."""
    gpus: str
    """Value of ``--gpus``."""
    bounds: Bounds
    arguments: tuple[str, ...]
    cells: tuple[Cell, ...]
    asked: tuple[str, ...] = ()
    """Values of ``--candidate``, unchanged."""
    with_tests: WithTests | None = None

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every candidate of the cells, once."""
        return tuple({one.sha256: one for cell in self.cells for one in cell.candidates}.values())

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``run.json``."""
        cells = [cell.to_json() for cell in self.cells]
        plain = {
            **self.__dict__,
            "bounds": dict(self.bounds.__dict__),
            "arguments": list(self.arguments),
            "cells": cells,
            "asked": list(self.asked),
            "candidates": [_without(one.to_json(), "instead_of") for one in self.candidates],
            "with_tests": dict(self.with_tests.__dict__) if self.with_tests else None,
        }
        return {"suite": conformance.__version__, **plain}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Run:
        """Create a plan from :meth:`to_json` data."""
        return cls(
            data["id"], data["tier"], data["on"], data["why"], data["gpus"], Bounds(**data["bounds"]),
            tuple(data["arguments"]), tuple(Cell.from_json(cell) for cell in data["cells"]),
            tuple(data.get("asked", ())), WithTests(**tests) if (tests := data.get("with_tests")) else None,
        )  # fmt: skip


def _without(data: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != key}


@dataclass(frozen=True)
class Record:
    """Record of one cell in ``cell.json``. ``seconds`` is the sum of all its starts."""

    cell: Cell
    ending: Ending
    facts: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    starts: tuple[dict[str, Any], ...] = ()
    """One entry for each start: time, duration, and ending."""
    tests: OwnTests | None = None
    """Result of the package's own tests, if the run has any."""
    digests: dict[str, str] = field(default_factory=dict)
    """Digests of the inputs (``suite``, ``lock``, ``image``) and of the results (``results``); see :mod:`.digests`."""

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``cell.json``."""
        return {
            "cell": self.cell.name, "alias": self.cell.alias or None,
            "axes": dict(self.cell.axes), "holds": dict(self.cell.holds),
            "lifecycle": self.ending.lifecycle.value, "reason": self.ending.reason, "exit": self.ending.exit,
            "ran_in": self.facts, "seconds": round(self.seconds, 3), "starts": list(self.starts),
            "candidates": [_without(one.to_json(), "source") for one in self.cell.candidates],
            "with_tests": self.tests.to_json() if self.tests else None,
            "digests": self.digests,
        }  # fmt: skip


def write(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON file into a folder of results atomically."""
    files.write_own(path, encoded(data))


def encoded(data: dict[str, Any]) -> str:
    """Return the text of a JSON file, indented for people."""
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


_TEXTS = shapes.Each(str)
_CANDIDATE = dict.fromkeys(("name", "version", "file", "sha256", "source", "instead_of"), str)
_CELL = {
    "name": str,
    **dict.fromkeys(("alias", "python", "cuda", "lock", "problem", "unfit"), shapes.Maybe(str)),
    "unresolvable": shapes.Maybe(bool),
    "candidates": shapes.Maybe([_CANDIDATE]),
    "axes": shapes.Maybe((_TEXTS, None)),
    "holds": shapes.Maybe((_TEXTS, None)),
}
_RUN = {
    "suite": shapes.Maybe(str),
    **dict.fromkeys(("id", "tier", "on", "why", "gpus"), str),
    "bounds": {"memory": str, "pids": int, "seconds": float},
    "arguments": [str],
    "cells": [_CELL],
    "asked": shapes.Maybe([str]),
    "with_tests": shapes.Maybe((None, {"folder": str, "seconds": float})),
}
_COUNT = (None, int)
_RECORD = {
    "lifecycle": frozenset(one.value for one in Lifecycle),
    "reason": str,
    "exit": shapes.Maybe(_COUNT),
    "axes": shapes.Maybe((_TEXTS, None)),
    "holds": shapes.Maybe((_TEXTS, None)),
    "ran_in": shapes.Maybe(_TEXTS),
    "seconds": shapes.Maybe(float),
    "starts": shapes.Maybe([{"at": str}]),
    "candidates": shapes.Maybe([dict.fromkeys(("name", "version", "sha256"), str)]),
    "with_tests": shapes.Maybe(
        (
            None,
            {
                "ended": frozenset(one.value for one in Finish),
                "reason": shapes.Maybe(str),
                "exit": shapes.Maybe(_COUNT),
                **dict.fromkeys(("passed", "failed", "errors", "skipped"), _COUNT),
                "seconds": shapes.Maybe(float),
            },
        )
    ),
    "digests": shapes.Maybe(_TEXTS),
}
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][^/\0-\x1f\x7f]{0,199}")
"""Pattern of a valid folder name of a cell: one path component that is neither an option nor a file of the suite."""
_OURS = frozenset({RUN, FOLDER, CANDIDATES})


def read_run(out: Path, *, own: bool = False) -> Run:
    """Return the plan of the run in a folder. Raises as :func:`read_plan_of_cells`."""
    return run_in(read_plan_of_cells(out, own=own), out)


def read_plan_of_cells(out: Path, *, own: bool = False) -> dict[str, Any]:
    """Return the content of ``run.json``.

    Raises UserError if it cannot be read, and NotOwn with ``own`` if another user could have written it.
    """
    try:
        found: dict[str, Any] = documents.read(out / RUN, _RUN, own=own)
    except NotOwn:
        raise
    except Unreadable as error:
        raise UserError(
            f"{out} holds no run over cells that can be read ({error.brief}); give a folder that `conform --out` has written"
        ) from error
    return found


def run_in(data: dict[str, Any], out: Path) -> Run:
    """Return the run that ``run.json`` describes. Raises UserError for invalid cells, whose names are folders in ``out``."""
    try:
        run = Run.from_json(data)
    except Older as error:
        raise UserError(f"{out / RUN}: {error}; run it again") from error
    except TypeError as error:
        raise UserError(f"{out / RUN} is not in the expected format: {error}; run it again") from error
    names = Counter(cell.name for cell in run.cells)
    wrong = [name for name in names if not _PLAIN_NAME.fullmatch(name) or name in _OURS or names[name] > 1]
    if wrong:
        listed = ", ".join(map(reprlib.repr, wrong))
        raise UserError(
            f"{out / RUN} has invalid cells: {listed} (each name must be that of one separate folder); nothing was done"
        )
    return run


def folder_of(out: Path, name: str) -> Path:
    """Return the results folder of a cell. Raises UserError if it is a link."""
    folder = out / name
    if folder.is_symlink():
        raise UserError(
            f"{folder} is a link, but the results of a cell must be in the folder of their run; remove the link"
        )
    return folder


def record_in(folder: Path) -> dict[str, Any]:
    """Return the content of ``cell.json``. Raises Unreadable if it is not valid, and Missing if it does not exist."""
    found: dict[str, Any] = documents.read(folder / CELL, _RECORD)
    return found


def read_record(out: Path, cell: Cell) -> Record:
    """Return the record of a cell. A cell that wrote no record is reported as `not run`."""
    try:
        data = record_in(folder_of(out, cell.name))
    except Unreadable:
        return Record(cell, Ending(Lifecycle.NOT_RUN, "the run has not come to it"))
    ending = Ending(Lifecycle(data["lifecycle"]), data["reason"], data.get("exit"))
    tests = OwnTests.from_json(found) if (found := data.get("with_tests")) else None
    return Record(
        cell, ending, data.get("ran_in", {}), data.get("seconds", 0.0), tuple(data.get("starts", ())), tests,
        data.get("digests", {}),
    )  # fmt: skip


@dataclass
class Counts:
    """Progress of ``check`` in a cell, read from its growing journal. Trials do not count, because they are not in the plan."""

    folder: Path
    verdicts: Counter[str] = field(default_factory=Counter)
    _cases: frozenset[str] = frozenset()
    _offset: int = 0
    _seen: dict[str, str] = field(default_factory=dict)

    def update(self) -> None:
        """Read the new lines of the journal."""
        if not self._cases:
            self._cases = _planned(self.folder)
        try:
            with files.opened(self.folder / JOURNAL) as number, os.fdopen(number, "rb", closefd=False) as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    self._take(line)
        except Unreadable:
            return

    def _take(self, line: bytes) -> None:
        if b'"end"' not in line:
            return
        try:
            record = documents.loads(line)
        except ValueError:
            return
        result = record.get("result") if isinstance(record, dict) else None
        if mistake(result) or not isinstance(result, dict) or result["id"] not in self._cases:
            return
        before = self._seen.get(result["id"])
        if before:
            self.verdicts[before] -= 1
        self._seen[result["id"]] = result["verdict"]
        self.verdicts[result["verdict"]] += 1

    @property
    def planned(self) -> int:
        """Number of planned cases; 0 before the plan exists."""
        return len(self._cases)

    @property
    def done(self) -> int:
        """Number of cases with an outcome."""
        return len(self._seen)


@dataclass(frozen=True)
class Ended:
    """Counts of a cell's ``check``, finished or not: cases by verdict, cases with an outcome, and planned cases."""

    verdicts: Counter[str]
    done: int
    planned: int


def ended(folder: Path) -> Ended:
    """Count the cases in the results folder of a cell. An unreadable folder counts as empty; ``merge`` reports it."""
    try:
        found = check_folder.read(folder)
    except Unreadable:
        return Ended(Counter(), 0, 0)
    verdicts = Counter(str(line["verdict"]) for line in found.results.values())
    return Ended(verdicts, verdicts.total() - verdicts[Verdict.LOST.word], len(found.plan.ids))


def _planned(folder: Path) -> frozenset[str]:
    """Return the ids of the planned cases; none if there is no readable plan."""
    try:
        return check_folder.read_plan(folder).known
    except Unreadable:
        return frozenset()


def libraries(folder: Path) -> set[str]:
    """Return the libraries in the plan of a cell, by the names that case ids use. Raises Unreadable without a plan."""
    return {name for id in check_folder.read_plan(folder).ids for name in id.split("/")[1].split("-")}


def stamp(path: Path) -> tuple[int, int] | None:
    """Return the inode and modification time of a file, which change when the file is replaced; ``None`` if it is missing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
