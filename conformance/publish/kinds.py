"""What went wrong, told once: cases that break the same rule in the same words between the same partners, wherever they do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from conformance.exchanges import core, way, where
from conformance.verdict import Verdict
from conformance.verdicts.model import Evidence, RunFile, place

from .words import SIGNS


@dataclass
class Kind:
    """One way of going wrong, with an example and all the places where it shows.

    ``cells`` maps the title of each cell to the number of its cases; ``waived`` counts those of all of them that a waiver covers.
    """

    invariant: str
    state: Verdict
    evidence: Evidence
    case: str
    cells: dict[str, int] = field(default_factory=dict)
    exchanges: dict[tuple[str, str, tuple[str, ...]], None] = field(default_factory=dict)
    """Way, device, and the libraries."""
    waived: int = 0

    @property
    def cases(self) -> int:
        """How many cases in how many cells went wrong like this, all together."""
        return sum(self.cells.values())

    def where(self) -> str:
        """In words."""
        return where(self.exchanges)


def kinds(run: RunFile, states: frozenset[Verdict], waived: Mapping[tuple[str, str], str]) -> list[Kind]:
    """The kinds among these states: worst state first, then those in most cells and cases.

    ``waived`` has the id of a waiver for each cell and case that one covers.
    """
    found: dict[tuple[str, int], Kind] = {}
    alike: dict[tuple[object, ...], Kind] = {}
    letters = {state.letter for state in states}
    for cell in run.cells:
        if letters.isdisjoint(cell.states):
            continue
        for case, state, index in run.found(cell):
            if state not in states:
                continue
            kind = found.get((case, index))
            if kind is None:
                kind = found[case, index] = _kind(alike, case, state, run.evidence[index])
            kind.cells[cell.title] = kind.cells.get(cell.title, 0) + 1
            kind.waived += (cell.name, case) in waived
    order = list(SIGNS)
    return sorted(alike.values(), key=lambda kind: (order.index(kind.verdict), -len(kind.cells), -kind.cases))


def _kind(alike: dict[tuple[object, ...], Kind], case: str, state: Verdict, evidence: Evidence) -> Kind:
    at = place(case)
    what = () if state is Verdict.LOST else (at.invariant, evidence.clauses)
    kind = alike.setdefault(
        (state, evidence.outcome, *what, core(evidence.reason)), Kind(at.invariant, state, evidence, case)
    )
    kind.exchanges[way(at.invariant, at.protocol), at.device, at.libraries] = None
    return kind
