"""The findings of a run file: its evidence as observations, and which cases show which finding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from conformance.checks.outcomes import Side
from conformance.findings import causes, known
from conformance.findings.model import Finding, Observation

from .model import RunFile
from .trust import is_trusted

Spot = tuple[str, str]
"""A cell and a case in it, by their names."""
Shown = Mapping[Spot, tuple[str, ...]]
"""The ids of the findings that each case shows, in each cell."""


def observations(run: RunFile) -> Iterator[Observation]:
    """Every case that speaks against somebody, cell by cell; cells whose results cannot be believed are left out."""
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
    """The findings of all cells together."""
    return causes.findings(observations(run), versions(run), known.book())


def versions(run: RunFile) -> dict[str, dict[str, dict[str, str]]]:
    """For each cell and library the versions of its distributions."""
    return {cell.name: cell.libraries for cell in run.cells}


def by_spot(found: Iterable[Finding]) -> Shown:
    """The ids of the findings that each case shows, in each cell."""
    shown: dict[Spot, dict[str, None]] = defaultdict(dict)
    for finding in found:
        for observation in finding.observations:
            shown[observation.cell, observation.case][finding.id] = None
    return {spot: tuple(ids) for spot, ids in shown.items()}
