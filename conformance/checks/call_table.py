"""Table of calls: the result of each public call of a consumer for the arrays of each producer.

A report of one environment builds the table from results. A report of a run over cells builds it from the run file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .libraries import REFERENCE
from .native_handover import Gives
from .outcomes import Outcome

INVARIANT = "native.as-protocol"
"""The invariant whose cases pass a plain array of each producer to each call of each consumer."""
NOTE = "gives"
"""The note of these cases with the result of the call."""
PLAIN = "c-order"
HEADING = "Result of each call for an array object"
LEGEND = (
    "shares: the import uses the producer's memory   copies: the import has its own memory   "
    "vector: shares, as a 1-d array of the default type, as documented for buffers   host: a copy through host memory   "
    "refuses: an exception   broken: wrong elements, a wrong description or a crash   ?: inconclusive"
)
SHORT = {
    Gives.SHARES: "shares", Gives.COPIES: "copies", Gives.VECTOR: "vector", Gives.BY_HOST: "host", Gives.REFUSES: "refuses", Gives.WRONG: "broken",
}  # fmt: skip
"""The short words for the cells of the table."""
UNDECIDED = "?"
NOT_TRIED = "–"

Table = dict[tuple[str, str], "Gives | None"]
"""Results by call and producer. ``None`` means that the case is inconclusive."""
_VALUES = {one.value for one in Gives}


class Place(NamedTuple):
    """The position of a case in the tables: the device, the row (call) and the column (producer)."""

    device: str
    call: str
    producer: str


def place(case: str) -> Place | None:
    """Return the position of a case with this id, or ``None`` if it is in no table. Cases with the reference are in none."""
    if not case.startswith(f"{INVARIANT}/"):
        return None
    _, pair, *rest = case.split("/")
    if REFERENCE in pair.split("-") or len(rest) != 4 or rest[3] != PLAIN:
        return None
    _, device, call, _ = rest
    return Place(device, call, pair.partition("-")[0])


def given(outcome: str, told: str, *, is_broken: bool) -> Gives | None:
    """Return the table entry for a case. ``told`` is its note. ``is_broken`` means that the case failed, or that its process crashed."""
    if is_broken:
        return Gives.WRONG
    if told in _VALUES:
        return Gives(told)
    return Gives.REFUSES if outcome == Outcome.REFUSED.value else None


def producers(table: Table, order: Sequence[str] = ()) -> list[str]:
    """Return the producers of a table, in the given order. Other producers follow."""
    present = dict.fromkeys(producer for _, producer in table)
    return [*(name for name in order if name in present), *(name for name in present if name not in order)]


def names(table: Table) -> list[str]:
    """Return the calls of a table, in the order of the table."""
    return list(dict.fromkeys(call for call, _ in table))


def word(given: Gives | None) -> str:
    """Return the short word for an entry."""
    return UNDECIDED if given is None else SHORT[given]


def cell(table: Table, call: str, producer: str) -> str:
    """Return the short word for a call and a producer."""
    return word(table[call, producer]) if (call, producer) in table else NOT_TRIED
