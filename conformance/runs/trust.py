"""Trust in results: which cells can be judged, and whether the canaries of a run ended as expected."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from conformance.checks.catalogue import catalogue
from conformance.checks.libraries import REFERENCE
from conformance.engines.model import Lifecycle
from conformance.runs.remarks import Kind, Remark
from conformance.verdict import BY_LETTER, Verdict

from .model import CellResult, RunFile, place

_WRONG = re.compile(f"[^{Verdict.CONFORMS.letter}]")
ONLY_REFERENCE = "only the reference was tested, with itself: no library was tested"
UNBELIEVABLE = "its canaries did not end as expected, so none of its results can be trusted"
PASS = "pass"
"""The outcome of a case that conforms and so has no evidence."""


NOT_TRUSTED = {
    Lifecycle.OUT_OF_MEMORY.value: "the memory limit, not a library, may have caused the failures",
    Lifecycle.NOT_IN_EFFECT.value: "the cell did not test the candidate",
}
"""Lifecycles that make the results of a cell untrustworthy, with the reason."""


def is_trusted(cell: CellResult) -> bool:
    """Return whether the cell has results that can be trusted."""
    return cell.is_tested and cell.lifecycle not in NOT_TRUSTED


def has_only_reference(run: RunFile, cell: CellResult) -> bool:
    """Return whether a cell has results, and none of them is about a library. The run must not contain canaries."""
    return cell.is_tested and all(set(place(case).libraries) == {REFERENCE} for case in run.cases(cell))


def canaries() -> dict[str, str]:
    """Return the canary invariants, which test the run itself, with their expected outcomes."""
    return {name: found.canary.value for name, found in catalogue().items() if found.canary is not None}


def without_canaries(run: RunFile, known: Mapping[str, str]) -> RunFile:
    """Return the run without its canary cases."""
    places = [set(_places(plan, known)) for plan in run.plans]
    if not any(places):
        return run
    kept = [tuple(n for n in range(len(plan)) if n not in found) for plan, found in zip(run.plans, places)]
    plans = tuple(tuple(plan[n] for n in positions) for plan, positions in zip(run.plans, kept))
    cells = tuple(_only(cell, kept[cell.plan]) if cell.is_tested else cell for cell in run.cells)
    return replace(run, cells=cells, plans=plans)


def canaries_in(run: RunFile, cell: CellResult, known: Mapping[str, str]) -> set[str]:
    """Return the canary invariants that were planned in a cell."""
    return {case.partition("/")[0] for case in run.cases(cell)} & known.keys()


def believed(run: RunFile, known: Mapping[str, str]) -> RunFile:
    """Return the run without the results of cells whose canaries did not end as expected."""
    void = {found.cell for found in surprises(run, known)}
    cells = (
        replace(c, plan=0, states="", evidence=(), reason=UNBELIEVABLE) if c.name in void else c for c in run.cells
    )
    return replace(run, cells=tuple(cells)) if void else run


def _only(cell: CellResult, positions: tuple[int, ...]) -> CellResult:
    at = evidence_at(cell)
    states = "".join(cell.states[n] for n in positions)
    evidence = tuple(at[n] for n in positions if n in at)
    return replace(cell, states=states, evidence=evidence)


def evidence_at(cell: CellResult) -> dict[int, int]:
    """Return the index of the evidence of each case that did not conform, by position in the plan."""
    return dict(zip([found.start() for found in _WRONG.finditer(cell.states)], cell.evidence))


def _places(plan: tuple[str, ...], known: Mapping[str, str]) -> tuple[int, ...]:
    return tuple(n for n, case in enumerate(plan) if case.partition("/")[0] in known)


def surprises(run: RunFile, known: Mapping[str, str]) -> Iterator[Remark]:
    """Yield a remark for each canary that did not end as expected. No result of its cell can be trusted."""
    places = [_places(plan, known) for plan in run.plans]
    for cell in (cell for cell in run.cells if cell.is_tested and places[cell.plan]):
        at = evidence_at(cell)
        for position in places[cell.plan]:
            case = run.cases(cell)[position]
            wanted, index = known[case.partition("/")[0]], at.get(position)
            outcome = PASS if index is None else run.evidence[index].outcome
            if outcome != wanted:
                told = f"the canary's expected outcome is {wanted}, its actual outcome is {outcome}: no result of its cell can be trusted"
                yield Remark(
                    Kind.NOT_TESTED, told, cell.name, case, now=BY_LETTER[cell.states[position]], evidence=index
                )
