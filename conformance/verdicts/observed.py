"""The findings of a run file: its evidence as observations, and which cases show which finding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from conformance.findings import causes, known
from conformance.findings.model import Finding, Observation
from conformance.suite.outcomes import Side

from .model import CellResult, RunFile
from .trust import is_trusted

Spot = tuple[str, str]
"""A cell and a case in it, by their names."""


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


def by_spot(run: RunFile) -> dict[Spot, tuple[str, ...]]:
    """The ids of the findings that each case shows, in each cell."""
    found: dict[Spot, list[str]] = defaultdict(list)
    for finding in findings(run):
        for observation in finding.observations:
            found[observation.cell, observation.case].append(finding.id)
    return {spot: tuple(dict.fromkeys(ids)) for spot, ids in found.items()}


def cells_with(run: RunFile, finding: Finding) -> tuple[CellResult, ...]:
    """The cells that show it."""
    names = {observation.cell for observation in finding.observations}
    return tuple(cell for cell in run.cells if cell.name in names)
