"""Jobs of a worker, and the variables that point to them. The supervisor imports this module without pytest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from conformance.suite.catalogue import Case, Isolation

JOBS = "CONFORMANCE_JOBS"
"""Environment variable with the path of the job file, which has one :class:`Job` a line."""
REPORT = "CONFORMANCE_REPORT"
"""Environment variable with the path of the supervisor's socket."""
SEED = "CONFORMANCE_SEED"
"""Environment variable with the word that seeds the order of cases."""


@dataclass(frozen=True)
class Job:
    """A case and the kind of process that runs it."""

    case: Case
    isolation: Isolation

    def to_json(self) -> dict[str, Any]:
        """Return a line of the job file."""
        return {"case": self.case.to_json(), "isolation": self.isolation.value}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Job:
        """Return a job from the result of :meth:`to_json`."""
        return cls(Case.from_json(data["case"]), Isolation(data["isolation"]))
