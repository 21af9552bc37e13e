"""Terminal output of ``publish``: findings by accused library, untested items, cells × libraries, and the gate."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby

from conformance.console.screen import Screen, many
from conformance.console.wording import core
from conformance.exits import Exit
from conformance.gate import judgement
from conformance.runs.model import RunFile
from conformance.runs.remarks import Remark
from conformance.verdict import LEGEND, Verdict

from .coverage import Reason, Untested, counts, gate_line, headline, untested
from .finding_accounts import NO_DEMAND, Account, heading, versions
from .grid import Field, grid, shown
from .subject import Subject, origin
from .words import expected_and_seen, line

MOST_ROWS = 40
MOST_NAMES = 4
MOST_PARTNERS = 5
MOST_FINDINGS = 60
MOST_REMARKS = 12


def show(screen: Screen, subject: Subject, out: str) -> None:
    """Print the report. ``out`` is the path of the HTML page."""
    run = subject.run
    _head(screen, subject)
    _findings(screen, subject.accounts)
    _untested(screen, untested(run))
    _table(screen, run)
    _gate(screen, subject)
    _sum(screen, run, out)


def _head(screen: Screen, subject: Subject) -> None:
    run = subject.run
    screen.wrapped(headline(subject), "", "bold")
    if subject.judgement:
        screen.line(screen.paint(gate_line(subject), "bold", _colour(subject.judgement.exit)))
    screen.wrapped(", ".join(f"{name} {line(value)}" for name, value in origin(run)), "")
    screen.line()


# -- cells × libraries


def _table(screen: Screen, run: RunFile) -> None:
    whole = grid(run)
    if not whole.rows:
        return
    rows = [(_label(row.titles), [_field(field) for field in row.fields]) for row in whole.rows[:MOST_ROWS]]
    if whole.common:
        screen.wrapped(f"all cells: {line(whole.common, 200)}", "")
    names = [line(name, 20) for name in whole.libraries]
    widths = [max(len(name), *(len(row[n][0]) for _, row in rows)) + 2 for n, name in enumerate(names)]
    longest = max(len("cell"), *(len(label) for label, _ in rows))
    first = min(longest, max(screen.width * 45 // 100, 16)) + 2
    for columns in _folded(widths, max(screen.width - first, 1)):
        header = "".join(f"{names[n]:<{widths[n]}}" for n in columns)
        screen.line(screen.paint(f"{'cell':<{first}}{header}".rstrip(), "bold"))
        for label, row in rows:
            fields = "".join(screen.paint(f"{row[n][0]:<{widths[n]}}", row[n][1]) for n in columns)
            screen.line(f"{_shortened(label, first - 2):<{first}}{fields}".rstrip())
        screen.line()
    if len(whole.rows) > MOST_ROWS:
        more = sum(len(row.titles) for row in whole.rows[MOST_ROWS:])
        screen.line(f"and {many(more, 'cell')} with fewer violations, not in this table")
    screen.entries(f"{LEGEND}   · not tested")
    screen.wrapped(
        "a failure counts only for the accused library; every other case counts for each of its libraries", ""
    )
    screen.line()


def _field(field: Field) -> tuple[str, str]:
    """Return text and colour of a field."""
    told = shown(field)
    if not told:
        return "·", "dim"
    return " ".join(f"{verdict.symbol}{number}" for verdict, number in told), told[0][0].colour


def _label(titles: Sequence[str]) -> str:
    first = line(titles[0], 60)
    return first if len(titles) == 1 else f"{first} and {len(titles) - 1} alike"


def _shortened(label: str, most: int) -> str:
    """Shorten the middle of a label, because its end has the number of cells."""
    return label if len(label) <= most else f"{label[: most - 12]}…{label[-11:]}"


def _folded(widths: Sequence[int], room: int) -> list[list[int]]:
    """Split columns into as many parts as the screen width needs."""
    parts: list[list[int]] = [[]]
    used = 0
    for number, width in enumerate(widths):
        if parts[-1] and used + width > room:
            parts.append([])
            used = 0
        parts[-1].append(number)
        used += width
    return parts


# -- what was not tested


def _untested(screen: Screen, missing: Untested) -> None:
    if not missing:
        screen.line(screen.paint("Every planned case was tested and decided.", "green"))
        screen.line()
        return
    screen.line(screen.paint("NOT TESTED: this run proves nothing about", "bold", "yellow"))
    for reason in missing.cells:
        _reason(screen, "–", f"{many(len(reason.cells), 'cell')} {line(reason.what)}", reason)
    for reason in missing.libraries:
        _reason(screen, "–", f"{line(reason.what)} in {many(len(reason.cells), 'cell')}", reason)
    if missing.lost:
        screen.wrapped(f"{Verdict.LOST.symbol} {many(missing.lost, 'case')} lost: planned, but without a result", "  ")
    if missing.undecided:
        told = f"{many(missing.undecided, 'case')} not decided: they ran, but their checks were inconclusive"
        screen.wrapped(f"{Verdict.UNDECIDED.symbol} {told}", "  ")
    screen.line()


def _reason(screen: Screen, sign: str, what: str, reason: Reason) -> None:
    screen.wrapped(f"{sign} {what} ({listed(reason.cells)}): {line(reason.why)}", "  ")


def listed(names: Iterable[str]) -> str:
    """Return the first names and the number of the others."""
    every = [line(name, 80) for name in names]
    more = f" and {len(every) - MOST_NAMES} more" if len(every) > MOST_NAMES else ""
    return ", ".join(every[:MOST_NAMES]) + more


# -- findings


def _findings(screen: Screen, found: Sequence[Account]) -> None:
    """Print findings by accused library, the most serious first; deviations are only counted."""
    told = [account for account in found if account.finding.verdict is not Verdict.DEVIATES][:MOST_FINDINGS]
    for library, members in groupby(found, key=lambda account: account.finding.library):
        _library(screen, library, list(members), told)
    left = sum(account.finding.verdict is not Verdict.DEVIATES for account in found) - len(told)
    if left > 0:
        screen.line(f"and {many(left, 'more finding')}: see the page")
        screen.line()


def _library(screen: Screen, library: str, members: Sequence[Account], told: Sequence[Account]) -> None:
    deviations = sum(account.finding.verdict is Verdict.DEVIATES for account in members)
    shown_here = [account for account in members if account in told]
    if not (deviations or shown_here):
        return
    screen.line(
        screen.paint(line(heading(library)), "bold") + screen.paint(f"  {line(versions(members[0].finding))}", "dim")
    )
    for account in shown_here:
        _finding(screen, account)
    if deviations:
        screen.line(f"  {Verdict.DEVIATES.symbol} {many(deviations, 'deviation')}: see the page")
    screen.line()


def _finding(screen: Screen, account: Account) -> None:
    finding, seen = account.finding, account.finding.smallest
    verdict = finding.verdict
    first, *rest = _folded_text(f"{verdict.symbol} {line(finding.sentence)}", screen.width - 4)
    for text in (f"  {first}", *(f"    {text}" for text in rest)):
        screen.line(screen.paint(text, verdict.colour, *(("bold",) if account.ended else ())))
    screen.wrapped(_about(account), "    ")
    screen.wrapped(_demanded(account), "    ")
    screen.wrapped(f"Observed: {line(seen.reason)}{expected_and_seen(seen.expected, seen.seen)}", "    ")
    for label, text in account.crash_notes:
        screen.wrapped(f"{label}: {line(text)}", "    ")
    screen.wrapped(f"Attribution: {line(account.why)}" if account.why else "", "    ")
    screen.line(screen.paint(f"    {line(finding.id)}", "dim"))
    screen.line(screen.paint(f"    python -m conformance repro {line(seen.case)}", "dim"))


def _about(account: Account) -> str:
    """Return status, extent and versions on one line."""
    partners = account.partners
    more = f" and {len(partners) - MOST_PARTNERS} more" if len(partners) > MOST_PARTNERS else ""
    with_ = f" with {', '.join(partners[:MOST_PARTNERS])}{more}" if partners else ""
    parts = (account.ended, account.status, account.waived_text, account.extent + with_, ", ".join(account.places))
    return line("; ".join(part for part in (*parts, str(account.since)) if part), 1000)


def _demanded(account: Account) -> str:
    if not account.demands:
        return NO_DEMAND if account.finding.verdict is Verdict.ROBUSTNESS else ""
    return f"Required: {' '.join(line(f'{one.id}: {one.text}', 1000) for one in account.demands)}"


def _folded_text(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 40), break_long_words=False, break_on_hyphens=False) or [""]


# -- the gate and the sum


def _gate(screen: Screen, subject: Subject) -> None:
    if subject.judgement is None:
        return
    count = judgement.counts(subject.remarks)
    found = ", ".join(f"{number - waived} {kind.word}" for kind, (number, waived) in count.items() if number > waived)
    covered = sum(waived for _, waived in count.values())
    colour = _colour(subject.judgement.exit)
    screen.line(screen.paint("Gate: ", "bold", colour) + f"{found or 'no remarks'}; {covered} waived")
    sentences = _sentences(subject)
    for (kind, _), places in list(sentences.items())[:MOST_REMARKS]:
        screen.wrapped(f"{kind}: {line(places[0].sentence)}{_at(places)}", "  ")
    more = len(sentences) - MOST_REMARKS
    if more > 0:
        screen.line(f"  and {many(more, 'other sentence')}: see the page, or `python -m conformance gate`")
    screen.line()


def _colour(code: Exit) -> str:
    return "green" if code is Exit.OK else "red"


def _sentences(subject: Subject) -> dict[tuple[str, str], list[Remark]]:
    """Return the remarks that count, by kind, without duplicate sentences."""
    found: dict[tuple[str, str], list[Remark]] = {}
    for remark in subject.remarks:
        if remark.exit is not Exit.OK:
            found.setdefault((remark.kind.word, core(remark.sentence)), []).append(remark)
    return found


def _at(places: Sequence[Remark]) -> str:
    """Return the first place of a remark and the number of the others."""
    first = " ".join(line(name) for name in (places[0].case, places[0].cell and f"in {places[0].cell}") if name)
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return f" ({first}{more})" if first else ""


def _sum(screen: Screen, run: RunFile, out: str) -> None:
    count = counts(run)
    told = ", ".join(f"{number} {verdict.word}" for verdict in Verdict if (number := count[verdict]))
    screen.wrapped(f"{many(sum(count.values()), 'case')} in {many(len(run.cells), 'cell')}: {told or 'none'}", "")
    screen.line(f"full report: {out}")
