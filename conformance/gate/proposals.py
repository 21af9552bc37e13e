"""Propose waivers for the failures of a judgement. A person completes and answers for them. Pure functions."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta

import yaml
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from conformance.console.screen import harmless, many
from conformance.exits import UserError
from conformance.runs import observations
from conformance.runs.model import CellResult, Place, RunFile, place
from conformance.runs.observations import Spot
from conformance.runs.remarks import Judgement
from conformance.runs.trust import is_trusted
from conformance.verdict import Verdict
from conformance.wildcards import STAR

from . import waivers
from .waiver_file import MOST_DAYS, TO_FILL_IN, TOP
from .waivers import COVERABLE, Coverage, Waiver, version

_NOT_IN_ID = re.compile(r"[^a-z0-9._-]+")
_REFERENCE = "reference"
_LINE = "cuda"
_FEW = 4
"""Maximum number of cells in a comment; the others are counted."""
_HEAD = f"""\
# Proposed from a run; not in effect. Read each waiver, replace each {TO_FILL_IN}, and copy it to waivers.yaml.
# Waive only failures that have an owner. Fix the others, or let the gate fail.
"""


@dataclass(frozen=True)
class Proposal:
    """Failures that one waiver would cover: those of one finding, or similar refusals of one invariant, pair and protocol.

    ``elsewhere`` are cells that the waiver must not apply to. ``narrow`` says that it must list its cases beside its finding.
    """

    finding: str
    at: Place
    outcome: str
    code: str
    cases: tuple[str, ...]
    cells: tuple[CellResult, ...]
    elsewhere: tuple[CellResult, ...]
    narrow: bool


def proposals(found: Judgement, given: Sequence[Waiver], today: date) -> list[Proposal]:
    """Return one proposal for each finding that counts against the run and that no waiver covers yet."""
    return _Proposing(
        found, waivers.coverage(found.run, given, today, observations.by_spot(found.findings))
    ).proposals()


class _Proposing:
    """A judgement, and the coverage of the existing waivers."""

    def __init__(self, found: Judgement, covered: Coverage) -> None:
        self.run = found.run
        self.remarks = found.remarks
        self.covered = covered
        self.tested = [cell for cell in found.run.cells if is_trusted(cell)]
        before = observations.findings(found.baseline) if found.baseline else ()
        self.spots: dict[str, set[Spot]] = defaultdict(set)
        self.cases: dict[str, set[str]] = defaultdict(set)
        for finding in found.findings:
            self.spots[finding.id].update((o.cell, o.case) for o in finding.observations)
        for finding in (*found.findings, *before):
            self.cases[finding.id].update(finding.cases)

    def proposals(self) -> list[Proposal]:
        """Return all proposals, findings last."""
        of_finding: dict[str, set[Spot]] = defaultdict(set)
        of_exchange: dict[tuple[str, ...], set[Spot]] = defaultdict(set)
        for remark in self.remarks:
            if remark.exit and remark.kind in COVERABLE and remark.case and remark.evidence is not None:
                at, evidence, spot = place(remark.case), self.run.evidence[remark.evidence], (remark.cell, remark.case)
                for finding in self.covered.left(spot) if remark.findings else ():
                    of_finding[finding].add(spot)
                if not remark.findings and evidence.verdict is not Verdict.OBSERVED:
                    of_exchange[at.invariant, at.who, at.protocol, evidence.outcome, evidence.code].add(spot)
        exchanges = [(key, spots) for key, members in sorted(of_exchange.items()) for spots in self.apart(members)]
        findings = [one for finding, spots in sorted(of_finding.items()) for one in self.of_finding(finding, spots)]
        return [*(self.of_cases("", key[-2], key[-1], spots) for key, spots in exchanges), *findings]

    def of_finding(self, finding: str, spots: set[Spot]) -> list[Proposal]:
        """Return one proposal for all cases of a finding; if a waiver covers some in the same cells, narrow ones for the rest."""
        taken = {spot for spot in self.spots[finding] if finding not in self.covered.left(spot)}
        cells = {cell for cell, _ in spots}
        others = {cell for cell, _ in taken}
        if others & cells:
            return [self.of_cases(finding, "", "", together, taken) for together in _by_cells(spots)]
        passing = self.passing(self.cases[finding]) - {cell for cell, _ in self.spots[finding]}
        cases = tuple(sorted({case for _, case in spots}))
        return [
            Proposal(finding, place(cases[0]), "", "", cases, self.named(cells), self.named(others | passing), False)
        ]

    def of_cases(
        self, finding: str, outcome: str, code: str, spots: set[Spot], taken: Collection[Spot] = ()
    ) -> Proposal:
        """Return a proposal for these cases only. Another waiver covers the cases in ``taken``."""
        cells, cases = {cell for cell, _ in spots}, {case for _, case in spots}
        elsewhere = (self.passing(cases) | {cell for cell, case in taken if case in cases}) - cells
        return Proposal(
            finding, place(min(cases)), outcome, code, tuple(sorted(cases)), self.named(cells), self.named(elsewhere), True
        )  # fmt: skip

    def apart(self, members: set[Spot]) -> list[set[Spot]]:
        """Keep the cases together, unless a case conforms in a cell in which another one does not."""
        passing = self.passing({case for _, case in members})
        return _by_cells(members) if passing & {cell for cell, _ in members} else [members]

    def passing(self, cases: Collection[str]) -> set[str]:
        """Return the names of the cells in which one of these cases conforms."""
        conforms = Verdict.CONFORMS.letter
        return {
            cell.name
            for cell in self.tested
            if any(letter == conforms and case in cases for case, letter in zip(self.run.cases(cell), cell.states))
        }

    def named(self, names: Collection[str]) -> tuple[CellResult, ...]:
        """Return the cells with these names, in the order of their names."""
        return tuple(cell for cell in self.tested if cell.name in names)


def _by_cells(members: Collection[Spot]) -> list[set[Spot]]:
    """Group the cases by the set of cells that they are in."""
    cells: dict[str, set[str]] = defaultdict(set)
    for cell, case in sorted(members, key=lambda spot: spot[1]):
        cells[case].add(cell)
    found: dict[frozenset[str], set[Spot]] = defaultdict(set)
    for case, of_case in cells.items():
        found[frozenset(of_case)] |= {(cell, case) for cell in of_case}
    return list(found.values())


def bounds(proposal: Proposal) -> dict[str, str]:
    """Return version bounds for the libraries involved and CUDA; others only where these do not separate the cells."""
    accused = proposal.finding.partition("/")[0]
    names = [accused] if accused else [name for name in proposal.at.libraries if name != _REFERENCE]
    found = {name: _bound(name, proposal) for name in dict.fromkeys((*names, _LINE))}
    found = {name: bound for name, bound in found.items() if bound}
    left = _within(proposal.elsewhere, found)
    for name in _others(proposal.cells) if left or not found else ():
        bound = _bound(name, proposal)
        fewer = _within(left, {name: bound}) if bound else left
        if bound and (not found or len(fewer) < len(left)):
            found[name], left = bound, fewer
    return found or {"python": TO_FILL_IN}


def _others(cells: Iterable[CellResult]) -> dict[str, None]:
    """Return the other names that can separate cells: Python, then libraries, then axes without a library."""
    libraries = [name for cell in cells for name in cell.holds]
    axes = [name for cell in cells for name in cell.axes if name not in cell.holds.values()]
    return dict.fromkeys(("python", *libraries, *axes))


def _bound(name: str, proposal: Proposal) -> str:
    """Return a bound from the oldest to the newest failing version, without the versions that pass; empty without valid versions."""
    try:
        seen = _versions(name, proposal.cells)
    except ValueError:
        return ""
    if not seen:
        return ""
    if len(seen) == 1:
        return f"=={seen[0]}"
    between = [v for v in _known(name, proposal.elsewhere) if seen[0] < v < seen[-1] and v not in seen]
    return ",".join([f">={seen[0]}", f"<={seen[-1]}", *(f"!={version}" for version in between)])


def _versions(name: str, cells: Iterable[CellResult]) -> list[Version]:
    return sorted({Version(Version(version(cell, name)).public) for cell in cells})


def _known(name: str, cells: Iterable[CellResult]) -> list[Version]:
    """Return the versions of a library in the cells that have a valid one."""
    found: set[Version] = set()
    for cell in cells:
        with suppress(ValueError):
            found.update(_versions(name, [cell]))
    return sorted(found)


def _within(cells: Iterable[CellResult], found: Mapping[str, str]) -> tuple[CellResult, ...]:
    """Return the cells that satisfy these bounds."""
    where = [(name, SpecifierSet(bound)) for name, bound in found.items()]
    return tuple(cell for cell in cells if waivers.is_within(cell, where))


def patterns(proposal: Proposal, run: RunFile) -> list[str]:
    """Return one pattern for all cases of an exchange if each of them fails in this way, else the case ids."""
    at = proposal.at
    if proposal.finding:
        return list(proposal.cases)
    beginning = f"{at.invariant}/{at.who}/{at.protocol}/"
    planned = {case for plan in run.plans for case in plan if case.startswith(beginning)}
    return [beginning + STAR] if len(planned) > 1 and planned == set(proposal.cases) else list(proposal.cases)


def text(found: Judgement, given: Sequence[Waiver], today: date) -> str:
    """Return the text of the proposed file. ``given`` are the existing waivers, whose ids are taken."""
    parts = [_HEAD, f"{TOP}:\n"]
    ids = {waiver.id for waiver in given}
    sentences = {one.id: one.sentence for one in found.findings}
    proposed = proposals(found, given, today)
    for proposal in proposed:
        id = _id(proposal, ids)
        ids.add(id)
        seen = f"{many(len(proposal.cases), 'case')} in {many(len(proposal.cells), 'cell')}"
        titles = ", ".join(cell.title for cell in proposal.cells[:_FEW])
        more = f" and {len(proposal.cells) - _FEW} more" if len(proposal.cells) > _FEW else ""
        parts += [_comment(sentences[proposal.finding])] if proposal.finding else []
        parts += [_comment(f"{seen}: {titles}{more}"), _written(_waiver(proposal, id, found.run, today))]
    return "".join(parts if proposed else [_HEAD, f"{TOP}: []\n"])


def _comment(text: str) -> str:
    return f"# {' '.join(harmless(text).split())}\n"


def _written(waiver: dict[str, object]) -> str:
    """Return the waiver as YAML. Control characters are escaped; so are line breaks that PyYAML would write raw and read as spaces."""
    readable, escaped = (
        yaml.safe_dump([waiver], sort_keys=False, allow_unicode=unicode, width=120) for unicode in (True, False)
    )
    return readable if harmless(readable) == readable else escaped


def _id(proposal: Proposal, taken: Collection[str]) -> str:
    at = proposal.at
    told = proposal.finding or f"{at.invariant}-{at.who}-{at.protocol}-{proposal.outcome}"
    base = _NOT_IN_ID.sub("-", told.lower())
    number = 1
    while (id := base if number == 1 else f"{base}-{number}") in taken:
        number += 1
    return id


def _expires(today: date) -> date:
    if date.max - today < timedelta(MOST_DAYS):
        raise UserError(
            f"--today: a waiver opened on {today} cannot expire {MOST_DAYS} days later, because that date does not exist; give an earlier day"
        )
    return today + timedelta(MOST_DAYS)


def _waiver(proposal: Proposal, id: str, run: RunFile, today: date) -> dict[str, object]:
    names = patterns(proposal, run) if proposal.narrow else []
    covers = {
        "finding": proposal.finding,
        "cases": names[0] if len(names) == 1 else names,
        "outcome": proposal.outcome,
        "code": proposal.code,
    }
    return {
        "id": id,
        "owner": f"{TO_FILL_IN}: person or team responsible",
        "reason": f"{TO_FILL_IN}: why it is acceptable until then",
        "link": f"{TO_FILL_IN}: address of the issue",
        "opened": today.isoformat(),
        "expires": _expires(today).isoformat(),
        "where": bounds(proposal),
        **{key: value for key, value in covers.items() if value},
    }
