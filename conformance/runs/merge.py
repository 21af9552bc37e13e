"""Merge runs. Merging is associative, idempotent and independent of order. Two different results of one cell are an error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from conformance.exits import UserError

from .model import CellResult, Evidence, RunFile


def merge(runs: Sequence[RunFile]) -> RunFile:
    """Merge the cells of these runs. A cell with results replaces the same cell without results.

    Raises UserError that lists every cell for which two runs have different results.
    """
    table = _Table()
    chosen: dict[str, CellResult] = {}
    conflicts: list[str] = []
    for run in runs:
        for cell in table.taken(run):
            before = chosen.get(cell.name, cell)
            chosen[cell.name] = max(before, cell, key=_how_much_is_told)
            if before != cell and _was_begun(before) and _was_begun(cell):
                conflicts.append(
                    f"{cell.name} has two results ({_told(before)}, and {_told(cell)}); leave one of the runs out: "
                    "merge does not combine two results of one cell"
                )
    if conflicts:
        raise UserError("\n".join(dict.fromkeys(conflicts)))
    whole = RunFile(
        _joined(run.id for run in runs), min((run.began for run in runs if run.began), default=""),
        _joined(run.suite for run in runs), _joined(run.tier for run in runs),
        tuple(chosen.values()), table.plans, table.evidence,
    )  # fmt: skip
    return canonical(whole)


def _how_much_is_told(cell: CellResult) -> tuple[bool, str, str]:
    """Rank two records of one cell. Of two cells without results, the one with a specific reason wins."""
    return _was_begun(cell), cell.lifecycle, cell.reason


def _was_begun(cell: CellResult) -> bool:
    return bool(cell.ended) or cell.is_tested or cell.lifecycle not in ("not run", "unresolvable")


def _told(cell: CellResult) -> str:
    results = cell.digests.get("results", "")[:12]
    return f"{cell.lifecycle}, ended {cell.ended or 'never'}" + (f", results {results}" if results else "")


def _joined(names: Iterable[str]) -> str:
    """Join different names with ``+``. Names that are already joined are split first."""
    return "+".join(sorted({part for name in names for part in name.split("+") if part}))


class _Table:
    """Plans and evidence of several runs, without duplicates."""

    def __init__(self) -> None:
        self._plans: dict[tuple[str, ...], int] = {(): 0}
        self._evidence: dict[Evidence, int] = {}

    @property
    def plans(self) -> tuple[tuple[str, ...], ...]:
        return tuple(self._plans)

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        return tuple(self._evidence)

    def taken(self, run: RunFile) -> Iterable[CellResult]:
        """Yield the run's cells with their indices changed to this table."""
        plans = [self._plans.setdefault(plan, len(self._plans)) for plan in run.plans]
        evidence = [self._evidence.setdefault(e, len(self._evidence)) for e in run.evidence]
        for cell in run.cells:
            yield replace(cell, plan=plans[cell.plan], evidence=tuple(evidence[index] for index in cell.evidence))


def canonical(run: RunFile) -> RunFile:
    """Return the same run in a canonical order: cells by name, plans and evidence by content, unused ones removed."""
    plans = [(), *sorted({run.plans[cell.plan] for cell in run.cells} - {()})]
    used = {index for cell in run.cells for index in cell.evidence}
    evidence = sorted({run.evidence[index] for index in used}, key=_order)
    place_of_plan = {plan: number for number, plan in enumerate(plans)}
    place_of_evidence = {e: number for number, e in enumerate(evidence)}
    new = {index: place_of_evidence[run.evidence[index]] for index in used}
    cells = tuple(
        replace(
            cell,
            plan=place_of_plan[run.plans[cell.plan]],
            evidence=tuple(new[index] for index in cell.evidence),
        )
        for cell in sorted(run.cells, key=lambda cell: cell.name)
    )
    return replace(run, cells=cells, plans=tuple(plans), evidence=tuple(evidence))


def _order(evidence: Evidence) -> tuple[object, ...]:
    return (evidence.verdict.letter, *evidence[1:])
