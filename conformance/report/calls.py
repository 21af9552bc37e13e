"""Which call takes whose array, and how: the table of calls, from the results of handing plain arrays over as they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from conformance.execution.results import BAD, Result
from conformance.suite.handing_over import Gives
from conformance.suite.libraries import REFERENCE
from conformance.suite.outcomes import Outcome

INVARIANT = "native.as-protocol"
"""Hands over every pair's plain array by every call of the consumer."""
_PLAIN = {"array": "c-order"}
LEGEND = (
    "shares: the import lies in the producer's memory   copies: in memory of its own   "
    "vector: shares, as a vector of the default type, which is documented for buffers   host: a copy by way of host memory   "
    "refuses: an exception   broken: other elements, another description or a lost process   ?: not decided"
)
SHORT = {
    Gives.SHARES: "shares", Gives.COPIES: "copies", Gives.VECTOR: "vector", Gives.BY_HOST: "host", Gives.REFUSES: "refuses", Gives.WRONG: "broken",
}  # fmt: skip
"""The words where there is no room."""
_COLOURS = {
    Gives.SHARES: "green", Gives.COPIES: "yellow", Gives.VECTOR: "yellow", Gives.BY_HOST: "yellow", Gives.REFUSES: "dim", Gives.WRONG: "red",
}  # fmt: skip

Table = dict[tuple[str, str], "Gives | None"]
"""By call and producer; ``None`` where the case is not decided."""


def calls(results: Iterable[Result]) -> dict[str, Table]:
    """The table of each device: what a packed array of float32 comes to, by each call. The reference is no library, and has no part in it."""
    found: dict[str, Table] = defaultdict(dict)
    for result in results:
        case = result.case
        given = {name: value for name, value in case.parameters if name != "call"}
        if case.invariant == INVARIANT and given == _PLAIN and REFERENCE not in case.libraries:
            found[case.device.value][case.option("call"), case.producer] = _given(result)
    return dict(found)


def _given(result: Result) -> Gives | None:
    """What one case showed. A failure that is only observed is what the note says."""
    if result.outcome in BAD or result.verdict.speaks_against:
        return Gives.WRONG
    told = result.attachments.get("gives", "")
    if told in {one.value for one in Gives}:
        return Gives(told)
    return Gives.REFUSES if result.outcome is Outcome.REFUSED else None


def producers(table: Table, order: Sequence[str]) -> list[str]:
    """The producers of a table, in this order."""
    present = dict.fromkeys(producer for _, producer in table)
    return [*(name for name in order if name in present), *(name for name in present if name not in order)]


def names(table: Table) -> list[str]:
    """The calls of a table, as they come."""
    return list(dict.fromkeys(call for call, _ in table))


def word(given: Gives | None) -> str:
    """The word of a cell."""
    return "?" if given is None else SHORT[given]


def colour(given: Gives | None) -> str:
    """The colour of a cell in a terminal."""
    return "blue" if given is None else _COLOURS[given]


def markdown(results: Iterable[Result], order: Sequence[str] = ()) -> str:
    """The tables in Markdown: calls down, producers across."""
    parts = []
    for device, table in calls(results).items():
        across = producers(table, order)
        lines = [f"| {device} | {' | '.join(across)} |", f"|---|{'---|' * len(across)}"]
        for call in names(table):
            cells = (_cell(table, call, producer) for producer in across)
            lines.append(f"| `{call}` | {' | '.join(cells)} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _cell(table: Table, call: str, producer: str) -> str:
    return word(table[call, producer]) if (call, producer) in table else "–"
