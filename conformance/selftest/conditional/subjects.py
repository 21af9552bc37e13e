"""Unconditional faults of all stages that can get conditions: the methods that they override, their partners, and their witnesses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache

from conformance import faults
from conformance.adapters.base import Adapter
from conformance.checks.catalogue import Case
from conformance.checks.libraries import REFERENCE
from conformance.checks.outcomes import Side
from conformance.reference.exporter import Exporter
from conformance.reference.importer import Importer
from conformance.selftest.accusations import FAULTY, placed
from conformance.selftest.model import Stage
from conformance.selftest.stages import stages

from . import reach, witness
from .generating import conditional, overridden
from .levels import Level, State

PREFIX = "reference."
"""The prefix of the names of the reference's faults."""


def methods(fault: faults.Fault) -> tuple[str, ...]:
    """Return the methods that a fault of the reference overrides."""
    if fault.exporter is Exporter:
        return overridden(fault.importer, Importer)
    return overridden(fault.exporter, Exporter)


class Subject(ABC):
    """An unconditional fault."""

    name: str
    statement: str
    caught_by: tuple[str, ...]
    side: Side
    """The side that has the fault."""
    library: str
    """The only library that may be accused."""
    stands_for: str
    """The library that the fault replaces in a case."""
    methods: tuple[str, ...]
    """The methods that the fault overrides."""

    @abstractmethod
    def partners(self, condition: tuple[Level, ...]) -> dict[str, Adapter]:
        """Return partners with the fault under this condition, new for each case."""

    def flawless(self) -> dict[str, Adapter]:
        """Return partners without the fault if a case can fail with them. The reference needs none, because it violates no rule."""
        return {}

    @abstractmethod
    def placed(self, case: Case) -> Case:
        """Return the case with the fault on its side."""

    @abstractmethod
    def witness(self, condition: tuple[Level, ...]) -> tuple[str, State]:
        """Return the point at which the fault shows under this condition, or an empty string, and the levels of the array there."""

    @abstractmethod
    def prepare(self, condition: tuple[Level, ...]) -> None:
        """Compute the data that several trials share, before a process is forked."""


class OfReference(Subject):
    """A faulty exporter or importer of the reference."""

    def __init__(self, fault: faults.Fault) -> None:
        self._fault = fault
        self.name, self.statement, self.caught_by = f"{PREFIX}{fault.name}", fault.statement, fault.caught_by
        self.side = Side.CONSUMER if fault.exporter is Exporter else Side.PRODUCER
        self.library, self.stands_for = FAULTY, REFERENCE
        self.methods = methods(fault)

    def partners(self, condition: tuple[Level, ...]) -> dict[str, Adapter]:
        """Return the flawless reference and a faulty one with the history that the condition names."""
        made = conditional(self._fault, condition)
        for kind in (made.exporter, made.importer):
            witness.remember(getattr(kind, "life", None), witness.aged(condition))
        return reach.partners(made.exporter, made.importer)

    def placed(self, case: Case) -> Case:
        return placed(case, self.side, FAULTY, REFERENCE)

    def witness(self, condition: tuple[Level, ...]) -> tuple[str, State]:
        """Return the first exchange that differs from the flawless reference's."""
        found = witness.of(conditional(self._fault, condition), condition)
        return (str(found), found.levels) if found else ("", frozenset())

    def prepare(self, condition: tuple[Level, ...]) -> None:
        witness.prepare(self._fault, condition)


def wrapped_stages() -> dict[str, Stage]:
    """Return the stages of wrappers around real libraries, by name."""
    return {stage.name: stage for stage in stages() if stage.name.endswith("-wrappers")}


@cache
def known() -> dict[str, Subject]:
    """Return all unconditional faults by name."""
    from . import wrapped

    found: list[Subject] = [OfReference(fault) for fault in faults.all_faults().values()]
    for stage in wrapped_stages().values():
        found += wrapped.subjects(stage)
    return {subject.name: subject for subject in found}
