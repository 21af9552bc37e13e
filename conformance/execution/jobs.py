"""What a worker is given to do, and the variables by which it finds that. The supervisor reads this, and not pytest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from conformance.suite.catalogue import Case, Isolation

JOBS = "CONFORMANCE_JOBS"
"""Environment variable with the path of the file of jobs, a :class:`Job` a line."""
REPORT = "CONFORMANCE_REPORT"
"""Environment variable with the path of the supervisor's socket."""
SEED = "CONFORMANCE_SEED"
"""Environment variable with a word that decides in which order cases run."""


@dataclass(frozen=True)
class Job:
    """A case, and in what kind of process it is to run."""

    case: Case
    isolation: Isolation

    def to_json(self) -> dict[str, Any]:
        """A line of the file."""
        return {"case": self.case.to_json(), "isolation": self.isolation.value}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Job:
        """The reverse of :meth:`to_json`."""
        return cls(Case.from_json(data["case"]), Isolation(data["isolation"]))
