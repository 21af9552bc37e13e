"""Checks of output paths: a command never overwrites its own input, and never appends to a file that is not a history."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from conformance import files
from conformance.engines import package_tests, records
from conformance.execution import run_folder
from conformance.exits import UserError

from . import history

_OF_A_RUN = run_folder.FILES | {
    records.RUN, records.CELL, *records.OF_CHECK, records.LOG, package_tests.RESULTS, package_tests.LOG,
}  # fmt: skip
_OF_OTHERS = (records.CANDIDATES, package_tests.FOLDER)
"""Folders of a run over cells in which every file belongs to the run."""

Given = Iterable[tuple[str, Path]]
"""Files and folders that a command reads, each with the option or argument that names it."""


def keep(outputs: Iterable[tuple[str, Path]], given: Given) -> None:
    """Raise UserError if an output, given with its option, is an input of the command or part of a run."""
    named = list(outputs)
    for other, one in given:
        for option, path in named:
            run_folder.refuse(option, path, other, one, _OF_A_RUN)
            if any(_is_below(path, one / name) for name in _OF_OTHERS):
                raise UserError(f"{option}: {path} is inside the run named by {other}; choose another place")


def check(document: Path | None, kept: Path | None, given: Given) -> None:
    """Raise UserError if ``--json`` or ``--history`` would overwrite an input or each other, or cannot be written."""
    named: Mapping[str, Path] = {o: path for o, path in (("--json", document), ("--history", kept)) if path}
    keep(named.items(), given)
    if document and kept and files.is_same(document, kept):
        raise UserError(
            f"--json: {document} is also the file of --history, which it would overwrite; choose another place"
        )
    for option, path in named.items():
        if files.is_folder(path):
            raise UserError(f"{option}: {path} cannot be written: it is a folder; choose another place")
    if kept and not files.is_regular(kept):
        raise UserError(f"--history: {kept} is not a regular file; refusing to append")
    if kept and not history.is_one(kept):
        raise UserError(f"--history: {kept} is not a history file; refusing to append")


def _is_below(path: Path, above: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(above))
