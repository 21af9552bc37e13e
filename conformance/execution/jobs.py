"""Requests to a monitor. Environment variables name the file of jobs for the workers of pytest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from conformance.checks.catalogue import Case, Isolation

JOBS = "CONFORMANCE_JOBS"
"""Environment variable with the path of the job file, which has one :class:`Job` a line."""
REPORT = "CONFORMANCE_REPORT"
"""Environment variable with the path of the supervisor's socket."""
SEED = "CONFORMANCE_SEED"
"""Environment variable with the seed for the order of cases."""


@dataclass(frozen=True)
class Job:
    """A case and the kind of process that runs it.

    Jobs of the same ``company`` run one after the other in one process, which runs no other case. A job with ``before`` finds out which of
    these cases crashed the process of ``case`` (``tracing.py``). ``suspects`` are cases that crashed the processes of others; the trace tries
    cases of their kind first.
    """

    case: Case
    isolation: Isolation
    before: tuple[Case, ...] = ()
    suspects: tuple[Case, ...] = ()
    company: str = ""

    @property
    def starts_processes(self) -> bool:
        """Whether the job needs a new process."""
        return bool(self.company) or self.isolation.starts_processes

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object: a line of the job file, and a request to a monitor."""
        traced = {name: [case.to_json() for case in getattr(self, name)] for name in ("before", "suspects")}
        return {
            "case": self.case.to_json(),
            "isolation": self.isolation.value,
            **({"company": self.company} if self.company else {}),
            **{name: cases for name, cases in traced.items() if cases},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Job:
        """Return a job from the result of :meth:`to_json`."""
        before, suspects = (tuple(map(Case.from_json, data.get(name, ()))) for name in ("before", "suspects"))
        return cls(
            Case.from_json(data["case"]), Isolation(data["isolation"]), before, suspects, data.get("company", "")
        )
