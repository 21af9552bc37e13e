"""Collect the knowledge of the suite about a subject: clauses, bugs, faults and invariants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from conformance.checks import bugs
from conformance.checks.bugs import Bug
from conformance.checks.catalogue import Case, Invariant
from conformance.protocols.clauses import Clause, Role
from conformance.selftest.model import Fault

from .subjects import Subject


@dataclass(frozen=True)
class Explanation:
    """A subject with its clauses, bugs and faults.

    ``bugs`` are real bugs that led to the invariants, or whose faults the invariants catch. ``similar`` are other bugs of the
    same classes.
    """

    subject: Subject
    bugs: tuple[Bug, ...]
    similar: tuple[Bug, ...]
    faults: tuple[Fault, ...]

    @property
    def expected(self) -> dict[Role, tuple[Clause, ...]]:
        """Clauses that bind each side."""
        return {role: tuple(c for c in self.subject.clauses if c.binds(role)) for role in Role}


def explain(subject: Subject, faults: Iterable[Fault]) -> Explanation:
    """Return the explanation of a subject. ``faults`` are all faults of the suite."""
    names = {invariant.id for invariant in subject.invariants}
    caught = tuple(fault for fault in faults if names & set(fault.caught_by))
    drawn = [key for invariant in subject.invariants for key in invariant.bugs]
    direct = bugs.named((*drawn, *(key for fault in caught for key in fault.bugs)))
    return Explanation(subject, direct, tuple(b for b in bugs.of_classes(drawn) if b not in direct), caught)


def as_json(explanation: Explanation, cases: Sequence[Case] | None, readable: bool | None) -> dict[str, Any]:
    """Return plain data.

    ``cases`` are those of this environment, or ``None`` if the libraries were not inspected. ``readable`` is whether the
    script of a case is short.
    """
    subject = explanation.subject
    return {
        "kind": subject.kind.value,
        "id": subject.name,
        "invariants": [_invariant(invariant) for invariant in subject.invariants],
        "clauses": [{**asdict(clause), "urls": list(clause.urls)} for clause in subject.clauses],
        "expected": {role.value: [clause.id for clause in clauses] for role, clauses in explanation.expected.items()},
        "bugs": [asdict(bug) for bug in explanation.bugs],
        "similar_bugs": [asdict(bug) for bug in explanation.similar],
        "faults": [
            {"name": f.name, "statement": f.statement, "caught_by": list(f.caught_by), "bugs": list(f.bugs)}
            for f in explanation.faults
        ],
        "case": subject.case.to_json() if subject.case else None,
        "readable_script": readable,
        "cases_here": None if cases is None else [case.id for case in cases],
    }


def _invariant(invariant: Invariant) -> dict[str, Any]:
    return {
        "id": invariant.id,
        "statement": invariant.statement,
        "details": invariant.details,
        "clauses": list(invariant.clauses),
        "level": invariant.level.value,
        "needs": invariant.needs.value,
        "bugs": list(invariant.bugs),
    }
