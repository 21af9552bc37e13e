"""Choose the engine that runs the cells."""

from __future__ import annotations

from collections.abc import Sequence

from conformance.exits import UserError

from .base import Engine


def choose(engines: Sequence[Engine]) -> tuple[Engine, str]:
    """Return the first usable engine, and the reason: the problems of the engines before it.

    Raises UserError if none is usable.
    """
    complaints: list[str] = []
    for engine in engines:
        problem = engine.available()
        if problem is None:
            if len(engines) == 1:
                return engine, "selected by --on"
            return engine, "; ".join([*complaints, f"{engine.name} is the first engine that responds"])
        complaints.append(problem)
    raise UserError("; ".join(complaints) + "; start it, or select another engine with --on")
