"""What is known to kill a process, as data: these cases run in a child of their own instead of a shared worker."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.suite.catalogue import Case, Invariant, Isolation
from conformance.suite.layouts import NEGATIVE
from conformance.suite.libraries import REFERENCE


@dataclass(frozen=True)
class Hazard:
    """Cases with this consumer and one of these values among their parameters; ``why`` is what was seen."""

    consumer: str
    values: frozenset[str]
    why: str


HAZARDS = (
    Hazard(
        "torch", frozenset(NEGATIVE), "torch.from_dlpack of negative strides ends in SIGABRT (seen in 2.11 and 2.13)"
    ),
)


def isolation_of(case: Case, invariant: Invariant) -> Isolation:
    """Where a case runs: as its invariant says, or in a child if it is a known hazard."""
    if invariant.isolation is Isolation.SHARED and case.consumer != REFERENCE:
        values = {value for _, value in case.parameters}
        if any(case.consumer == h.consumer and values & h.values for h in HAZARDS):
            return Isolation.CHILD
    return invariant.isolation
