"""Table of cases that are known to crash their process. Each of them runs alone in a child process."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from conformance.checks.catalogue import Case, Invariant, Isolation
from conformance.checks.layouts import NEGATIVE


@dataclass(frozen=True)
class Hazard:
    """A kind of case. An empty field matches any case. ``values`` are values of a case's parameters."""

    why: str
    family: str = ""
    invariant: str = ""
    producer: str = ""
    consumer: str = ""
    values: tuple[str, ...] = ()

    def covers(self, case: Case) -> bool:
        """Return whether a case is of this kind."""
        return (
            self.family in ("", case.invariant.partition(".")[0])
            and self.invariant in ("", case.invariant)
            and self.producer in ("", case.producer)
            and self.consumer in ("", case.consumer)
            and (not self.values or any(value in self.values for _, value in case.parameters))
        )


HAZARDS = (
    Hazard("torch.from_dlpack of negative strides ends in SIGABRT (2.11, 2.13)", consumer="torch", values=NEGATIVE),
    Hazard("cvcuda.as_tensor reads NULL strides: SIGSEGV (0.19)", invariant="layout.null-strides", consumer="cvcuda"),
    Hazard("canaries that are to run by themselves", family="canary", values=("alone",)),
)


def isolation_of(case: Case, invariant: Invariant, deadly: Collection[str] = ()) -> Isolation:
    """Return the kind of process for a case: that of its invariant, or a child process for a known hazard.

    ``deadly`` are ids of cases that crashed their process in earlier runs.
    """
    if invariant.isolation.changes_others:
        return invariant.isolation
    known = invariant.isolation is Isolation.SHARED and any(hazard.covers(case) for hazard in HAZARDS)
    return Isolation.CHILD if known or case.id in deadly else invariant.isolation
