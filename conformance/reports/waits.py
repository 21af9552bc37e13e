"""Table of the synchronization at hand-over, pair by pair, from the evidence of the ordering checks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from conformance.checks.outcomes import Outcome
from conformance.execution.results import Result
from conformance.ordering.observation import Wait

INVARIANT = "ordering.cost"
"""The invariant that observes every pair once, independent of any clause."""
LEGEND = (
    "event: stream-ordered wait   host: blocks the calling thread   device: device-wide synchronization   none: no wait   "
    "gil: holds the GIL while blocking   (in brackets): if the producer's stream is not its current stream"
)

Text = tuple[str, str]
"""A word and its colour."""
Cells = dict[tuple[str, str], tuple[Text, Text]]
"""Fields by producer and consumer: inside the producer's stream context, and below, in brackets, outside of it if that differs."""

_SHORT = {Wait.NONE: "none", Wait.EVENT: "event", Wait.HOST: "host", Wait.DEVICE: "device"}
_COLOURS = {Wait.NONE: "green", Wait.EVENT: "green", Wait.HOST: "yellow", Wait.DEVICE: "yellow"}


def waits(results: Iterable[Result]) -> dict[tuple[str, str], Cells]:
    """Return a table for each device and protocol, with the pairs whose consumer reads on its own stream."""
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
