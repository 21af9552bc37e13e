"""Cleanup at the end of a case, in its own process and before its result is sent. So leftovers of one case cannot fail a later one."""

from __future__ import annotations

from collections.abc import Iterable

from conformance.adapters.base import Adapter
from conformance.checks.exchange import Exchange, brief
from conformance.checks.garbage import set_aside
from conformance.checks.outcomes import Outcome
from conformance.reference import managed

from .results import Result

NOTE = "after the check"
"""Name of the note that names the library with a failed cleanup call."""


def settle(exchange: Exchange, result: Result, libraries: Iterable[Adapter]) -> None:
    """Collect all garbage, and have these libraries release their caches (:meth:`Adapter.let_go`).

    If the process crashes in this step, the case is reported as crashed. An exception of such a call becomes a note in the result, because no
    document says when the call may fail. This step checks no clause.
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
            troubles.append(f"{library.name} fails to clear its caches: {brief(error)}")
    if is_cleared:
        managed.settle()
        set_aside()
    if troubles:
        exchange.notes[NOTE] = "; ".join(troubles)


def _told(result: Result) -> str:
    """Return the outcome of a check in words."""
    told = result.reason if result.outcome is not Outcome.PASS else ""
    return f"{result.outcome.value} ({told})" if told else result.outcome.value
