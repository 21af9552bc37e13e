"""The table of calls: which call takes whose array, and how. Its words, and the cases that it is made of.

Reports of one environment make it of results, and reports of a run over cells of what the run file keeps of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .libraries import REFERENCE
from .native_handover import Gives
from .outcomes import Outcome

INVARIANT = "native.as-protocol"
"""Hands over every pair's plain array by every call of the consumer."""
NOTE = "gives"
"""The note of its cases with what the call gave."""
PLAIN = "c-order"
HEADING = "What a call makes of an array as it is"
LEGEND = (
    "shares: the import lies in the producer's memory   copies: in memory of its own   "
    "vector: shares, as a vector of the default type, which is documented for buffers   host: a copy by way of host memory   "
    "refuses: an exception   broken: other elements, another description or a lost process   ?: not decided"
)
SHORT = {
    Gives.SHARES: "shares", Gives.COPIES: "copies", Gives.VECTOR: "vector", Gives.BY_HOST: "host", Gives.REFUSES: "refuses", Gives.WRONG: "broken",
}  # fmt: skip
"""The words where there is no room."""
UNDECIDED = "?"
NOT_TRIED = "–"

Table = dict[tuple[str, str], "Gives | None"]
"""By call and producer; ``None`` where the case is not decided."""
_VALUES = {one.value for one in Gives}


class Place(NamedTuple):
    """Where a case stands in the tables: on which device, in which row and in which column."""

    device: str
    call: str
    producer: str


def place(case: str) -> Place | None:
    """The place of a case by its id; ``None`` if no table is made of it. The reference is no library, and has no part in them."""
    if not case.startswith(f"{INVARIANT}/"):
        return None
    _, pair, *rest = case.split("/")
    if REFERENCE in pair.split("-") or len(rest) != 4 or rest[3] != PLAIN:
        return None
    _, device, call, _ = rest
    return Place(device, call, pair.partition("-")[0])


def given(outcome: str, told: str, *, is_broken: bool) -> Gives | None:
    """Return the entry that a case showed: ``told`` is its note. ``is_broken`` says that it speaks against a library, or that a process was lost."""
    if is_broken:
        return Gives.WRONG
    if told in _VALUES:
        return Gives(told)
    return Gives.REFUSES if outcome == Outcome.REFUSED.value else None


def producers(table: Table, order: Sequence[str] = ()) -> list[str]:
    """The producers of a table, in this order."""
    present = dict.fromkeys(producer for _, producer in table)
    return [*(name for name in order if name in present), *(name for name in present if name not in order)]


def names(table: Table) -> list[str]:
    """The calls of a table, as they come."""
    return list(dict.fromkeys(call for call, _ in table))


def word(given: Gives | None) -> str:
    """The word of a cell."""
    return UNDECIDED if given is None else SHORT[given]


def cell(table: Table, call: str, producer: str) -> str:
    """The word where a call and a producer meet."""
    return word(table[call, producer]) if (call, producer) in table else NOT_TRIED
