"""Cells that ran in different places put into one folder: every planned cell is in it, and none is chosen among two."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from conformance.exits import UserError

from . import records
from .model import Cell, Ending, Lifecycle
from .records import Record, Run

NOT_BROUGHT = "none of the joined runs has brought it"


def join(runs: Sequence[Path], planned: Iterable[Cell], tier: str, out: Path) -> tuple[Run, list[Record]]:
    """Copy each cell of these runs into ``out``, which has to be new, and plan there what was to be run.

    A planned cell that no run has brought is ``not run``. Raises UserError where two runs bring one cell, where one brings a cell that
    was not planned, where they were not given the same candidates and tests, and where a folder holds no run.
    """
    sources = _sources(runs)
    cells = tuple(_planned(cell, sources.get(cell.name, [])) for cell in planned)
    _check(sources, cells)
    _check_same(runs)
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise UserError(
            f"--out: {out} cannot be made: {error.strerror}; choose a folder that is not there yet"
        ) from error
    first = records.read_run(runs[0])
    run = replace(first, tier=tier, cells=cells, why=f"joined from {len(runs)} runs")
    records.write(out / records.RUN, run.to_json())
    return run, [_record(cell, sources.get(cell.name, []), out) for cell in cells]


def _planned(cell: Cell, folders: Sequence[Path]) -> Cell:
    """As the run that brings it has planned it: with its candidates."""
    brought = (one for folder in folders for one in records.read_run(folder).cells if one.name == cell.name)
    return next(brought, cell)


def _check_same(runs: Sequence[Path]) -> None:
    """A cell that was run without what the others were given would pass for one that it does not concern."""
    first = records.read_run(runs[0])
    for folder, run in ((folder, records.read_run(folder)) for folder in runs[1:]):
        for option, one, other in (
            ("--candidate", _names(first), _names(run)),
            ("--with-tests", first.with_tests is not None, run.with_tests is not None),
        ):
            if one != other:
                raise UserError(f"{runs[0]} and {folder} were not given the same {option}; join runs of one command")


def _names(run: Run) -> list[str]:
    """What was asked for, wherever a wheel lay."""
    return sorted(text.rsplit("/", 1)[-1] for text in run.asked)


def _sources(runs: Sequence[Path]) -> dict[str, list[Path]]:
    """Where each cell is, of those that a run has a record of."""
    found: dict[str, list[Path]] = defaultdict(list)
    for folder in runs:
        for cell in records.read_run(folder).cells:
            if (folder / cell.name / records.CELL).exists():
                found[cell.name].append(folder)
    return found


def _check(sources: dict[str, list[Path]], cells: Sequence[Cell]) -> None:
    """All that is wrong, at once."""
    names = {cell.name for cell in cells}
    mistakes = [
        f"{cell} is in {' and in '.join(map(str, folders))}; leave one of them out, two results of a cell are not put together"
        for cell, folders in sources.items()
        if len(folders) > 1
    ]
    mistakes += [
        f"{folders[0]} has the cell {cell}, which is not planned; give the tier that it was run for"
        for cell, folders in sources.items()
        if cell not in names
    ]
    if mistakes:
        raise UserError("\n".join(mistakes))


def _record(cell: Cell, folders: list[Path], out: Path) -> Record:
    if folders:
        shutil.copytree(folders[0] / cell.name, out / cell.name)
        return records.read_record(out, cell)
    record = Record(cell, Ending(Lifecycle.UNRESOLVABLE, cell.problem) if cell.unresolvable else _absent())
    (out / cell.name).mkdir()
    records.write(out / cell.name / records.CELL, record.to_json())
    return record


def _absent() -> Ending:
    return Ending(Lifecycle.NOT_RUN, NOT_BROUGHT)
