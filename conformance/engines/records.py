"""The files of a run over cells: the written plan, a record for each cell, and what of a cell's own results the runner reads."""

from __future__ import annotations

import json
import re
import reprlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import conformance
from conformance import files
from conformance.execution import held
from conformance.exits import UserError
from conformance.verdict import Verdict

from .model import Bounds, Candidate, Cell, Ending, Lifecycle, Older, WithTests
from .with_tests import OwnTests

RUN = "run.json"
CELL = "cell.json"
PLAN, JOURNAL, RESULTS, LOG = "plan.jsonl", "journal.jsonl", "results.jsonl", "check.log"
ENVIRONMENT = "environment.json"
_HALVES = re.compile(rb"\\u[dD][89a-fA-F]")
"""How JSON names halves of surrogate pairs: a pair is one character, and a half alone is nothing that a file can hold."""
OF_CHECK = (PLAN, JOURNAL, RESULTS, ENVIRONMENT, "findings.json", "diagnostics.log")


@dataclass(frozen=True)
class Run:
    """The plan of a run: which cells, where, and how. Written before anything else happens."""

    id: str
    tier: str
    on: str
    """The engine's program, or ``here`` or ``venv``."""
    why: str
    """Why this engine."""
    gpus: str
    """What was asked for."""
    bounds: Bounds
    arguments: tuple[str, ...]
    cells: tuple[Cell, ...]
    asked: tuple[str, ...] = ()
    """What ``--candidate`` was given, as it was given."""
    with_tests: WithTests | None = None

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every wheel that stands in some cell, once."""
        return tuple({one.sha256: one for cell in self.cells for one in cell.candidates}.values())

    def to_json(self) -> dict[str, Any]:
        """``run.json``."""
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
        """The reverse of :meth:`to_json`."""
        return cls(
            data["id"], data["tier"], data["on"], data["why"], data["gpus"], Bounds(**data["bounds"]),
            tuple(data["arguments"]), tuple(Cell.from_json(cell) for cell in data["cells"]),
            tuple(data.get("asked", ())), WithTests(**tests) if (tests := data.get("with_tests")) else None,
        )  # fmt: skip


def _without(data: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != key}


@dataclass(frozen=True)
class Record:
    """What is known of one cell: ``cell.json``. ``seconds`` is of all its starts together."""

    cell: Cell
    ending: Ending
    facts: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    starts: tuple[dict[str, Any], ...] = ()
    """One entry a start: when, how long, how it ended."""
    tests: OwnTests | None = None
    """What became of the package's own tests, where there are any to be run."""
    digests: dict[str, str] = field(default_factory=dict)
    """Of what it ran (``suite``, ``lock``, ``image``) and of what it brought (``results``); see :mod:`.digests`."""

    def to_json(self) -> dict[str, Any]:
        """``cell.json``."""
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
    """Write a JSON file whole or not at all."""
    files.write(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def parsed(data: bytes) -> Any:
    """What this JSON says, so that it can be written again: a half of a surrogate pair is ``?``. Raises ValueError where it is none."""
    try:
        found = json.loads(data)
        if _HALVES.search(data):
            found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return found


def texts(what: str, /, **told: object) -> None:
    """Raise ValueError for the first of these that is no text; ``what`` has it."""
    for name, value in told.items():
        if not isinstance(value, str):
            raise ValueError(f"{what} has {reprlib.repr(value)} as its {name}, which is no text")


def read_run(out: Path) -> Run:
    """The plan of the run in a folder. Raises UserError where there is none."""
    try:
        run = Run.from_json(parsed((out / RUN).read_bytes()))
        texts(RUN, id=run.id, tier=run.tier)
        for cell in run.cells:
            texts("a cell", name=cell.name, alias=cell.alias)
            texts(f"the cell {cell.name}, among its axes,", **cell.axes)
            texts(f"the cell {cell.name}, among what it holds,", **cell.holds)
    except Older as error:
        raise UserError(f"{out / RUN}: {error}; run it again") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{RUN} has no {error}" if isinstance(error, KeyError) else error
        raise UserError(
            f"{out} holds no run over cells that can be read ({why}); give a folder that `conform --out` has made"
        ) from error
    return run


def read_record(out: Path, cell: Cell) -> Record:
    """What is known of a cell; one that left no record was not run."""
    try:
        data = parsed((out / cell.name / CELL).read_bytes())
        ending = Ending(Lifecycle(data["lifecycle"]), data["reason"], data["exit"])
        tests = OwnTests.from_json(found) if (found := data.get("with_tests")) else None
        digests = dict(data.get("digests", {}))
        return Record(cell, ending, data["ran_in"], data["seconds"], tuple(data["starts"]), tests, digests)
    except (OSError, ValueError, KeyError, TypeError):
        return Record(cell, Ending(Lifecycle.NOT_RUN, "the run has not come to it"))


@dataclass
class Counts:
    """How far a cell's ``check`` is, read from its journal while that grows. Trials, which were not planned, do not count."""

    folder: Path
    verdicts: Counter[str] = field(default_factory=Counter)
    _cases: frozenset[str] = frozenset()
    _offset: int = 0
    _seen: dict[str, str] = field(default_factory=dict)

    def update(self) -> None:
        """Take what is new."""
        if not self._cases:
            self._cases = _planned(self.folder)
        try:
            with (self.folder / JOURNAL).open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    self._take(line)
        except OSError:
            return

    def _take(self, line: bytes) -> None:
        if b'"end"' not in line:
            return
        try:
            result = json.loads(line).get("result") or {}
        except ValueError:
            return
        if result.get("id") not in self._cases:
            return
        before = self._seen.get(result["id"])
        if before:
            self.verdicts[before] -= 1
        self._seen[result["id"]] = result["verdict"]
        self.verdicts[result["verdict"]] += 1

    @property
    def planned(self) -> int:
        """Cases of the plan; 0 as long as there is none."""
        return len(self._cases)

    @property
    def done(self) -> int:
        """Cases with an outcome."""
        return len(self._seen)


@dataclass(frozen=True)
class Ended:
    """What a cell's ``check`` has come to, finished or not: cases by verdict, how many have an outcome, and how many were planned."""

    verdicts: Counter[str]
    done: int
    planned: int


def ended(folder: Path) -> Ended:
    """As :mod:`conformance.execution.held` reads it; nothing where it cannot be read, which whoever merges the run is told."""
    try:
        found = held.read(folder)
        verdicts = Counter(str(line["verdict"]) for line in found.results.values())
    except (OSError, ValueError, KeyError, TypeError):
        return Ended(Counter(), 0, 0)
    return Ended(verdicts, verdicts.total() - verdicts[Verdict.LOST.word], len(found.plan.ids))


def _planned(folder: Path) -> frozenset[str]:
    """The ids of the cases that were planned, as far as there is a plan."""
    try:
        return held.read_plan(folder).known
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()


def libraries(folder: Path) -> set[str]:
    """Those that the plan of a cell has a case with, by the name that case ids have. ``OSError`` or ``ValueError`` if there is none."""
    return {name for id in held.read_plan(folder).ids for name in id.split("/")[1].split("-")}


def stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written anew."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
