"""Waivers proposed from what a gate found, for a person to read, to fill in, and to answer for. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import yaml
from packaging.version import InvalidVersion, Version

from conformance.exits import UserError
from conformance.report.screen import harmless, many
from conformance.wildcards import STAR

from .model import CellResult, Place, RunFile, place
from .remarks import Judgement, Remark
from .waiver_file import MOST_DAYS, OUTCOMES, TO_FILL_IN, TOP
from .waivers import COVERABLE, version

_NOT_IN_ID = re.compile(r"[^a-z0-9._-]+")
_REFERENCE = "reference"
_LINE = "cuda"
_HEAD = f"""\
# Proposed from a run, and used by nobody yet: read each waiver, fill in what says {TO_FILL_IN}, and put it into waivers.yaml.
# A waiver is for a failure that somebody looks after; what is nobody's is better mended or left red.
"""


@dataclass(frozen=True)
class Proposal:
    """Failures that one waiver would cover: those of one finding; or refusals of one invariant, pair and protocol."""

    finding: str
    at: Place
    outcome: str
    cases: tuple[str, ...]
    cells: tuple[CellResult, ...]


def proposals(found: Judgement) -> list[Proposal]:
    """What counts against the run and can be waived, put together: one proposal a finding."""
    groups: dict[tuple[str, ...], list[Remark]] = defaultdict(list)
    for remark in found.remarks:
        if remark.exit and remark.kind in COVERABLE and remark.case and remark.evidence is not None:
            at, evidence = place(remark.case), found.run.evidence[remark.evidence]
            if remark.findings:
                groups[(remark.findings[0],)].append(remark)
            elif evidence.outcome in OUTCOMES:
                groups["", at.invariant, at.who, at.protocol, evidence.outcome].append(remark)
    cells = found.run.by_name()
    return [
        Proposal(
            key[0], place(of[0].case), key[-1] if not key[0] else "", tuple(sorted({f.case for f in of})),
            tuple(cells[name] for name in sorted({f.cell for f in of})),
        )
        for key, of in sorted(groups.items())
    ]  # fmt: skip


def bounds(proposal: Proposal) -> dict[str, str]:
    """The versions that it was seen with: of the libraries that take part, and of CUDA."""
    accused = proposal.finding.partition("/")[0]
    names = [accused] if accused else [name for name in proposal.at.libraries if name != _REFERENCE]
    found = {name: _bound(version(cell, name) for cell in proposal.cells) for name in dict.fromkeys((*names, _LINE))}
    known = {name: bound for name, bound in found.items() if bound}
    return known or {"python": _bound(version(cell, "python") for cell in proposal.cells) or TO_FILL_IN}


def _bound(versions: Iterable[str]) -> str:
    """From the oldest to the newest of these; empty where one of them is no version."""
    try:
        seen = sorted({Version(Version(text).public) for text in versions})
    except InvalidVersion:
        return ""
    if not seen:
        return ""
    return f"=={seen[0]}" if len(seen) == 1 else f">={seen[0]},<={seen[-1]}"


def patterns(proposal: Proposal, run: RunFile) -> list[str]:
    """All cases of the exchange by one pattern where each of them fails so, else their ids."""
    at = proposal.at
    beginning = f"{at.invariant}/{at.who}/{at.protocol}/"
    planned = {case for cell in proposal.cells for case in run.cases(cell) if case.startswith(beginning)}
    return [beginning + STAR] if len(planned) > 1 and planned == set(proposal.cases) else list(proposal.cases)


def text(found: Judgement, taken: Collection[str], today: date) -> str:
    """The file; ``taken`` are ids that there are already."""
    parts = [_HEAD, f"{TOP}:\n"]
    ids = set(taken)
    proposed = proposals(found)
    for proposal in proposed:
        id = _id(proposal, ids)
        ids.add(id)
        seen = f"{many(len(proposal.cases), 'case')} in {many(len(proposal.cells), 'cell')}"
        parts.append(f"# {seen}: {', '.join(' '.join(harmless(cell.title).split()) for cell in proposal.cells[:4])}\n")
        parts.append(_written(_waiver(proposal, id, found.run, today)))
    return "".join(parts if proposed else [_HEAD, f"{TOP}: []\n"])


def _written(waiver: dict[str, object]) -> str:
    """As YAML; what acts instead of being seen is escaped, and so are line breaks that PyYAML would write as they are and read as blanks."""
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
            f"--today: a waiver that is opened on {today} cannot expire {MOST_DAYS} days later, for there is no such day; give an earlier one"
        )
    return today + timedelta(MOST_DAYS)


def _waiver(proposal: Proposal, id: str, run: RunFile, today: date) -> dict[str, object]:
    covers: dict[str, object] = {"finding": proposal.finding}
    if not proposal.finding:
        cases: Sequence[str] = patterns(proposal, run)
        covers = {"cases": cases[0] if len(cases) == 1 else list(cases), "outcome": proposal.outcome}
    return {
        "id": id,
        "owner": f"{TO_FILL_IN}: who looks after it",
        "reason": f"{TO_FILL_IN}: why it is acceptable until then",
        "link": f"{TO_FILL_IN}: where it is dealt with",
        "opened": today.isoformat(),
        "expires": _expires(today).isoformat(),
        "where": bounds(proposal),
        **covers,
    }
