"""Terminal output of a run over cells: a progress line for each running cell, and a table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from conformance.console.screen import Screen, harmless, many
from conformance.verdict import Verdict

from . import records
from .model import Lifecycle
from .package_tests import LOG
from .records import Record, Run
from .running import Live

VERDICTS = (
    Verdict.CONFORMS,
    Verdict.VIOLATES,
    Verdict.ROBUSTNESS,
    Verdict.DEVIATES,
    Verdict.REFUSED,
    Verdict.OBSERVED,
    Verdict.UNDECIDED,
)
"""Verdicts in the order of the columns. Lost cases have no column: the column ``cases`` shows how many are missing."""
LEGEND = "   ".join(f"{verdict.symbol} {verdict.word}" for verdict in VERDICTS)
_COLOURS = {
    Lifecycle.DONE: "green",
    Lifecycle.UNRESOLVABLE: "yellow",
    Lifecycle.NOT_RUN: "yellow",
    Lifecycle.STOPPED: "yellow",
}


class Lines:
    """Progress lines of running cells. A terminal rewrites them in place. Otherwise a line is printed for each quarter of the work."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._terminal = screen.stream.isatty()
        self._shown = 0
        self._quarter: dict[str, int] = {}

    def watch(self, live: Sequence[Live]) -> None:
        """Show the progress of each running cell."""
        for one in live:
            one.counts.update()
        if self._terminal:
            self._rewrite([line(one)[: self._screen.width - 1] for one in live])
            return
        for one in (one for one in live if one.task.tests is None):
            name, quarter = one.task.name, one.counts.done * 4 // max(one.counts.planned, 1)
            if one.counts.planned and quarter > self._quarter.get(name, -1):
                self._quarter[name] = quarter
                self._screen.line(line(one))
                self._screen.stream.flush()

    def _rewrite(self, lines: Sequence[str]) -> None:
        up = f"\033[{self._shown}A" if self._shown else ""
        self._screen.stream.write(f"{up}\r\033[J" + "".join(f"{text}\n" for text in lines))
        self._screen.stream.flush()
        self._shown = len(lines)

    def say(self, text: str) -> None:
        """Print a permanent text above the progress lines."""
        if self._terminal:
            self._rewrite([])
        print(harmless(text), file=self._screen.stream, flush=True)

    def told(self, record: Record) -> None:
        """Print how a cell ended."""
        self.say(f"  {record.cell.title}: {record.ending.lifecycle.value}, {record.ending.reason}")


def line(one: Live) -> str:
    """Return a progress line, such as ``smoke-13  [███·······] 120/450 cases  ✓ 100  ✗ 2  32 s``."""
    if one.task.tests is not None:
        return f"  {one.task.prepared.cell.title}  its own tests  {one.seconds:.0f} s"
    counts = one.counts
    filled = 10 * counts.done // max(counts.planned, 1)
    verdicts = "".join(f"  {v.symbol} {counts.verdicts[v.word]}" for v in VERDICTS if counts.verdicts[v.word])
    how_far = f"{counts.done}/{counts.planned} cases" if counts.planned else "inspecting the installed libraries"
    bar = "█" * filled + "·" * (10 - filled)
    return f"  {one.task.prepared.cell.title}  [{bar}] {how_far}{verdicts}  {one.seconds:.0f} s"


def announce(stream: TextIO, run: Run, facts: dict[str, str], out: Path) -> None:
    """Print the engine with the reason for it, the GPUs and the candidates, before any cell starts."""
    version = f" {facts['version']}" if facts.get("version") else ""
    print(f"{many(len(run.cells), 'cell')} on {facts['engine']}{version} ({run.why}), results in {out}", file=stream)
    gpu = "no GPU" if facts["gpu"] == "none" else f"GPU {facts.get('gpus', 'all')} by {facts['gpu']}"
    print(f"{gpu}: {facts['gpu reason']}", file=stream, flush=True)
    for one in run.candidates:
        count = sum(one.sha256 in (there.sha256 for there in cell.candidates) for cell in run.cells)
        print(f"candidate {one} in {many(count, 'cell')}: {one.file}, sha256 {one.sha256}", file=stream, flush=True)
    if run.with_tests:
        print(f"after the suite, each cell runs the tests in {run.with_tests.folder}", file=stream, flush=True)


def table(screen: Screen, run: Run, found: Sequence[Record], out: Path) -> None:
    """Print a table of cells with outcomes and verdicts, the reasons of unfinished cells, and a summary."""
    counts = [records.ended(out / record.cell.name) for record in found]
    header = ["cell", "outcome", *(verdict.symbol for verdict in VERDICTS), "cases", "time", *_more_columns(run)]
    rows = [
        [record.cell.title, record.ending.lifecycle.value, *(str(one.verdicts[v.word] or "·") for v in VERDICTS),
         f"{one.done}/{one.planned}" if one.planned else "·", f"{record.seconds:.0f} s" if record.seconds else "·",
         *_more_columns(run, record)]
        for record, one in zip(found, counts)
    ]  # fmt: skip
    widths = [max(len(text) for text in column) for column in zip(header, *rows)]
    screen.line()
    screen.line(screen.paint(_row(header, widths), "bold"))
    for record, row in zip(found, rows):
        texts = _row(row, widths)
        outcome = f"{row[1]:<{widths[1]}}"
        screen.line(texts.replace(outcome, screen.paint(outcome, _COLOURS.get(record.ending.lifecycle, "red")), 1))
    screen.line(screen.paint(LEGEND, "dim"))
    if run.asked and not all(cell.candidates or cell.unfit or cell.problem for cell in run.cells):
        screen.line(
            screen.paint(
                "candidate ·: the cell contains no distribution that a candidate replaces, so it runs the locked versions",
                "dim",
            )
        )
    if run.with_tests:
        screen.line(screen.paint("own tests: ✓ passed   ✗ failed   ! errors   ∅ skipped", "dim"))
    screen.line()
    for record in found:
        _reason(screen, record, out)
    _sum(screen, found, out)


def _more_columns(run: Run, record: Record | None = None) -> list[str]:
    """Return the columns for candidates and for the package's own tests, if the run has any. Without a record, return the headings."""
    candidates = "candidate"
    if record:
        candidates = ", ".join(map(str, record.cell.candidates)) or ("none" if record.cell.unfit else "·")
    tests = str(record.tests or "·") if record else "own tests"
    return [*([candidates] if run.asked else []), *([tests] if run.with_tests else [])]


def _row(texts: Sequence[str], widths: Sequence[int]) -> str:
    left = "  ".join(f"{text:<{width}}" for text, width in zip(texts[:2], widths[:2]))
    right = "  ".join(f"{text:>{width}}" for text, width in zip(texts[2:], widths[2:]))
    return f"{left}  {right}"


def _reason(screen: Screen, record: Record, out: Path) -> None:
    """Print why a cell did not finish, and why its own tests failed. Print nothing for a complete cell."""
    ending, tests = record.ending, record.tests
    if tests and tests.code and ending.lifecycle is Lifecycle.DONE:
        screen.line(screen.paint(f"{record.cell.title}: its own tests: {tests}", "red"))
        screen.wrapped(f"{tests.reason}; see {out / record.cell.name / LOG}", "    ")
    if ending.lifecycle is Lifecycle.DONE and ending.exit in (0, 1) and ";" not in ending.reason:
        return
    screen.line(screen.paint(f"{record.cell.title}: {ending.lifecycle.value}", _COLOURS.get(ending.lifecycle, "red")))
    screen.wrapped(ending.reason, "    ")


def _sum(screen: Screen, found: Sequence[Record], out: Path) -> None:
    done = [record for record in found if record.ending.final]
    screen.line(
        f"{len(done)} of {many(len(found), 'cell')} finished; `python -m conformance report {out}/CELL` shows the results of one"
    )
    if len(done) < len(found):
        screen.line(screen.paint(f"`python -m conformance conform --resume {out}` runs the rest", "yellow"))
