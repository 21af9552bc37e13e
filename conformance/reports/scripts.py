"""Standalone scripts of cases by id. A run file stores only the ids."""

from __future__ import annotations

from functools import cache

from conformance.checks.catalogue import Case, catalogue
from conformance.execution.case_names import cases_anywhere
from conformance.repro import scripts


def readable(id: str) -> str:
    """Return the hand-written script of a case; empty if there is none, or if this version of the suite has no such case."""
    case = _cases(id.partition("/")[0]).get(id)
    return scripts.script(case) if case is not None and scripts.is_readable(case) else ""


@cache
def _cases(invariant: str) -> dict[str, Case]:
    """Return all cases of an invariant that any environment could plan, by id."""
    known = catalogue().get(invariant)
    return cases_anywhere(known) if known else {}
