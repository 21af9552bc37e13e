"""The run file: one JSON document. The same run gives the same bytes, in whatever order it was merged."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

from conformance import documents, files, shapes
from conformance.checks.outcomes import Side
from conformance.exits import UserError
from conformance.files import Unreadable
from conformance.verdict import BY_LETTER, Verdict

from .model import Candidate, CellResult, Evidence, OwnTests, RunFile
from .ranges import expanded, stretches

FORMAT = "conformance-run/2"
OLDER = ("conformance-run/1",)
"""Formats of earlier versions of the suite. Their evidence lacks the data that findings need."""
_GZIPPED = b"\x1f\x8b"
_OF_GZIP = 31
"""zlib's ``wbits`` value for the gzip format with its checksum."""


class Altered(UserError):
    """A run file differs from the one that was written. The gate reports it as a remark; other commands end with the error."""


def to_json(run: RunFile) -> dict[str, Any]:
    """Return plain data. ``evidence`` and ``plans`` are in the order that :func:`~.merge.canonical` gives them."""
    return {
        "format": FORMAT,
        "id": run.id,
        "began": run.began,
        "suite": run.suite,
        "tier": run.tier,
        "plans": _plans(run),
        "evidence": [{**e._asdict(), "verdict": e.verdict.letter, "notes": dict(e.notes)} for e in run.evidence],
        "cells": [_cell(cell) for cell in run.cells],
    }


def _plans(run: RunFile) -> dict[str, Any]:
    """Return all case ids once, and each plan as ranges of indices into them. Plans differ by few ranges."""
    cases = sorted({case for plan in run.plans for case in plan})
    index = {case: number for number, case in enumerate(cases)}
    return {"cases": cases, "stretches": [stretches([index[case] for case in plan]) for plan in run.plans]}


def _cell(cell: CellResult) -> dict[str, Any]:
    plain = dict(cell.__dict__)
    plain["candidates"] = [dict(candidate.__dict__) for candidate in cell.candidates]
    plain["own_tests"] = dict(cell.own_tests.__dict__) if cell.own_tests else None
    if not cell.calls:
        del plain["calls"]  # older run files have no table of calls
    return plain


_TEXTS = shapes.Each(str)
_STRETCHES = [[int]]
_LETTERS = frozenset(BY_LETTER)
_EVIDENCE = {
    "verdict": _LETTERS,
    **dict.fromkeys(("outcome", "level", "code", "clause", "given", "step", "why", "reason", "expected", "seen"), str),
    "side": frozenset(("", *(side.value for side in Side))),
    "accused": [str],
    "notes": _TEXTS,
}
_COUNT = (None, int)
_CELL = {
    **dict.fromkeys(("name", "title", "lifecycle", "reason", "ended", "states"), str),
    **dict.fromkeys(("axes", "versions", "holds", "absent", "digests"), _TEXTS),
    "libraries": shapes.Each(_TEXTS),
    "candidates": [{"name": str, "version": str, "sha256": str}],
    "own_tests": (None, {**dict.fromkeys(("passed", "failed", "errors", "skipped"), _COUNT), "ended": str}),
    "seconds": float,
    "plan": int,
    "evidence": [int],
    "calls": shapes.Maybe(shapes.Each(str)),
}
_RUN = {
    "format": frozenset((FORMAT,)),
    "digest": shapes.Maybe(str),
    **dict.fromkeys(("id", "began", "suite", "tier"), str),
    "plans": {"cases": [str], "stretches": [_STRETCHES]},
    "evidence": [_EVIDENCE],
    "cells": [_CELL],
}


def from_json(data: dict[str, Any]) -> RunFile:
    """Return a run file from the result of :func:`to_json`. Raises ``ValueError`` for invalid data."""
    told = shapes.mistake(data, _RUN)
    if told:
        raise ValueError(told)
    _check_sizes(data)
    cases = data["plans"]["cases"]
    plans = tuple(tuple(expanded(found, cases)) for found in data["plans"]["stretches"])
    try:
        evidence = tuple(
            Evidence(
                **{
                    **e,
                    "verdict": BY_LETTER[e["verdict"]],
                    "accused": tuple(e["accused"]),
                    "notes": tuple(e["notes"].items()),
                }
            )
            for e in data["evidence"]
        )
        cells = tuple(_read_cell(cell) for cell in data["cells"])
    except TypeError as error:  # an unknown key
        raise ValueError(str(error)) from error
    run = RunFile(data["id"], data["began"], data["suite"], data["tier"], cells, plans, evidence)
    _check(run)
    return run


def _check_sizes(data: dict[str, Any]) -> None:
    """Check sizes before expansion: a few ranges in a damaged file could expand to more cases than fit into memory.

    Each plan belongs to a cell, which has a state for each case.
    """
    all_of_them = data["plans"]["stretches"]
    if any(len(pair) != 2 for found in all_of_them for pair in found):
        raise ValueError("plans.stretches are pairs of numbers")
    planned = sum(count for found in all_of_them for _, count in found)
    if planned > sum(len(cell["states"]) for cell in data["cells"]):
        raise ValueError(f"its plans have {planned} cases, but its cells do not have as many states")
    if any(case.count("/") < 3 for case in data["plans"]["cases"]):
        raise ValueError("plans.cases has an invalid case id")


def _check(run: RunFile) -> None:
    for cell in run.cells:
        if not 0 <= cell.plan < len(run.plans):
            raise ValueError(f"the cell {cell.name} has a plan that does not exist")
        if not set(cell.states) <= _LETTERS:
            raise ValueError(f"the cell {cell.name} has an unknown state")
        wanted = len(cell.states) - cell.states.count(Verdict.CONFORMS.letter)
        if len(cell.states) != len(run.plans[cell.plan]) or len(cell.evidence) != wanted:
            raise ValueError(f"the cell {cell.name} has another number of states than its plan has cases")
        if not all(0 <= index < len(run.evidence) for index in cell.evidence):
            raise ValueError(f"the cell {cell.name} refers to evidence that is not there")


def _read_cell(data: dict[str, Any]) -> CellResult:
    own = data["own_tests"]
    candidates = tuple(Candidate(**candidate) for candidate in data["candidates"])
    told = {**data, "candidates": candidates, "own_tests": OwnTests(**own) if own else None}
    return CellResult(**{**told, "evidence": tuple(data["evidence"])})


def encoded(run: RunFile) -> bytes:
    """Return the document without its digest. The digest is computed over these bytes."""
    return json.dumps(to_json(run), ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def digest(run: RunFile) -> str:
    """Return the SHA-256 of the document, in hexadecimal. It identifies the run."""
    return hashlib.sha256(encoded(run)).hexdigest()


def write(run: RunFile, path: Path) -> str:
    """Write a run file atomically, gzipped if its name ends in ``.gz``. Returns its digest."""
    body = encoded(run)
    found = hashlib.sha256(body).hexdigest()
    whole = b'{"digest":"' + found.encode() + b'",' + body[1:] + b"\n"
    files.write(path, gzip.compress(whole, 6, mtime=0) if path.suffix == ".gz" else whole)
    return found


def read(path: Path) -> RunFile:
    """Read a run file. Raises UserError if the file is no run file, or if its digest does not match its content."""
    try:
        document = documents.parsed(_unpacked(path))
        if isinstance(document, dict) and document.get("format") in OLDER:
            raise UserError(
                f"{path} was written by an older version of this suite ({document['format']}, not {FORMAT}); "
                "run its cells again, then write it again with `merge`"
            )
        said = document.pop("digest", None) if isinstance(document, dict) else None
        run = from_json(document)
    except (Unreadable, ValueError) as error:
        why = error.brief if isinstance(error, Unreadable) else error
        raise UserError(f"{path} is not a readable run file ({why}); give one written by `merge --out`") from error
    if digest(run) != said:
        raise Altered(f"{path} was changed or damaged: its digest does not match; write it again with `merge`")
    return run


def _unpacked(path: Path) -> bytes:
    """Return the unpacked content, up to :data:`~conformance.files.MOST` bytes."""
    data = files.read(path)
    if not data.startswith(_GZIPPED):
        return data
    unpacking = zlib.decompressobj(wbits=_OF_GZIP)
    try:
        whole = unpacking.decompress(data, files.MOST)
    except zlib.error as error:
        raise _damaged(path, str(error)) from error
    if not unpacking.eof:
        if len(whole) < files.MOST:
            raise _damaged(path, "it is truncated")
        raise Unreadable(path, f"is, unpacked, larger than {files.too_large(files.MOST)}")
    if unpacking.unused_data:
        raise _damaged(path, "data follows its end")
    return whole


def _damaged(path: Path, why: str) -> Altered:
    return Altered(f"{path} was changed or damaged: it cannot be unpacked ({why}); write it again with `merge`")
