"""The summary in Markdown: for the page of a job, a pull request, a chat. At most as long as GitHub shows.

Nothing from outside is markup in it: every sign that Markdown or HTML could take for its own is written as a character reference, and
whatever was raised or said stands in a ``<code>`` element, where GitHub looks for neither names of people nor numbers of issues.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from conformance.report.screen import many
from conformance.suite.catalogue import catalogue
from conformance.verdict import Verdict
from conformance.verdicts import gate
from conformance.verdicts.model import RunFile

from .coverage import Reason, counts, headline, untested
from .grid import Field, grid, shown
from .kinds import Kind, kinds
from .subject import Subject, origin
from .words import LEGEND, SIGNS, line, seen_in_short

MOST_BYTES = 1_000_000
"""GitHub shows a summary of up to 1 MiB, and none that is larger."""
_RESERVE = 2_000
"""Bytes that are kept for saying how much did not fit."""
MOST_ROWS = 60
MOST_NAMES = 6
_SECTIONS = ((Verdict.VIOLATES, "Violations"), (Verdict.DEVIATES, "Deviations"), (Verdict.UNDECIDED, "Not decided"), (Verdict.LOST, "Lost"))  # fmt: skip
_MARKUP = re.compile(r"[^\w ,;–—→✓✗∅·…-]|_")


def escaped(text: str, most: int = 400) -> str:
    """One line that is only text, whatever it holds."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", line(text, most))


def code(text: str, most: int = 400) -> str:
    """The same as code."""
    return f"<code>{escaped(text, most)}</code>"


def markdown(subject: Subject) -> str:
    """The whole summary. What does not fit any more is counted at its end."""
    kept: list[str] = []
    left, dropped = MOST_BYTES - _RESERVE, 0
    for block in _blocks(subject):
        size = len(block.encode())
        if size > left or dropped:
            dropped += 1
            continue
        kept.append(block)
        left -= size
    if dropped:
        kept.append(f"\n**{many(dropped, 'more entry', 'more entries')} did not fit; index.html has them all.**\n")
    return "".join(kept)


def _blocks(subject: Subject) -> Iterator[str]:
    run = subject.run
    yield f"# {escaped(headline(subject))}\n\n"
    yield f"Of {', '.join(f'{name} {code(value)}' for name, value in origin(run))}\n\n"
    yield from _counts(run)
    yield from _untested(run)
    yield from _gate(subject)
    yield from _grid(run)
    found = kinds(run, frozenset(state for state, _ in _SECTIONS), subject.waived())
    for state, title in _SECTIONS:
        yield from _kinds([kind for kind in found if kind.verdict is state], title)


def _counts(run: RunFile) -> Iterator[str]:
    found = counts(run)
    yield "| " + " | ".join(f"{sign.symbol} {state.word}" for state, sign in SIGNS.items()) + " |\n"
    yield "|" + "---:|" * len(SIGNS) + "\n"
    yield "| " + " | ".join(str(found[state]) for state in SIGNS) + " |\n\n"


def _untested(run: RunFile) -> Iterator[str]:
    missing = untested(run)
    if not missing:
        yield "Everything that was planned was tested and decided.\n\n"
        return
    yield "> [!WARNING]\n> **Not tested: this run proves nothing about**\n"
    yield from (
        _reason(reason, f"{many(len(reason.cells), 'cell')} {escaped(reason.what)}") for reason in missing.cells
    )
    yield from (
        _reason(reason, f"{escaped(reason.what)}, which could not be used in {many(len(reason.cells), 'cell')}")
        for reason in missing.libraries
    )
    if missing.lost:
        yield f"> - {many(missing.lost, 'case')} lost: planned, and there is no outcome\n"
    if missing.undecided:
        yield f"> - {many(missing.undecided, 'case')} not decided: they ran, and nobody can say what they mean\n"
    yield "\n"


def _reason(reason: Reason, what: str) -> str:
    return f"> - {what}: {code(reason.why)} ({listed(reason.cells)})\n"


def listed(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - MOST_NAMES} more" if len(every) > MOST_NAMES else ""
    return ", ".join(escaped(name, 80) for name in every[:MOST_NAMES]) + more


def _gate(subject: Subject) -> Iterator[str]:
    if subject.judgement is None:
        return
    yield "## Gate\n\n| remark | counts | waived |\n|---|---:|---:|\n"
    for kind, (number, waived) in gate.counts(subject.remarks).items():
        if number:
            yield f"| {escaped(kind.word)} | {number - waived} | {waived} |\n"
    yield "\n"
    yield from (f"- {escaped(f.kind.word)}: {escaped(f.sentence)}\n" for f in subject.remarks if f.exit and not f.case)
    yield "\n"


def _grid(run: RunFile) -> Iterator[str]:
    whole = grid(run)
    if not whole.rows:
        return
    yield "## Cells and libraries\n\n"
    if whole.common:
        yield f"All cells: {escaped(whole.common, 200)}\n\n"
    yield "| cell | " + " | ".join(escaped(name) for name in whole.libraries) + " |\n"
    yield "|---|" + "---|" * len(whole.libraries) + "\n"
    for row in whole.rows[:MOST_ROWS]:
        alike = f" and {len(row.titles) - 1} alike" if len(row.titles) > 1 else ""
        yield f"| {escaped(row.titles[0], 80)}{alike} | " + " | ".join(_field(field) for field in row.fields) + " |\n"
    if len(whole.rows) > MOST_ROWS:
        more = sum(len(row.titles) for row in whole.rows[MOST_ROWS:])
        yield f"\n{many(more, 'more cell')} with fewer violations not in this table.\n"
    yield f"\n{LEGEND}   · not tested\n\n"


def _field(field: Field) -> str:
    return " ".join(f"{SIGNS[state].symbol}{number}" for state, number in shown(field)) or "·"


def _kinds(found: Sequence[Kind], title: str) -> Iterator[str]:
    if not found:
        return
    yield f"## {title}: {many(sum(kind.cases for kind in found), 'case')}, {many(len(found), 'kind')}\n\n"
    for kind in found:
        yield _kind(kind)
    yield "\n"


def _kind(kind: Kind) -> str:
    known = catalogue().get(kind.invariant)
    promised = f"\n  Promised: {escaped(known.statement)}" if known else ""
    clauses = f" ({', '.join(escaped(name) for name in kind.evidence.clauses)})" if kind.evidence.clauses else ""
    waived = f", {kind.waived} waived" if kind.waived else ""
    return (
        f"- {SIGNS[kind.verdict].symbol} **{escaped(kind.invariant)}**: {escaped(kind.where(), 600)}{promised}{clauses}  \n"
        f"  Seen: {code(seen_in_short(kind.evidence), 600)}  \n"
        f"  In {many(len(kind.cells), 'cell')} ({listed(kind.cells)}), {many(kind.cases, 'case')}{waived}; {code(kind.case)}\n"
    )
