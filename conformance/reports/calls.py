"""Table of calls: which call imports the array of which library, and whether it shares memory or copies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from conformance.checks.call_table import NOTE, Table, cell, given, names, place, producers
from conformance.checks.native_handover import Gives
from conformance.execution.results import BAD, Result

_COLOURS = {
    Gives.SHARES: "green", Gives.COPIES: "yellow", Gives.VECTOR: "yellow", Gives.BY_HOST: "yellow", Gives.REFUSES: "dim", Gives.WRONG: "red",
}  # fmt: skip


def calls(results: Iterable[Result]) -> dict[str, Table]:
    """Return the table of each device: the result of each call with a packed float32 array of each producer."""
    found: dict[str, Table] = defaultdict(dict)
    for result in results:
        at = place(result.case.id)
        if at is not None:
            is_broken = result.outcome in BAD or result.verdict.speaks_against
            told = given(result.outcome.value, result.attachments.get(NOTE, ""), is_broken=is_broken)
            found[at.device][at.call, at.producer] = told
    return dict(found)


def colour(given: Gives | None) -> str:
    """Return the colour of a field in a terminal."""
    return "blue" if given is None else _COLOURS[given]


def markdown(results: Iterable[Result], order: Sequence[str] = ()) -> str:
    """Return the tables in Markdown: calls down, producers across."""
    parts = []
    for device, table in calls(results).items():
        across = producers(table, order)
        lines = [f"| {device} | {' | '.join(across)} |", f"|---|{'---|' * len(across)}"]
        for call in names(table):
            lines.append(f"| `{call}` | {' | '.join(cell(table, call, producer) for producer in across)} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)
