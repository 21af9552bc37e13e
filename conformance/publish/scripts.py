"""Standalone scripts of cases, from their ids alone: a run file keeps no more of a case."""

from __future__ import annotations

from functools import cache

from conformance.adapters.base import Device
from conformance.execution.naming import everything
from conformance.repro import scripts
from conformance.suite.catalogue import Case, catalogue

_PLACES = ((Device.HOST, Device.CUDA), (Device.HOST,))
"""What an environment can have: some cases are planned only where there is no GPU."""


def readable(id: str) -> str:
    """The hand-written script of a case; empty where there is none, or where this version of the suite has no such case."""
    case = _cases(id.partition("/")[0]).get(id)
    return scripts.script(case) if case is not None and scripts.is_readable(case) else ""


@cache
def _cases(invariant: str) -> dict[str, Case]:
    """All cases of an invariant that any environment could plan, by id."""
    known = catalogue().get(invariant)
    return {case.id: case for devices in _PLACES for case in known.cases(everything(devices))} if known else {}
