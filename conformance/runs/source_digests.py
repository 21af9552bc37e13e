"""The files that a run was read from, beside the digests that its cells recorded when they ended."""

from __future__ import annotations

from pathlib import Path

from conformance import files
from conformance.engines import digests, records

from . import reader
from .model import RunFile
from .run_file import Altered

RESULTS = "results"
"""The name of the digest of a cell's results."""


def results(path: Path, run: RunFile) -> dict[str, str] | None:
    """The digest of each cell's results as they are now, by cell; ``None`` for a run file, which has them in it."""
    if files.is_there(path / records.RUN):
        return {cell.name: digests.of_file(path / cell.name / records.RESULTS) for cell in run.cells}
    if files.is_folder(path):  # that of one cell
        return {cell.name: digests.of_file(path / records.RESULTS) for cell in run.cells}
    return None


def check(path: Path, run: RunFile) -> None:
    """Raise ``Altered`` for results that are not as they were when their cells ended; all of them are named."""
    found = results(path, run) or {}
    wrong = [c.name for c in run.cells if c.name in found and c.digests.get(RESULTS, found[c.name]) != found[c.name]]
    if wrong:
        raise Altered(
            f"{path}: {records.RESULTS} is not what it was when the cell ended, in {', '.join(wrong)}; run what is named again"
        )


def load(path: Path) -> RunFile:
    """The run that a file or a folder holds, if it is as it was written. Raises ``UserError`` where there is none, ``Altered`` where it is not."""
    run = reader.load(path)
    check(path, run)
    return run
