"""Undecided and lost cases. Cases of one rule with the same reason are grouped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from conformance.console.wording import core, way, where
from conformance.runs.model import Evidence, RunFile, place
from conformance.verdict import Verdict

OPEN = frozenset(verdict for verdict in Verdict if not verdict.is_decided)


@dataclass
class Alike:
    """Cases with the same reason, with an example. ``cells`` maps the title of each cell to its number of cases."""

    invariant: str
    verdict: Verdict
    evidence: Evidence
    case: str
    cells: dict[str, int] = field(default_factory=dict)
    exchanges: dict[tuple[str, str, tuple[str, ...]], None] = field(default_factory=dict)
    """Protocol or kind of check, device, and libraries."""

    @property
    def cases(self) -> int:
        """The total number of cases in all cells."""
        return sum(self.cells.values())

    def where(self) -> str:
        """Return the exchanges in words."""
        return where(self.exchanges)


def undecided(run: RunFile) -> Mapping[Verdict, list[Alike]]:
    """Return the undecided and the lost groups, those in most cells first."""
    alike: dict[tuple[object, ...], Alike] = {}
    letters = {verdict.letter for verdict in OPEN}
    for cell in run.cells:
        if letters.isdisjoint(cell.states):
            continue
        for case, verdict, index in run.found(cell):
            if verdict in OPEN:
                found = _alike(alike, case, verdict, run.evidence[index])
                found.cells[cell.title] = found.cells.get(cell.title, 0) + 1
    ordered = sorted(alike.values(), key=lambda found: (-len(found.cells), -found.cases))
    return {verdict: [found for found in ordered if found.verdict is verdict] for verdict in Verdict if verdict in OPEN}


def _alike(alike: dict[tuple[object, ...], Alike], case: str, verdict: Verdict, evidence: Evidence) -> Alike:
    at = place(case)
    rule = () if verdict is Verdict.LOST else (at.invariant,)
    key = (verdict, evidence.outcome, *rule, core(evidence.reason))
    found = alike.setdefault(key, Alike(at.invariant, verdict, evidence, case))
    found.exchanges[way(at.invariant, at.protocol), at.device, at.libraries] = None
    return found
