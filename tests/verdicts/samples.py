"""Small runs: cells with a letter a case, and evidence made to fit."""

from __future__ import annotations

from typing import Any

from conformance.verdicts.merging import canonical
from conformance.verdicts.model import CellResult, Evidence, RunFile, State

OUTCOMES = {"r": "refused", "o": "fail", "d": "fail", "v": "fail", "u": "inconclusive", "l": "lost"}
ENDED = "2026-05-01T10:00:00+00:00"


def evidence(state: State, reason: str = "the strides are others") -> Evidence:
    """What a result in this state says."""
    return Evidence(state, OUTCOMES[state.value], "must", ("DLP-09",), reason, "(4,)", "(8,)")


def run(cells: dict[str, dict[str, str]], *, id: str = "one", **more: Any) -> RunFile:
    """A run: for each cell by name the letter of each of its cases. ``more`` goes to every cell."""
    plans: list[tuple[str, ...]] = [()]
    table: list[Evidence] = []
    made = []
    for name, letters in cells.items():
        plans.append(tuple(letters))
        found = [evidence(State(letter)) for letter in letters.values() if letter != "c"]
        indices = tuple(range(len(table), len(table) + len(found)))
        table += found
        given = {"lifecycle": "done", "reason": "", "ended": ENDED, **more}
        states = "".join(letters.values())
        made.append(CellResult(name, name, plan=len(plans) - 1, states=states, evidence=indices, **given))
    return canonical(RunFile(id, ENDED, "1.0", "smoke", tuple(made), tuple(plans), tuple(table)))


def planned(*names: str, lifecycle: str = "not run", reason: str = "nobody has brought it") -> RunFile:
    """A run that never began."""
    return RunFile("", "", "", "smoke", tuple(CellResult(name, name, lifecycle, reason) for name in names))
