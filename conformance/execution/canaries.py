"""Checks of canaries: cases with a fixed outcome, which prove that the run detects it."""

from __future__ import annotations

from collections.abc import Iterable

from conformance.checks.catalogue import catalogue
from conformance.checks.outcomes import Outcome

from .results import Result


def built_for(result: Result) -> Outcome | None:
    """Return the outcome that this case must have; ``None`` if it is not a canary."""
    return catalogue()[result.case.invariant].canary


def without(results: Iterable[Result]) -> tuple[Result, ...]:
    """Return the results without those of canaries."""
    return tuple(result for result in results if built_for(result) is None)


def among(results: Iterable[Result]) -> tuple[Result, ...]:
    """Return the results of canaries."""
    return tuple(result for result in results if built_for(result) is not None)


def surprises(results: Iterable[Result]) -> tuple[Result, ...]:
    """Return the canaries with another outcome than theirs. A run with one of them proves nothing.

    A canary without a result is not among them: it is reported like any other case without one.
    """
    return tuple(r for r in among(results) if r.outcome not in (built_for(r), Outcome.LOST))
