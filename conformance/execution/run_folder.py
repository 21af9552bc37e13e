"""Folder of a run: the names of its files, and the files that are written before the run starts. ``check_folder.py`` reads the folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from conformance import documents, files, shapes
from conformance.checks.catalogue import Case
from conformance.exits import UserError
from conformance.ownership import LOCK

from . import journal
from .results import write_lines

PLAN = "plan.jsonl"
RESULTS = "results.jsonl"
ENVIRONMENT = "environment.json"
CONTENTS = "contents.json"
"""Name of the file with the digest of each library file, from which ``--resume`` names the file that differs."""
FINDINGS = "findings.json"
DIAGNOSTICS = "diagnostics.log"
"""Name of the file with the output of the run's own processes. It exists only if the run itself had a problem."""

FILES = frozenset((PLAN, RESULTS, ENVIRONMENT, CONTENTS, FINDINGS, DIAGNOSTICS, journal.FILE, LOCK))
"""Names of the files that make a folder a run. No other output may replace one."""


def refuse(option: str, output: Path, run: str, out: Path, names: Set[str] = FILES) -> None:
    """Raise UserError if an output would replace a file of a run, or the run file itself.

    ``run`` is the option, or the word, that names the run. ``names`` are the names that its files have, at any depth.
    """
    if holds(out, output, names):
        raise UserError(f"{option}: {output} is what {run} names, and would be lost; choose another place")


def holds(out: Path, path: Path, names: Set[str] = FILES) -> bool:
    """Return whether a path leads to this file, or to a file of the run in this folder. The path may be missing."""
    if not files.is_folder(out):
        return files.is_same(path, out)
    real = Path(os.path.realpath(path))
    return not names.isdisjoint((path.name, real.name)) and real.is_relative_to(os.path.realpath(out))


def digest(out: Path) -> str:
    """Return the SHA-256 digest of the plan."""
    return hashlib.sha256(files.read(out / PLAN)).hexdigest()


def prepare(
    cases: list[Case], environment: dict[str, Any], out: Path, contents: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Write the environment, the contents of libraries and the plan, and flush them to the disk.

    The old plan is removed first and the new plan is written last. A folder without a plan holds no run, so that
    ``--resume`` after a kill in between reports an error and never runs an older plan.
    """
    for old in (PLAN, RESULTS, FINDINGS, CONTENTS, journal.FILE, DIAGNOSTICS):
        files.remove(out / old)
    files.write_own(out / ENVIRONMENT, json.dumps(environment, indent=1, ensure_ascii=False) + "\n")
    if contents:
        files.write_own(out / CONTENTS, json.dumps(contents) + "\n")
    write_lines(out / PLAN, (case.to_json() for case in cases))


def contents(out: Path) -> dict[str, dict[str, str]]:
    """Return the recorded contents of libraries; empty if they cannot be read, because only a message depends on them."""
    try:
        found: dict[str, dict[str, str]] = documents.read(out / CONTENTS, shapes.Each(shapes.Each(str)))
    except files.Unreadable:
        return {}
    return found
