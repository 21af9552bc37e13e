"""Findings of a run file: its evidence as observations, and the findings that each case shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from conformance.checks.outcomes import Side
from conformance.findings import causes, known
from conformance.findings.model import Finding, Observation

from .model import RunFile
from .trust import is_trusted

Spot = tuple[str, str]
"""Names of a cell and of a case in it."""
Shown = Mapping[Spot, tuple[str, ...]]
"""Ids of the findings that each case shows, by cell and case."""


def observations(run: RunFile) -> Iterator[Observation]:
    """Yield every case that counts against a library, cell by cell. Cells with untrusted results are skipped."""
    for cell in filter(is_trusted, run.cells):
        for found in run.found(cell):
            evidence = run.evidence[found.evidence]
            if evidence.verdict.speaks_against:
                yield Observation(
                    found.case, evidence.verdict, evidence.outcome, evidence.code, evidence.clause, evidence.given,
                    evidence.step, Side(evidence.side), evidence.accused, evidence.why, evidence.reason,
                    evidence.expected, evidence.seen, dict(evidence.notes), cell.name,
                )  # fmt: skip


def findings(run: RunFile) -> list[Finding]:
    """Return the findings of all cells together."""
    return causes.findings(observations(run), versions(run), known.book())


def versions(run: RunFile) -> dict[str, dict[str, dict[str, str]]]:
    """Return the versions of the distributions of each library, by cell."""
    return {cell.name: cell.libraries for cell in run.cells}


def by_spot(found: Iterable[Finding]) -> Shown:
    """Return the ids of the findings that each case shows, by cell and case."""
    shown: dict[Spot, dict[str, None]] = defaultdict(dict)
    for finding in found:
        for observation in finding.observations:
            shown[observation.cell, observation.case][finding.id] = None
    return {spot: tuple(ids) for spot, ids in shown.items()}
