"""Data about each finding for all reports: its extent, its versions, the clauses that it breaks, and the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from conformance.console.screen import many
from conformance.console.wording import demand, way
from conformance.findings import presentation
from conformance.findings.model import UNKNOWN, Finding
from conformance.findings.wording import title
from conformance.gate.waivers import Spot
from conformance.protocols import clauses
from conformance.protocols.clauses import Role
from conformance.runs.model import RunFile, place

from .since_version import Since, Sinces
from .words import NOTES

NO_DEMAND = "No clause applies, because the protocol forbids the input. The library should raise a clean exception."
"""Text in place of a clause, for findings on illegal input that the suite made."""
_ROLES = {role.value: role for role in Role}
_CRASH_NOTES = ("terminate", "frame")
"""Attachments about a crash: the runtime's last message, and the innermost stack frame in a library."""


@dataclass(frozen=True)
class Demand:
    """A clause that a finding breaks: its id, its text for the accused side, and its source with an address, if there is one."""

    id: str
    text: str
    source: str = ""
    url: str = ""


@dataclass(frozen=True)
class Account:
    """A finding with all data that reports show. ``cells`` are titles; ``waived`` counts the results that a waiver covers."""

    finding: Finding
    cells: tuple[str, ...]
    since: Since
    waived: int = 0

    @property
    def status(self) -> str:
        """The status in words: new, known or intended."""
        return presentation.status(self.finding)

    @property
    def ended(self) -> str:
        """How a process ended; empty if every process survived."""
        return presentation.ended(self.finding)

    @cached_property
    def cases(self) -> tuple[str, ...]:
        """The ids of its cases, without duplicates."""
        return self.finding.cases

    @property
    def extent(self) -> str:
        """The number of cases and of cells, in words."""
        return f"{many(len(self.cases), 'case')} in {many(len(self.cells), 'cell')}"

    @property
    def is_waived(self) -> bool:
        """Whether waivers cover all of its results."""
        return self.waived == len(self.finding.observations)

    @property
    def waived_text(self) -> str:
        """The number of waived results, in words; empty if there are none."""
        return f"{self.waived} of {many(len(self.finding.observations), 'result')} waived" if self.waived else ""

    @property
    def partners(self) -> tuple[str, ...]:
        """The display names of the other libraries."""
        return tuple(title(name) for name in self.finding.partners)

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Protocol and device of its cases, such as ``DLPack on cuda``, without duplicates."""
        at = (place(case) for case in self.cases)
        return tuple(dict.fromkeys(f"{way(one.invariant, one.protocol)} on {one.device}" for one in at))

    @property
    def demands(self) -> tuple[Demand, ...]:
        """The clauses that its cases break, that of the smallest case first."""
        smallest = self.finding.smallest
        role = _ROLES.get(self.finding.side or smallest.side.value)
        return tuple(_demand(id, role) for id in self.finding.clauses)

    @cached_property
    def notes(self) -> Mapping[str, str]:
        """The attachments of the smallest case. Evidence of a crash comes from the first case that has it."""
        found = dict(self.finding.smallest.notes)
        for name in _CRASH_NOTES:
            told = next((text for o in self.finding.observations if (text := o.notes.get(name))), "")
            if told:
                found.setdefault(name, told)
        return found

    @property
    def crash_notes(self) -> list[tuple[str, str]]:
        """Evidence of a crash, each piece with its label."""
        return [(NOTES[name], self.notes[name]) for name in _CRASH_NOTES if self.notes.get(name)]

    @property
    def why(self) -> str:
        """How the accused was determined, as a clause of a sentence; empty if it was not recorded."""
        told = self.finding.smallest.why
        if self.finding.library == UNKNOWN:
            return (
                f"the evidence is inconclusive: {told}" if told else "the evidence does not show which side is at fault"
            )
        return told


def accounts(run: RunFile, found: list[Finding], waived: Mapping[Spot, str]) -> list[Account]:
    """Return an account of each finding, in the order of reports: by library, the most serious first."""
    titles = {cell.name: cell.title for cell in run.cells}
    sinces = Sinces(run)
    return [
        Account(
            one,
            tuple(titles[name] for name in dict.fromkeys(o.cell for o in one.observations)),
            sinces.of(one),
            sum((o.cell, o.case) in waived for o in one.observations) if waived else 0,
        )
        for _, members in presentation.by_library(found)
        for one in members
    ]


def heading(library: str) -> str:
    """Return the heading above the findings of a library."""
    return "Unknown library" if library == UNKNOWN else title(library)


def versions(finding: Finding) -> str:
    """Return the versions of the accused library in the run."""
    return ", ".join(f"{name} {version}" for name, version in finding.versions.items())


def _demand(id: str, role: Role | None) -> Demand:
    try:
        found = clauses.clause(id)
    except KeyError:
        return Demand(id, "")
    text = demand(id, role).removeprefix(f"{id}: ")
    return Demand(id, text, found.documents, next(iter(found.urls), ""))
