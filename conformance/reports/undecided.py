"""Cases that accuse nobody and say nothing: not decided or lost, those of one rule that end in the same words told once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from conformance.console.wording import core, way, where
from conformance.runs.model import Evidence, RunFile, place
from conformance.verdict import Verdict

OPEN = frozenset(verdict for verdict in Verdict if not verdict.is_decided)


@dataclass
class Alike:
    """Cases that end alike, with an example. ``cells`` maps the title of each cell to the number of its cases."""

    invariant: str
    verdict: Verdict
    evidence: Evidence
    case: str
    cells: dict[str, int] = field(default_factory=dict)
    exchanges: dict[tuple[str, str, tuple[str, ...]], None] = field(default_factory=dict)
    """Way, device, and the libraries."""

    @property
    def cases(self) -> int:
        """How many cases in how many cells, all together."""
        return sum(self.cells.values())

    def where(self) -> str:
        """Exchanges in words."""
        return where(self.exchanges)


def undecided(run: RunFile) -> Mapping[Verdict, list[Alike]]:
    """Not decided and lost cases, those in most cells first."""
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
