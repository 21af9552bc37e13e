"""Output of ``matrix``: a table, JSON, or the matrix of a GitHub workflow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from conformance.console.screen import Screen, many
from conformance.exits import UserError

from .locks import Standing, State
from .model import NONE, Cell, Matrix, Rule, Tier
from .selection import Selection
from .space import Space

MOST_JOBS = 256
"""Limit of jobs in one matrix of a GitHub workflow."""
_STATES = {
    State.LOCKED: ("✓", "green"),
    State.UNRESOLVABLE: ("∅", "yellow"),
    State.STALE: ("~", "red"),
    State.MISSING: ("–", "red"),
}
LEGEND = "lock: ✓ locked   ∅ unresolvable   ~ stale   – missing   (`nox -s lock` updates them)"


def show(screen: Screen, matrix: Matrix, shown: Sequence[Selection], standings: Mapping[str, Standing]) -> None:
    """Print a table of the cells of the last tier, the coverage of each tier, and the unresolvable cells."""
    _cells(screen, matrix, shown, standings)
    screen.line()
    screen.line(screen.paint(LEGEND, "dim"))
    screen.line(screen.paint("The name of a cell consists of its values; `--names` prints the names.", "dim"))
    screen.line()
    _tiers(screen, matrix, shown)
    _unresolvable(screen, standings.values())


def _cells(screen: Screen, matrix: Matrix, shown: Sequence[Selection], standings: Mapping[str, Standing]) -> None:
    """Print one row for each cell."""
    first = first_tiers(shown)
    header = ["", "lock", *(axis.name for axis in matrix.axes), "from tier", "cell"]
    rows = [
        [str(n), "", *(_value(cell, axis.name) for axis in matrix.axes), first[cell.name], cell.alias]
        for n, cell in enumerate(shown[-1].cells, 1)
    ]
    widths = [max(len(text) for text in column) for column in zip(header, *rows)]
    screen.line(screen.paint("  ".join(f"{text:<{width}}" for text, width in zip(header, widths)).rstrip(), "bold"))
    for cell, row in zip(shown[-1].cells, rows):
        symbol, colour = _STATES[standings[cell.name].state]
        texts = [f"{text:<{width}}" for text, width in zip(row, widths)]
        texts[1] = screen.paint(f"{symbol:<{widths[1]}}", colour)
        screen.line("  ".join(texts).rstrip())


def _value(cell: Cell, axis: str) -> str:
    return "·" if cell[axis] == NONE else cell[axis]


def first_tiers(shown: Iterable[Selection]) -> dict[str, str]:
    """Return the first tier that contains each cell, by the name of the cell."""
    found: dict[str, str] = {}
    for selection in shown:
        for cell in selection.cells:
            found.setdefault(cell.name, selection.tier.name)
    return found


def _tiers(screen: Screen, matrix: Matrix, shown: Sequence[Selection]) -> None:
    width = max(len(selection.tier.name) for selection in shown)
    for selection in shown:
        name = screen.paint(f"{selection.tier.name:<{width}}", "bold")
        screen.line(f"{name}  {len(selection.cells):>3} cells  {_covered(selection)}")
    space = matrix.space
    screen.line(f"The product of all axes has {space.product:,} cells; the rules leave {space.count():,} of them.")


def _covered(selection: Selection) -> str:
    tier, found = selection.tier, selection.coverage
    if found is None:
        return tier.what
    excused = f", {found.excused} excused" if found.excused else ""
    return f"{tier.what}: {found.covered} of {found.allowed} allowed {what_is_covered(tier)}{excused}"


def what_is_covered(tier: Tier) -> str:
    """Return the unit of coverage of a tier, such as ``pairs`` or ``triples``."""
    assert tier.cover is not None
    strength = tier.cover.strength
    return {1: "values", 2: "pairs", 3: "triples"}.get(strength, f"combinations of {strength}")


def _unresolvable(screen: Screen, standings: Iterable[Standing]) -> None:
    chosen = [standing for standing in standings if standing.state is State.UNRESOLVABLE]
    if chosen:
        screen.line()
        screen.line(screen.paint(f"Unresolvable ({many(len(chosen), 'cell')})", "bold", "yellow"))
    for standing in chosen:
        screen.line(f"  ∅ {standing.cell.name}")
        screen.wrapped(standing.why, "      ")


def show_rules(screen: Screen, matrix: Matrix) -> None:
    """Print every rule with its reason, the number of combinations that it removes, and how many of them no other rule removes."""
    for rule in matrix.rules:
        removed, alone = removals(matrix, rule)
        screen.line(f"{screen.paint(rule.name, 'bold')}  removes {removed:,} combinations, {alone:,} of them alone")
        screen.wrapped(rule.reason, "  ")


def removals(matrix: Matrix, rule: Rule) -> tuple[int, int]:
    """Return how many combinations a rule removes, and how many of them no other rule removes."""
    space = matrix.space
    others = tuple(clause for other in matrix.rules if other is not rule for clause in other.clauses)
    alone = Space(space.axes, others).count() - space.count()
    return space.product - Space(space.axes, rule.clauses).count(), alone


def as_json(matrix: Matrix, shown: Sequence[Selection], standings: Mapping[str, Standing]) -> dict[str, Any]:
    """Return the plan as JSON data: the cells of the last tier, and the coverage of each tier."""
    first, space = first_tiers(shown), matrix.space
    return {
        "product": space.product,
        "allowed": space.count(),
        "tiers": [_tier_as_json(selection) for selection in shown],
        "cells": [
            {
                **cell_as_json(cell),
                "tier": first[cell.name],
                "requires": list(matrix.requirements(cell)),
                "lock": standings[cell.name].state.value,
                "reason": standings[cell.name].why or None,
            }
            for cell in shown[-1].cells
        ],
    }


def _tier_as_json(selection: Selection) -> dict[str, Any]:
    tier, found = selection.tier, selection.coverage
    covers = None
    if tier.cover and found:
        covers = {
            "each": tier.cover.strength, "over": list(tier.cover.over),
            "allowed": found.allowed, "covered": found.covered, "excused": found.excused,
        }  # fmt: skip
    return {"name": tier.name, "what": tier.what, "extends": tier.extends or None, "covers": covers,
            "cells": [cell.name for cell in selection.cells]}  # fmt: skip


def cell_as_json(cell: Cell) -> dict[str, Any]:
    """Return name, alias and values of a cell. An axis that the cell does not have is ``null``."""
    values = {axis: None if value == NONE else value for axis, value in cell.choice.items()}
    return {"name": cell.name, "alias": cell.alias or None, "values": values}


def for_github(selection: Selection, standings: Mapping[str, Standing]) -> str:
    """Return a line for ``$GITHUB_OUTPUT``: ``matrix={"include": […]}``, with a job for each resolvable cell."""
    cells = [cell for cell in selection.cells if standings[cell.name].state is not State.UNRESOLVABLE]
    if len(cells) > MOST_JOBS:
        raise UserError(
            f"--github: tier {selection.tier.name} has {len(cells)} cells, and the matrix of a workflow is limited to {MOST_JOBS}; "
            "choose a smaller tier"
        )
    jobs = [{"cell": cell.name, **{k: v for k, v in cell.choice.items() if v != NONE}} for cell in cells]
    return f"matrix={json.dumps({'include': jobs}, separators=(',', ':'))}"


def counted(standings: Iterable[Standing]) -> str:
    """Return the number of cells in each state, such as ``40 locked, 1 unresolvable``."""
    counts = Counter(standing.state for standing in standings)
    return ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])
