"""The folder of a run: the files in it, and what is written there before anything runs. ``held.py`` reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conformance import documents, files, shapes
from conformance.suite.catalogue import Case

from . import journal
from .results import write_lines

PLAN = "plan.jsonl"
RESULTS = "results.jsonl"
ENVIRONMENT = "environment.json"
CONTENTS = "contents.json"
"""A mark for each file of each library, so that a run which goes on can name the one that differs."""
FINDINGS = "findings.json"
DIAGNOSTICS = "diagnostics.log"
"""What the run's own processes wrote: empty if nothing went wrong with the run itself."""


def digest(out: Path) -> str:
    """What tells one plan from another."""
    return hashlib.sha256(files.read(out / PLAN)).hexdigest()


def prepare(
    cases: list[Case], environment: dict[str, Any], out: Path, contents: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Write environment, contents of libraries and plan, and see them on the disk.

    The plan goes first and comes last: without one a folder holds no run, so that who goes on with a run killed in between is told so
    instead of running what somebody had planned here before.
    """
    for old in (PLAN, RESULTS, FINDINGS, CONTENTS, journal.FILE, DIAGNOSTICS):
        (out / old).unlink(missing_ok=True)
    files.write_own(out / ENVIRONMENT, json.dumps(environment, indent=1, ensure_ascii=False) + "\n")
    if contents:
        files.write_own(out / CONTENTS, json.dumps(contents) + "\n")
    write_lines(out / PLAN, (case.to_json() for case in cases))


def contents(out: Path) -> dict[str, dict[str, str]]:
    """The contents of libraries that a run has noted; none where they cannot be read, for only a sentence depends on them."""
    try:
        found: dict[str, dict[str, str]] = documents.read(out / CONTENTS, shapes.Each(shapes.Each(str)))
    except files.Unreadable:
        return {}
    return found
