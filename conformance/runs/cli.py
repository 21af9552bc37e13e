"""The command ``python -m conformance merge``."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from conformance import files
from conformance.console.screen import Screen, many
from conformance.engines import cells
from conformance.engines.model import Lifecycle
from conformance.exits import Exit, UserError, given_by
from conformance.runs import output_files
from conformance.verdict import Verdict

from . import merge, run_file, source_digests, trust
from .model import CellResult, RunFile

MATRIX = Path("matrix.yaml")
OUT = Path("run.json.gz")
NOT_BROUGHT = "none of the merged runs contains it"


def add(name: str, command: argparse.ArgumentParser) -> None:
    """Add the options of ``merge``."""
    command.add_argument(
        "runs", nargs="*", type=Path, metavar="RUN",
        help="run files, or folders written by `conform` or `check`; in any order; optional with --tier",
    )  # fmt: skip
    command.add_argument(
        "--out", type=Path, default=OUT, metavar="FILE", help=f"write the run file here (default: {OUT})"
    )
    command.add_argument(
        "--tier", metavar="TIER", help="include every cell of this tier; a cell without results is `not run`"
    )
    command.add_argument("--matrix", type=Path, default=MATRIX, metavar="FILE", help=f"default: {MATRIX}")
    command.set_defaults(run=_merge)


def _merge(options: argparse.Namespace) -> int:
    if not options.runs and not options.tier:
        raise UserError(
            "there is no run to merge; name run files or folders, or give --tier to write a run file without results"
        )
    output_files.keep([("--out", options.out)], _given(options))
    runs = _loaded(options.runs)
    if options.tier:
        runs.append(_planned(options, runs))
    whole = merge.merge(runs)
    whole = replace(whole, tier=options.tier or whole.tier)
    with given_by("--out", options.out):
        files.make_above(options.out)
        digest = run_file.write(whole, options.out)
    libraries = trust.without_canaries(whole, trust.canaries())
    _show(Screen.of(sys.stdout), libraries)
    print(f"run file {options.out}, sha256 {digest[:12]}")
    return Exit.OK if libraries.cells and all(map(_is_whole, libraries.cells)) else Exit.INCOMPLETE


def _given(options: argparse.Namespace) -> list[tuple[str, Path]]:
    """Return the runs, and the matrix if the command reads it, each with its option."""
    return [("RUN", path) for path in options.runs] + ([("--matrix", options.matrix)] if options.tier else [])


def _is_whole(cell: CellResult) -> bool:
    """Return whether every planned case of the cell has an outcome. An unresolvable cell has no planned cases."""
    if cell.lifecycle == Lifecycle.UNRESOLVABLE.value:
        return True
    return cell.lifecycle == Lifecycle.DONE.value and cell.is_tested and Verdict.LOST.letter not in cell.states


def _loaded(paths: Iterable[Path]) -> list[RunFile]:
    """Read the runs. Raises UserError with one line for each run that is unreadable or altered."""
    runs, mistakes = [], []
    for path in paths:
        try:
            runs.append(source_digests.load(path))
        except UserError as error:
            mistakes.append(str(error))
    if mistakes:
        raise UserError("\n".join(dict.fromkeys(mistakes)))
    return runs


def _planned(options: argparse.Namespace, runs: list[RunFile]) -> RunFile:
    """Return the cells of the tier as not run. Raises UserError if the runs have cells outside the tier."""
    planned = cells.planned(options.matrix, options.tier, ())
    names = {cell.name for cell in planned}
    others = sorted({cell.name for run in runs for cell in run.cells} - names)
    if others:
        raise UserError(f"--tier {options.tier}: {', '.join(others)} is not in this tier; give the tier of the runs")
    return RunFile(
        "", "", "", options.tier,
        tuple(
            CellResult(
                cell.name, cell.title, "unresolvable" if cell.unresolvable else "not run",
                cell.problem or NOT_BROUGHT, axes=dict(cell.axes), holds=dict(cell.holds),
            )
            for cell in planned
        ),
    )  # fmt: skip


def _show(screen: Screen, run: RunFile) -> None:
    """Print how many cells have results, and why the other cells are missing or incomplete."""
    tested = [cell for cell in run.cells if cell.is_tested]
    letters: Counter[str] = Counter()
    for cell in tested:
        letters.update(cell.states)
    screen.line(
        f"{many(len(run.cells), 'cell')}, {len(tested)} with results: {many(letters.total(), 'case')}, "
        f"{letters['v']} violate, {letters['b']} robustness, {letters['d']} deviate, "
        f"{letters['u'] + letters['l']} not decided or lost"
    )
    for cell in run.cells:
        if not (cell.is_tested and _is_whole(cell)):
            screen.wrapped(f"{cell.title}: {_what_is_missing(cell)}", "  ")


def _what_is_missing(cell: CellResult) -> str:
    lost = cell.states.count(Verdict.LOST.letter)
    told = (
        "no results" if cell.lifecycle == Lifecycle.DONE.value and not cell.is_tested else "",
        cell.lifecycle if cell.lifecycle != Lifecycle.DONE.value else "",
        cell.reason,
        f"{lost} of {many(len(cell.states), 'case')} without an outcome" if lost else "",
    )
    return ": ".join(text for text in told if text)
