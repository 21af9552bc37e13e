"""Compare the files of a run with the digests that its cells recorded when they ended."""

from __future__ import annotations

from pathlib import Path

from conformance import files
from conformance.engines import digests, records

from . import reader
from .model import RunFile
from .run_file import Altered

RESULTS = "results"
"""Name of the digest of a cell's results."""


def results(path: Path, run: RunFile) -> dict[str, str] | None:
    """Return the current digest of each cell's results; ``None`` for a run file, which contains its results."""
    if files.is_there(path / records.RUN):
        return {cell.name: digests.of_file(path / cell.name / records.RESULTS) for cell in run.cells}
    if files.is_folder(path):  # a folder of `check`, which is one cell
        return {cell.name: digests.of_file(path / records.RESULTS) for cell in run.cells}
    return None


def check(path: Path, run: RunFile) -> None:
    """Raise ``Altered`` that names every cell whose results changed after the cell ended."""
    found = results(path, run) or {}
    wrong = [c.name for c in run.cells if c.name in found and c.digests.get(RESULTS, found[c.name]) != found[c.name]]
    if wrong:
        raise Altered(
            f"{path}: {records.RESULTS} changed after the cell ended, in {', '.join(wrong)}; run these cells again"
        )


def load(path: Path) -> RunFile:
    """Read the run in a file or a folder. Raises ``UserError`` if there is none, ``Altered`` if it changed after it was written."""
    run = reader.load(path)
    check(path, run)
    return run
