"""Summary in Markdown for job pages, pull requests and chats, within GitHub's size limit.

Text from outside is never markup. Each character with a meaning in Markdown or HTML is written as a character reference. Messages of
libraries are in ``<code>`` elements, in which GitHub links no mentions and no issue numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from conformance.checks import call_table
from conformance.console.screen import many
from conformance.gate import judgement
from conformance.runs.model import RunFile
from conformance.verdict import LEGEND, Verdict

from .coverage import Reason, counts, gate_line, headline, untested
from .finding_accounts import NO_DEMAND, Account, Demand, heading, versions
from .grid import Field, grid, shown
from .run_call_tables import call_tables
from .subject import Subject, origin
from .undecided import Alike, undecided
from .words import expected_and_seen, line, seen_in_short

MOST_BYTES = 1_000_000
"""Maximum size in bytes: GitHub does not show summaries above 1 MiB."""
_RESERVE = 2_000
"""Bytes reserved for the sentence that counts omitted entries."""
MOST_ROWS = 60
MOST_NAMES = 6
_SECTIONS = {Verdict.UNDECIDED: "Not decided", Verdict.LOST: "Lost"}
_ADDRESS = re.compile(r"[\w./#?=&%+~:-]+")
_MARKUP = re.compile(r"[^\w ,;–—→✓✗∅·…-]|_")


def escaped(text: str, most: int = 400) -> str:
    """Return one line of text with all markup escaped."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", line(text, most))


def code(text: str, most: int = 400) -> str:
    """Return one line as a ``<code>`` element, with all markup escaped."""
    return f"<code>{escaped(text, most)}</code>"


def markdown(subject: Subject) -> str:
    """Return the summary. The last line counts the entries that were omitted for size."""
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
        kept.append(f"\n**{many(dropped, 'more entry', 'more entries')} did not fit; index.html has all of them.**\n")
    return "".join(kept)


def _blocks(subject: Subject) -> Iterator[str]:
    run = subject.run
    yield f"# {escaped(headline(subject))}\n\n"
    if subject.judgement:
        yield f"**{escaped(gate_line(subject))}**\n\n"
    yield f"Of {', '.join(f'{name} {code(value)}' for name, value in origin(run))}\n\n"
    yield from _untested(run)
    yield from _findings(subject.accounts)
    yield from _gate(subject)
    yield from _grid(run)
    yield from _calls(run)
    yield from _counts(run)
    for verdict, found in undecided(run).items():
        yield from _undecided(found, _SECTIONS[verdict])


def _counts(run: RunFile) -> Iterator[str]:
    found = counts(run)
    yield "## Cases by verdict\n\n"
    yield "| " + " | ".join(f"{verdict.symbol} {verdict.word}" for verdict in Verdict) + " |\n"
    yield "|" + "---:|" * len(Verdict) + "\n"
    yield "| " + " | ".join(str(found[verdict]) for verdict in Verdict) + " |\n\n"


# -- findings


def _findings(found: Sequence[Account]) -> Iterator[str]:
    if not found:
        return
    yield "## Findings\n\n"
    for library, members in groupby(found, key=lambda account: account.finding.library):
        accounts = list(members)
        told = versions(accounts[0].finding)
        yield f"### {escaped(heading(library))}{f' ({escaped(told)})' if told else ''}\n\n"
        yield from map(_finding, accounts)
        yield "\n"


def _finding(account: Account) -> str:
    finding, seen = account.finding, account.finding.smallest
    notes = [f"{label}: {code(text, 600)}" for label, text in account.crash_notes]
    lines = [
        f"{finding.verdict.symbol} **{escaped(finding.sentence)}** {_status(account)}",
        escaped("; ".join(part for part in _extent(account) if part), 800),
        _demanded(account),
        f"Observed: {code(f'{seen.reason}{expected_and_seen(seen.expected, seen.seen)}', 1000)}",
        *notes,
        f"Attribution: {escaped(account.why)}" if account.why else "",
        f"Finding {code(finding.id)}, smallest case {code(seen.case)}",
    ]
    return "- " + "  \n  ".join(text for text in lines if text) + "\n"


def _status(account: Account) -> str:
    """Return the status in brackets, with the end of a process first."""
    told = [f"**{account.ended}**" if account.ended else "", _linked(account.status), account.waived_text]
    return f"({'; '.join(text for text in told if text)})"


def _linked(status: str) -> str:
    """Return a status of ours, with its address as a link."""
    before, found, address = status.partition("https://")
    return f"{escaped(before)}<https://{address}>" if found and _ADDRESS.fullmatch(address) else escaped(status)


def _extent(account: Account) -> Iterator[str]:
    yield f"{account.extent} ({_named(account.cells)})"
    yield f"with {', '.join(account.partners)}" if account.partners else ""
    yield ", ".join(account.places)
    yield str(account.since)


def _demanded(account: Account) -> str:
    if not account.demands:
        return NO_DEMAND if account.finding.verdict is Verdict.ROBUSTNESS else ""
    return f"Required: {' '.join(map(_demand, account.demands))}"


def _demand(demand: Demand) -> str:
    told = f"{escaped(demand.id)}: {escaped(demand.text, 1000)}"
    return f"{told} ([{escaped(demand.source)}](<{demand.url}>))" if demand.url else told


# -- the run


def _untested(run: RunFile) -> Iterator[str]:
    missing = untested(run)
    if not missing:
        yield "Every planned case was tested and decided.\n\n"
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
        yield f"> - {many(missing.lost, 'case')} lost: planned, but without a result\n"
    if missing.undecided:
        yield f"> - {many(missing.undecided, 'case')} not decided: they ran, but their checks were inconclusive\n"
    yield "\n"


def _reason(reason: Reason, what: str) -> str:
    return f"> - {what}: {code(reason.why)} ({listed(reason.cells)})\n"


def listed(names: Iterable[str]) -> str:
    """Return the first names and the number of the others."""
    return escaped(_named(names), 1000)


def _named(names: Iterable[str]) -> str:
    every = [line(name, 80) for name in names]
    more = f" and {len(every) - MOST_NAMES} more" if len(every) > MOST_NAMES else ""
    return ", ".join(every[:MOST_NAMES]) + more


def _gate(subject: Subject) -> Iterator[str]:
    if subject.judgement is None:
        return
    yield "## Gate\n\n| remark | counts | waived |\n|---|---:|---:|\n"
    for kind, (number, waived) in judgement.counts(subject.remarks).items():
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
    yield f"\n{escaped(LEGEND)}   · not tested\n\n"
    yield "A failure counts only for the accused library. Every other case counts for each of its libraries.\n\n"


def _calls(run: RunFile) -> Iterator[str]:
    """Yield a section for the tables of calls, each with its cells."""
    found = call_tables(run)
    if not found:
        return
    yield f"## {call_table.HEADING}\n\n"
    for table in found:
        rows = [f"| {escaped(call)} | {' | '.join(words)} |\n" for call, words in table.rows]
        yield (
            f"{escaped(_named(table.titles), 400)}\n\n"
            f"| on {escaped(table.device)} | {' | '.join(map(escaped, table.producers))} |\n"
            f"|---|{'---|' * len(table.producers)}\n" + "".join(rows) + "\n"
        )
    yield "".join(f"- {escaped(told)}\n" for told in call_table.LEGEND.split("   ")) + "\n"


def _field(field: Field) -> str:
    return " ".join(f"{escaped(verdict.symbol)}{number}" for verdict, number in shown(field)) or "·"


def _undecided(found: Sequence[Alike], title: str) -> Iterator[str]:
    if not found:
        return
    yield f"## {title}: {many(sum(alike.cases for alike in found), 'case')}\n\n"
    yield from map(_alike, found)
    yield "\n"


def _alike(alike: Alike) -> str:
    return (
        f"- &#{ord(alike.verdict.symbol)}; **{escaped(alike.invariant)}**: {escaped(alike.where(), 600)}  \n"
        f"  {code(seen_in_short(alike.evidence), 600)}  \n"
        f"  In {many(len(alike.cells), 'cell')} ({listed(alike.cells)}), {many(alike.cases, 'case')}; {code(alike.case)}\n"
    )
