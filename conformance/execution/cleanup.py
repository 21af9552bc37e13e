"""The end of a case: what it leaves behind ends in its own process, before its answer, and not in a later case."""

from __future__ import annotations

from collections.abc import Iterable

from conformance.adapters.base import Adapter
from conformance.checks.exchange import Exchange, brief
from conformance.checks.garbage import set_aside
from conformance.checks.outcomes import Outcome
from conformance.reference import managed

from .results import Result

NOTE = "after the check"
"""Name of the note that says which library's own call failed."""


def settle(exchange: Exchange, result: Result, libraries: Iterable[Adapter]) -> None:
    """Collect all garbage, and have these libraries let go of what they only keep for later (:meth:`Adapter.let_go`).

    A process that dies in this step is told as one that died of its own case. What a call raises is a note beside the result: no document says
    when such a call may fail. Nothing is judged here.
    """
    exchange.settle(_told(result))
    managed.settle()
    set_aside()
    troubles = []
    is_cleared = False
    for library in libraries:
        try:
            is_cleared = bool(library.let_go()) or is_cleared
        except Exception as error:
            troubles.append(f"{library.name} does not clear its caches: {brief(error)}")
    if is_cleared:
        managed.settle()
        set_aside()
    if troubles:
        exchange.notes[NOTE] = "; ".join(troubles)


def _told(result: Result) -> str:
    """The outcome of a check in words."""
    told = result.reason if result.outcome is not Outcome.PASS else ""
    return f"{result.outcome.value} ({told})" if told else result.outcome.value
