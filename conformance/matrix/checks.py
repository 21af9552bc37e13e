"""Consistency checks of a matrix: each rule removes some but not all cells, each value is in a cell, and no named cell is forbidden."""

from __future__ import annotations

from dataclasses import replace

from .mistakes import Mistakes
from .model import LINE_AXIS, Axis, Matrix, Rule
from .selection import any_fits
from .space import Space


def check(matrix: Matrix, mistakes: Mistakes, *, whole: bool) -> None:
    """Add every inconsistency to the mistakes. If axes or rules have mistakes, ``whole`` is false and their combinations are not checked."""
    space = matrix.space
    before = len(mistakes.found)
    for rule in matrix.rules:
        _check_rule(rule, space, mistakes)
    whole = whole and len(mistakes.found) == before
    _check_cells(matrix, mistakes)
    if whole:
        _check_whole(matrix, space, mistakes)


def _check_whole(matrix: Matrix, space: Space, mistakes: Mistakes) -> None:
    if not space.count():
        mistakes.add(matrix.rules[0].line, "the rules together remove every cell")
        return
    for axis in matrix.axes:
        _check_values(matrix, axis, mistakes)
        _check_lines(matrix, axis, mistakes)
    _check_excuses(matrix, mistakes)


def _check_rule(rule: Rule, space: Space, mistakes: Mistakes) -> None:
    for clause in rule.clauses:
        empty = [axis for axis, values in clause.items() if not values]
        if empty:
            names = " and ".join(empty)
            mistakes.add(rule.line, f"rule {rule.name} removes nothing: every value of {names} meets it")
    if rule.clauses and not Space(space.axes, rule.clauses).count():
        mistakes.add(rule.line, f"rule {rule.name} removes every cell")


def _check_values(matrix: Matrix, axis: Axis, mistakes: Mistakes) -> None:
    space = matrix.space
    for value in axis.values:
        if space.complete({axis.name: value.version}) is None:
            reason = blame(matrix, {axis.name: value.version})
            mistakes.add(value.line, f"{axis.name} {value.version} is in no cell that the rules allow: {reason}")


def blame(matrix: Matrix, choice: dict[str, str]) -> str:
    """Return which rules exclude a choice from all cells: each rule that does so alone, or else all rules together."""
    needed = [
        rule.name
        for rule in matrix.rules
        if replace(matrix, rules=tuple(r for r in matrix.rules if r is not rule)).space.complete(choice) is not None
    ]
    if needed:
        return f"without rule {' or without rule '.join(needed)} it would be in one"
    return f"rules {', '.join(rule.name for rule in matrix.rules)} exclude it together"


def _check_lines(matrix: Matrix, axis: Axis, mistakes: Mistakes) -> None:
    """Check that an axis has requirements for every CUDA major version that its values can be combined with."""
    for version in matrix.axis(LINE_AXIS).versions:
        for value in axis.versions:
            if axis.requirements(value, version.split(".")[0]) is None and matrix.space.complete(
                {LINE_AXIS: version, axis.name: value}
            ):
                problem = f"{axis.name} {value} can be combined with CUDA {version}, for which axis {axis.name} has no requires"
                mistakes.add(axis.line, f"{problem}; add it, or a rule that forbids the combination")


def _check_cells(matrix: Matrix, mistakes: Mistakes) -> None:
    for cell in (cell for cell in matrix.cells if cell.choice):
        broken = [rule.name for rule in matrix.rules if any_fits(rule.clauses, cell.choice)]
        if broken:
            mistakes.add(cell.line, f"cell {cell.alias} is removed by rule {', '.join(broken)}")


def _check_excuses(matrix: Matrix, mistakes: Mistakes) -> None:
    for tier in matrix.tiers:
        demanded = (
            matrix.space.allowed_combinations(tier.cover.strength, tier.cover.over) if tier.cover else ()
        )  # fmt: skip
        for excuse in tier.excuses:
            if not any(any_fits([excuse.values], choice) for choice in demanded):
                mistakes.add(excuse.line, f"without of tier {tier.name} excludes nothing that the tier must cover")
