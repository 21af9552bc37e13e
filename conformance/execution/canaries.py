"""Canaries judged: cases that were built to end in a certain way, and did or did not."""

from __future__ import annotations

from collections.abc import Iterable

from conformance.checks.catalogue import catalogue
from conformance.checks.outcomes import Outcome

from .results import Result


def built_for(result: Result) -> Outcome | None:
    """The outcome that this case was built for; ``None`` if it is no canary."""
    return catalogue()[result.case.invariant].canary


def without(results: Iterable[Result]) -> tuple[Result, ...]:
    """What is said about libraries."""
    return tuple(result for result in results if built_for(result) is None)


def among(results: Iterable[Result]) -> tuple[Result, ...]:
    """The canaries."""
    return tuple(result for result in results if built_for(result) is not None)


def surprises(results: Iterable[Result]) -> tuple[Result, ...]:
    """Canaries that ended otherwise than they were built to: a run with one of them proves nothing.

    One that has not ended at all is lost like any other case.
    """
    return tuple(r for r in among(results) if r.outcome not in (built_for(r), Outcome.LOST))
