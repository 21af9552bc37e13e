"""Which engine, and why."""

from __future__ import annotations

from collections.abc import Sequence

from conformance.exits import UserError

from .base import Engine


def choose(engines: Sequence[Engine]) -> tuple[Engine, str]:
    """The first of these that can be used, and why: what was asked of those before it.

    Raises UserError where none can.
    """
    complaints: list[str] = []
    for engine in engines:
        problem = engine.available()
        if problem is None:
            if len(engines) == 1:
                return engine, "asked for"
            return engine, "; ".join([*complaints, f"the first that answers: {engine.name}"])
        complaints.append(problem)
    raise UserError("; ".join(complaints) + "; start it, or choose another by --on")
