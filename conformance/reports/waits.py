"""What waits when an array is handed over, pair by pair: the evidence of the ordering checks as a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from conformance.checks.outcomes import Outcome
from conformance.execution.results import Result
from conformance.ordering.observation import Wait

INVARIANT = "ordering.cost"
"""Looks at every pair once, whatever the clauses ask of it."""
LEGEND = (
    "event: the consumer's stream waits   host: the calling thread does   device: everything does   none: nothing does   "
    "gil: and no other thread runs   (in brackets): where the producer's stream is not its current one"
)

Text = tuple[str, str]
"""A word and its colour."""
Cells = dict[tuple[str, str], tuple[Text, Text]]
"""By producer and consumer: inside the producer's stream context, and below, in brackets, outside of it where that differs."""

_SHORT = {Wait.NONE: "none", Wait.EVENT: "event", Wait.HOST: "host", Wait.DEVICE: "device"}
_COLOURS = {Wait.NONE: "green", Wait.EVENT: "green", Wait.HOST: "yellow", Wait.DEVICE: "yellow"}


def waits(results: Iterable[Result]) -> dict[tuple[str, str], Cells]:
    """For each device and protocol the pairs whose hand-over to a stream of the consumer's own was looked at."""
    found: dict[tuple[str, str], dict[tuple[str, str], dict[str, Text]]] = defaultdict(lambda: defaultdict(dict))
    for result in results:
        case = result.case
        if case.invariant == INVARIANT and case.option("reader") == "stream":
            found[case.device.value, case.protocol][case.producer, case.consumer][case.option("how")] = _text(result)
    return {place: {pair: _cell(hows) for pair, hows in pairs.items()} for place, pairs in found.items()}


def _text(result: Result) -> Text:
    if result.outcome is Outcome.REFUSED:
        return "∅", "dim"
    wait, _, order = result.attachments.get("seen", "").partition(", ")
    word, _, gil = wait.partition(" ")
    try:
        kind = Wait(word)
    except ValueError:
        return "?", "blue"
    return _SHORT[kind] + (" gil" if gil else ""), "red" if order == "out of order" else _COLOURS[kind]


def _cell(hows: dict[str, Text]) -> tuple[Text, Text]:
    first, *rest = hows.values()
    if not rest or rest[0] == first:
        return first, ("", "dim")
    return first, (f"({rest[0][0]})", rest[0][1])
