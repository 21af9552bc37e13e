"""Each finding as every report tells it: its extent, its versions, the demand that it breaks, and the evidence."""

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

NO_DEMAND = (
    "No clause demands anything: the protocol forbids the input. A clean exception is better than any other end."
)
"""In place of a demand, where the suite itself made illegal input."""
_ROLES = {role.value: role for role in Role}
_CRASH_NOTES = ("terminate", "frame")
"""Attachments that say where a process died: the last words of the runtime, and the innermost frame of a library."""


@dataclass(frozen=True)
class Demand:
    """A clause that a finding breaks: its id, the half that binds the accused side, and its source with an address, if it has one."""

    id: str
    text: str
    source: str = ""
    url: str = ""


@dataclass(frozen=True)
class Account:
    """A finding with everything that a report tells of it. ``cells`` are titles; ``waived`` counts the results that a waiver covers."""

    finding: Finding
    cells: tuple[str, ...]
    since: Since
    waived: int = 0

    @property
    def status(self) -> str:
        """Whether it is new, known or intended."""
        return presentation.status(self.finding)

    @property
    def ended(self) -> str:
        """How a process was lost; empty where each went on."""
        return presentation.ended(self.finding)

    @cached_property
    def cases(self) -> tuple[str, ...]:
        """The ids of its cases, each once."""
        return self.finding.cases

    @property
    def extent(self) -> str:
        """In how many cases, and in how many cells."""
        return f"{many(len(self.cases), 'case')} in {many(len(self.cells), 'cell')}"

    @property
    def is_waived(self) -> bool:
        """Whether waivers cover all that shows it."""
        return self.waived == len(self.finding.observations)

    @property
    def waived_text(self) -> str:
        """How much of it waivers cover; empty where they cover nothing."""
        return f"{self.waived} of {many(len(self.finding.observations), 'result')} waived" if self.waived else ""

    @property
    def partners(self) -> tuple[str, ...]:
        """The other libraries, by title."""
        return tuple(title(name) for name in self.finding.partners)

    @cached_property
    def places(self) -> tuple[str, ...]:
        """``DLPack on cuda`` and the like, each once."""
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
        """The attachments of the smallest case; evidence of a crash from the first case that has it."""
        found = dict(self.finding.smallest.notes)
        for name in _CRASH_NOTES:
            told = next((text for o in self.finding.observations if (text := o.notes.get(name))), "")
            if told:
                found.setdefault(name, told)
        return found

    @property
    def crash_notes(self) -> list[tuple[str, str]]:
        """Evidence of a crash, each piece under its name for people."""
        return [(NOTES[name], self.notes[name]) for name in _CRASH_NOTES if self.notes.get(name)]

    @property
    def why(self) -> str:
        """How the accused was found, in a sentence without its end; empty where nobody noted it."""
        told = self.finding.smallest.why
        if self.finding.library == UNKNOWN:
            return (
                f"the evidence decides nothing: {told}"
                if told
                else "the evidence does not decide which side is at fault"
            )
        return told


def accounts(run: RunFile, found: list[Finding], waived: Mapping[Spot, str]) -> list[Account]:
    """One for each finding, in the order of reports: by library, the most serious first."""
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
    """The accused library above its findings."""
    return "Not known" if library == UNKNOWN else title(library)


def versions(finding: Finding) -> str:
    """The versions of the accused library in the run."""
    return ", ".join(f"{name} {version}" for name, version in finding.versions.items())


def _demand(id: str, role: Role | None) -> Demand:
    try:
        found = clauses.clause(id)
    except KeyError:
        return Demand(id, "")
    text = demand(id, role).removeprefix(f"{id}: ")
    return Demand(id, text, found.documents, next(iter(found.urls), ""))
