"""Find the subject that a name denotes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from conformance.checks.catalogue import Case, Invariant, catalogue
from conformance.checks.libraries import Environment
from conformance.execution.case_names import UnknownName, case_named
from conformance.protocols.clauses import Clause, all_clauses, clause
from conformance.suggestions import meant


class Kind(str, Enum):
    """Kind of a subject that ``explain`` accepts."""

    INVARIANT = "invariant"
    CLAUSE = "clause"
    FAMILY = "family"
    CASE = "case"


@dataclass(frozen=True)
class Subject:
    """The subject of an explanation.

    ``invariants`` are those of the family, those that cite the clause, or the single one.
    """

    kind: Kind
    name: str
    invariants: tuple[Invariant, ...]
    clauses: tuple[Clause, ...]
    case: Case | None = None


def find(name: str, here: Callable[[], Environment]) -> Subject:
    """Return the subject with this name. ``here`` measures this environment, and is called only if it is needed.

    Raises:
        UnknownName: no subject has this name.
    """
    known = catalogue()
    if "/" in name:
        case = case_named(name, here)
        return _of(Kind.CASE, name, (known[case.invariant],), case)
    if name in known:
        return _of(Kind.INVARIANT, name, (known[name],))
    if name.upper() in (ids := [each.id for each in all_clauses()]):
        cited = tuple(i for i in known.values() if name.upper() in i.clauses)
        return Subject(Kind.CLAUSE, name.upper(), cited, (clause(name.upper()),))
    family = tuple(i for i in known.values() if i.family == name)
    if family:
        return _of(Kind.FAMILY, name, family)
    names = [*known, *dict.fromkeys(i.family for i in known.values()), *ids]
    raise UnknownName(
        f"there is no invariant, clause, family or case {name!r}{meant(name, names, '`list` shows the invariants')}"
    )


def _of(kind: Kind, name: str, invariants: tuple[Invariant, ...], case: Case | None = None) -> Subject:
    ids = dict.fromkeys(id for invariant in invariants for id in invariant.clauses)
    return Subject(kind, name, invariants, tuple(clause(id) for id in ids), case)
