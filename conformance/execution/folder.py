"""The folder of a run: the files in it, who may write them, and what an interrupted run has left there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance import files
from conformance.suite.catalogue import Case, catalogue
from conformance.suite.outcomes import Outcome

from . import journal
from .results import BAD, Result, read_lines, write_lines

PLAN = "plan.jsonl"
RESULTS = "results.jsonl"
ENVIRONMENT = "environment.json"
DIAGNOSTICS = "diagnostics.log"
"""What the run's own processes wrote: empty if nothing went wrong with the run itself."""


def digest(out: Path) -> str:
    """What tells one plan from another."""
    return hashlib.sha256((out / PLAN).read_bytes()).hexdigest()


def deadly(out: Path) -> frozenset[str]:
    """Cases that killed their process, hung or lost the context in the run that has left its results here."""
    try:
        results = journal.read(out / journal.FILE).results
    except (OSError, ValueError, KeyError):
        return frozenset()
    known = catalogue()
    canaries = {name for name, invariant in known.items() if invariant.canary is not None}
    return frozenset(id for id, r in results.items() if r.outcome in BAD and r.case.invariant not in canaries)


def prepare(cases: list[Case], environment: dict[str, Any], out: Path) -> None:
    """Write environment and plan, and see them on the disk.

    The plan goes first and comes last: without one a folder holds no run, so that who goes on with a run killed in between is told so
    instead of running what somebody had planned here before.
    """
    for old in (PLAN, RESULTS, journal.FILE, DIAGNOSTICS):
        (out / old).unlink(missing_ok=True)
    files.write(out / ENVIRONMENT, json.dumps(environment, indent=1, ensure_ascii=False) + "\n")
    write_lines(out / PLAN, (case.to_json() for case in cases))


@dataclass(frozen=True)
class Left:
    """What a run has left in its folder: the plan, the environment that it was made in, and the result of each case that has one."""

    cases: tuple[Case, ...]
    environment: dict[str, Any]
    results: dict[str, Result]
    unended: frozenset[str]


def read(out: Path) -> Left:
    """Read a run's folder, in whatever state; ``OSError`` if there is none, ``ValueError`` or ``KeyError`` if it is none of a run."""
    environment = json.loads((out / ENVIRONMENT).read_text(encoding="utf-8"))
    cases = tuple(Case.from_json(record) for record in read_lines(out / PLAN))
    if not cases:
        raise ValueError(f"{PLAN} is empty or missing")
    account = journal.read(out / journal.FILE)
    if account.plan and account.plan != digest(out):
        raise ValueError(f"{journal.FILE} belongs to another plan")
    decided = {id: result for id, result in account.results.items() if result.outcome is not Outcome.LOST}
    return Left(cases, environment, decided, account.unended)
