"""Catalogue of invariants, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Any

from conformance.checks.catalogue import Case, Invariant
from conformance.execution.environment import Facts
from conformance.execution.untested import untested

from .check_terminal import Screen, many, not_tested


def as_json(invariants: list[Invariant], cases: list[Case], facts: Facts) -> list[dict[str, Any]]:
    """Return one object for each invariant, with its number of cases here and the combinations that it leaves out."""
    counts = Counter(case.invariant for case in cases)
    return [
        {
            "id": i.id,
            "family": i.family,
            "statement": i.statement,
            "details": i.details,
            "clauses": list(i.clauses),
            "duties": {role.value: list(ids) for role, ids in i.duties.items()},
            "bugs": list(i.bugs),
            "level": i.level.value,
            "needs": i.needs.value,
            "isolation": i.isolation.value,
            "cases": counts[i.id],
            "left_out": [{"what": what, "why": why} for what, why in _left_out(i, facts)],
        }
        for i in invariants
    ]


def show(screen: Screen, invariants: list[Invariant], cases: list[Case], facts: Facts) -> None:
    """Print families, ids, statements, clauses, and the number of cases of each in this environment."""
    counts = Counter(case.invariant for case in cases)
    for family, members in groupby(invariants, key=lambda i: i.family):
        entries = list(members)
        total = sum(counts[i.id] for i in entries)
        screen.line(
            screen.paint(f"{family}", "bold")
            + screen.paint(f"  {many(len(entries), 'invariant')}, {many(total, 'case')} here", "dim")
        )
        for i in entries:
            told = f"{i.level.value}; {' '.join(i.clauses)}; {_count(counts[i.id], i)}"
            screen.line(f"  {i.id}  " + screen.paint(told, "dim"))
            screen.wrapped(i.statement, "      ")
            for why, group in groupby(
                sorted(_left_out(i, facts), key=lambda entry: entry[1]), key=lambda entry: entry[1]
            ):
                _show_left_out(screen, [what for what, _ in group], why)
        screen.line()
    names = ", ".join(library.name for library in facts.environment.present)
    screen.line(f"{len(invariants)} invariants, {len(cases)} cases with {names}")
    for gap in untested(facts.environment, cases).unusable:
        not_tested(screen, gap)


_MOST = 3
"""Maximum number of printed combinations that are left out for one reason; the others are counted."""


def _left_out(invariant: Invariant, facts: Facts) -> list[tuple[str, str]]:
    return list(invariant.left_out(facts.environment)) if invariant.left_out is not None else []


def _show_left_out(screen: Screen, what: list[str], why: str) -> None:
    more = f" and {len(what) - _MOST} more" if len(what) > _MOST else ""
    screen.wrapped(f"left out: {'; '.join(what[:_MOST])}{more}: {why}", "      ", "dim")


def _count(count: int, invariant: Invariant) -> str:
    return (
        many(count, "case")
        if count
        else f"no case here: requires {invariant.needs.value}, and libraries that support it"
    )
