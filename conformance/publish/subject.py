"""What is reported on: a run, and what is known about it besides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from conformance.verdicts.findings import Finding, Judgement
from conformance.verdicts.model import CellResult, Evidence, RunFile, State


class Streak(Protocol):
    """Since when a case of a cell has not conformed, for how many runs, and how often it changed before."""

    @property
    def since(self) -> str:
        """The day or time of the first run of the streak."""

    @property
    def runs(self) -> int:
        """How many runs it has lasted."""

    @property
    def flaps(self) -> int:
        """How often it changed between conforming and not."""


def no_script(case: str, evidence: Evidence) -> str:
    """Where nothing is known that makes scripts."""
    return ""


@dataclass(frozen=True)
class Subject:
    """A run and, as far as there is any, its judgement, its history, its waivers by id in a sentence, and scripts of cases.

    ``script`` returns the text of a standalone script, or nothing where no readable one exists.
    """

    run: RunFile
    judgement: Judgement | None = None
    streaks: Mapping[tuple[str, str], Streak] = field(default_factory=dict)
    waivers: Mapping[str, str] = field(default_factory=dict)
    script: Callable[[str, Evidence], str] = no_script

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the gate says, if there was one."""
        return self.judgement.findings if self.judgement else ()


class Reason(NamedTuple):
    """Why something was not tested, and the titles of the cells where that is so."""

    what: str
    why: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Untested:
    """All that was planned and of which this run proves nothing: cells, libraries in cells, cases."""

    cells: tuple[Reason, ...]
    libraries: tuple[Reason, ...]
    undecided: int
    lost: int

    def __bool__(self) -> bool:
        return bool(self.cells or self.libraries or self.undecided or self.lost)


def counts(run: RunFile) -> dict[State, int]:
    """How many cases of all cells are in each state."""
    letters: Counter[str] = Counter()
    for cell in run.cells:
        letters.update({letter: cell.states.count(letter) for letter in LETTERS})
    return {state: letters[state.value] for state in State}


LETTERS = tuple(state.value for state in State)


def untested(run: RunFile) -> Untested:
    """What was not tested; a cell that came to its end but has no results is told as that."""
    cells: dict[tuple[str, str], list[str]] = {}
    libraries: dict[tuple[str, str], list[str]] = {}
    for cell in run.cells:
        for what, why in troubles(cell):
            cells.setdefault((what, why), []).append(cell.title)
        for name, why in cell.absent.items():
            libraries.setdefault((name, why), []).append(cell.title)
    count = counts(run)
    return Untested(_reasons(cells), _reasons(libraries), count[State.UNDECIDED], count[State.LOST])


def troubles(cell: CellResult) -> list[tuple[str, str]]:
    """What became of a cell instead of a whole run, with the reason: nothing, if it came to its end and has results."""
    if cell.lifecycle != "done":
        some = " after some of its cases" if cell.is_tested else ""
        return [(cell.lifecycle + some, cell.reason)]
    return [] if cell.is_tested else [("no results", cell.reason or "it came to its end and left no results")]


def _reasons(found: Mapping[tuple[str, str], list[str]]) -> tuple[Reason, ...]:
    return tuple(Reason(what, why, tuple(cells)) for (what, why), cells in found.items())
