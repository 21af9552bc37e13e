"""The report in the terminal: cells × libraries, what was not tested, and what went wrong, each told once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from conformance.exchanges import cited, core
from conformance.exits import Exit
from conformance.report.screen import Screen, many
from conformance.suite.catalogue import catalogue
from conformance.verdict import Verdict
from conformance.verdicts import gate
from conformance.verdicts.model import RunFile
from conformance.verdicts.remarks import Remark

from .coverage import Reason, Untested, counts, gate_word, headline, untested
from .grid import Field, grid, shown
from .kinds import Kind, kinds
from .subject import Subject, origin
from .words import LEGEND, SIGNS, line, seen_in_short

MOST_ROWS = 40
MOST_NAMES = 4
MOST_KINDS = 60
MOST_FINDINGS = 12
WRONG = frozenset({Verdict.VIOLATES})


def show(screen: Screen, subject: Subject, out: str) -> None:
    """Print it; ``out`` is where the other reports are."""
    run = subject.run
    _head(screen, subject)
    _table(screen, run)
    _untested(screen, untested(run))
    _kinds(screen, kinds(run, WRONG, subject.waived()))
    _gate(screen, subject)
    _sum(screen, run, out)


def _head(screen: Screen, subject: Subject) -> None:
    run = subject.run
    screen.line(screen.paint(headline(subject), "bold"))
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
    first = min(max(len(label) for label, _ in rows), max(screen.width * 45 // 100, 16)) + 2
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
    screen.wrapped(f"{LEGEND}   · not tested", "")
    screen.wrapped("a field: what is wrong where the library has a part; a case counts for each library in it", "")
    screen.line()


def _field(field: Field) -> tuple[str, str]:
    """Text and colour."""
    told = [(SIGNS[state], number) for state, number in shown(field)]
    if not told:
        return "·", "dim"
    return " ".join(f"{sign.symbol}{number}" for sign, number in told), told[0][0].colour


def _label(titles: Sequence[str]) -> str:
    first = line(titles[0], 60)
    return first if len(titles) == 1 else f"{first} and {len(titles) - 1} alike"


def _shortened(label: str, most: int) -> str:
    """The end of a label says how many there are, so its middle goes."""
    return label if len(label) <= most else f"{label[: most - 12]}…{label[-11:]}"


def _folded(widths: Sequence[int], room: int) -> list[list[int]]:
    """Columns in as many parts as the screen needs."""
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
        screen.line(screen.paint("Everything that was planned has been tested and decided.", "green"))
        screen.line()
        return
    screen.line(screen.paint("NOT TESTED: this run proves nothing about", "bold", "yellow"))
    for reason in missing.cells:
        _reason(screen, "!", f"{many(len(reason.cells), 'cell')} {line(reason.what)}", reason)
    for reason in missing.libraries:
        _reason(screen, "–", f"{line(reason.what)} in {many(len(reason.cells), 'cell')}", reason)
    if missing.lost:
        screen.wrapped(f"! {many(missing.lost, 'case')} lost: planned, and there is no outcome", "  ")
    if missing.undecided:
        screen.wrapped(
            f"? {many(missing.undecided, 'case')} not decided: they ran, and nobody can say what they mean", "  "
        )
    screen.line()


def _reason(screen: Screen, sign: str, what: str, reason: Reason) -> None:
    screen.wrapped(f"{sign} {what} ({listed(reason.cells)}): {line(reason.why)}", "  ")


def listed(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    every = [line(name, 80) for name in names]
    more = f" and {len(every) - MOST_NAMES} more" if len(every) > MOST_NAMES else ""
    return ", ".join(every[:MOST_NAMES]) + more


# -- what went wrong


def _kinds(screen: Screen, found: Sequence[Kind]) -> None:
    if not found:
        return
    cases = sum(kind.cases for kind in found)
    screen.line(screen.paint(f"Violations ({many(cases, 'case')}, {many(len(found), 'kind')})", "bold", "red"))
    before = None
    for kind in found[:MOST_KINDS]:
        promise = (kind.invariant, kind.evidence.clauses)
        _kind(screen, kind, promised=promise != before)
        before = promise
    if len(found) > MOST_KINDS:
        screen.line(f"  and {many(len(found) - MOST_KINDS, 'more kind', 'more kinds')}: see the page")
    screen.line()


def _kind(screen: Screen, kind: Kind, *, promised: bool) -> None:
    """What was promised is not said again where the kind before it says it."""
    sign = SIGNS[kind.verdict]
    covered = f" ({kind.waived} of {many(kind.cases, 'case')} waived)" if kind.waived else ""
    screen.line("  " + screen.paint(f"{sign.symbol} {line(kind.invariant)}{covered}", sign.colour))
    screen.wrapped(line(kind.where()), "      ")
    known = catalogue().get(kind.invariant)
    if known and promised:
        screen.wrapped(f"Promised: {known.statement} {line(cited(kind.evidence.clauses), 2000)}".rstrip(), "      ")
    screen.wrapped(f"Seen: {seen_in_short(kind.evidence)}", "      ")
    screen.wrapped(f"In {many(len(kind.cells), 'cell')}, {many(kind.cases, 'case')}: {listed(kind.cells)}", "      ")
    screen.line(screen.paint(f"      python -m conformance check --case {line(kind.case)}", "dim"))


# -- the gate and the sum


def _gate(screen: Screen, subject: Subject) -> None:
    if subject.judgement is None:
        return
    count = gate.counts(subject.remarks)
    code = subject.judgement.exit
    colour = "green" if code is Exit.OK else "red"
    found = ", ".join(f"{number - waived} {kind.word}" for kind, (number, waived) in count.items() if number > waived)
    covered = sum(waived for _, waived in count.values())
    screen.line(
        screen.paint(f"Gate: {gate_word(code)}", "bold", colour) + f" ({found or 'nothing found'}; {covered} waived)"
    )
    sentences = _sentences(subject)
    for (kind, _), places in list(sentences.items())[:MOST_FINDINGS]:
        screen.wrapped(f"{kind}: {line(places[0].sentence)}{_at(places)}", "  ")
    more = len(sentences) - MOST_FINDINGS
    if more > 0:
        screen.line(f"  and {many(more, 'other sentence')}: see the page, or `python -m conformance gate`")
    screen.line()


def _sentences(subject: Subject) -> dict[tuple[str, str], list[Remark]]:
    """What counts, by kind, the same sentence once."""
    found: dict[tuple[str, str], list[Remark]] = {}
    for remark in subject.remarks:
        if remark.exit is not Exit.OK:
            found.setdefault((remark.kind.word, core(remark.sentence)), []).append(remark)
    return found


def _at(places: Sequence[Remark]) -> str:
    """Where it was found first, and how often besides."""
    first = " ".join(line(name) for name in (places[0].case, places[0].cell and f"in {places[0].cell}") if name)
    more = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return f" ({first}{more})" if first else ""


def _sum(screen: Screen, run: RunFile, out: str) -> None:
    count = counts(run)
    told = ", ".join(f"{number} {state.word}" for state in SIGNS if (number := count[state]))
    screen.wrapped(f"{many(sum(count.values()), 'case')} in {many(len(run.cells), 'cell')}: {told or 'none'}", "")
    screen.line(f"the whole: {out}")
