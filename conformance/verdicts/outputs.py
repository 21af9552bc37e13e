"""The files that a gate writes, beside those that it goes by: none of these is overwritten, or added to where it is no history."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from conformance.engines import records
from conformance.exits import UserError

from . import history

_OF_A_RUN = frozenset({records.RUN, records.CELL, *records.OF_CHECK})


def check(document: Path | None, kept: Path | None, given: Iterable[tuple[str, Path]]) -> None:
    """Raise UserError where ``--json`` (the document) or ``--history`` (what is kept) would spoil what the other options have given."""
    for other, one in given:
        for option, path in (("--json", document), ("--history", kept)):
            if path and _is_in(path, one):
                raise UserError(f"{option}: {path} is what {other} names, and would be lost; choose another place")
    if document and kept and _is_same(document, kept):
        raise UserError(f"--json: {document} is what --history names, and would be lost; choose another place")
    for option, path in (("--json", document), ("--history", kept)):
        if path and path.is_dir():
            raise UserError(f"{option}: {path} cannot be written: it is a folder; choose another place")
    if kept and not history.is_one(kept):
        raise UserError(f"--history: {kept} is no history of runs, and nothing is added to it; choose another file")


def _is_in(path: Path, run: Path) -> bool:
    """Whether it is this file, or one of the files that make this folder a run."""
    if not run.is_dir():
        return _is_same(path, run)
    return path.name in _OF_A_RUN and _real(path).is_relative_to(_real(run))


def _is_same(one: Path, other: Path) -> bool:
    """One file, also by two names."""
    if one.exists() and other.exists():
        return one.samefile(other)
    return _real(one) == _real(other)


def _real(path: Path) -> Path:
    """Return the path with its links resolved, also if its target does not exist."""
    return Path(os.path.realpath(path))
