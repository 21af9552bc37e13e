"""Summary of a run: the headline, the number of cases by verdict, and everything that was not tested, with the reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from conformance.console.screen import many
from conformance.exits import Exit
from conformance.findings import presentation
from conformance.runs import trust
from conformance.runs.model import CellResult, RunFile
from conformance.verdict import Verdict

from .subject import Subject


def believable(run: RunFile) -> RunFile:
    """Return the run without canaries, and without the results of cells that cannot be trusted."""
    known = trust.canaries()
    whole = trust.without_canaries(trust.believed(run, known), known)
    return replace(whole, cells=tuple(_believable(whole, cell) for cell in whole.cells))


def _believable(run: RunFile, cell: CellResult) -> CellResult:
    if trust.has_only_reference(run, cell):
        return replace(cell, plan=0, states="", evidence=(), reason=trust.ONLY_REFERENCE)
    if cell.is_tested and not trust.is_trusted(cell):
        reason = f"{cell.reason}; {trust.NOT_TRUSTED[cell.lifecycle]}, so its results do not count"
        return replace(cell, plan=0, states="", evidence=(), reason=reason)
    return cell


class Reason(NamedTuple):
    """The reason why a cell or library was not tested, and the titles of the cells concerned."""

    what: str
    why: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Untested:
    """Everything planned that has no verdict: cells, libraries in cells, cases."""

    cells: tuple[Reason, ...]
    libraries: tuple[Reason, ...]
    undecided: int
    lost: int
    everything: bool = False
    """Whether no cell was tested, as in a run without cells."""

    def __bool__(self) -> bool:
        return bool(self.cells or self.libraries or self.undecided or self.lost or self.everything)


def counts(run: RunFile) -> dict[Verdict, int]:
    """Return the number of cases of all cells by verdict."""
    found: Counter[Verdict] = Counter()
    for cell in run.cells:
        found.update({state: cell.states.count(state.letter) for state in Verdict})
    return {state: found[state] for state in Verdict}


def untested(run: RunFile) -> Untested:
    """Return the cells, libraries and cases without a verdict. A finished cell without results is one of them."""
    cells: dict[tuple[str, str], list[str]] = {}
    libraries: dict[tuple[str, str], list[str]] = {}
    for cell in run.cells:
        for what, why in troubles(cell):
            cells.setdefault((what, why), []).append(cell.title)
        for name, why in cell.absent.items():
            libraries.setdefault((name, why), []).append(cell.title)
    count = counts(run)
    nothing = not any(cell.is_tested for cell in run.cells)
    return Untested(_reasons(cells), _reasons(libraries), count[Verdict.UNDECIDED], count[Verdict.LOST], nothing)


def troubles(cell: CellResult) -> list[tuple[str, str]]:
    """Return how a cell ended, with the reason; empty if it is done and has results."""
    if cell.lifecycle != "done":
        some = " after some of its cases" if cell.is_tested else ""
        return [(cell.lifecycle + some, cell.reason)]
    return [] if cell.is_tested else [("no results", cell.reason or "it finished without results")]


def _reasons(found: Mapping[tuple[str, str], list[str]]) -> tuple[Reason, ...]:
    return tuple(Reason(what, why, tuple(cells)) for (what, why), cells in found.items())


def headline(subject: Subject) -> str:
    """Return the headline: the findings and the number of untested cells. Without any tested cell it is "Nothing was tested"."""
    cells = subject.run.cells
    missing = sum(not cell.is_tested for cell in cells)
    if missing == len(cells):
        return "Nothing was tested"
    besides = f"; {missing} of {many(len(cells), 'cell')} not tested" if missing else ""
    told = presentation.headline(subject.findings)
    return f"{told[0].upper()}{told[1:]}{besides}"


def gate_line(subject: Subject) -> str:
    """Return the result of the gate in one line; empty if the run was not judged."""
    return f"The gate {gate_word(subject.judgement.exit)}" if subject.judgement else ""


def gate_word(code: Exit) -> str:
    """Return an exit code of the gate in words."""
    return "passes" if code is Exit.OK else f"fails: {code.name.lower().replace('_', ' ')} (exit {code.value})"
