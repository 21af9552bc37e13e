"""Content of the page as one packed block of bytes. Texts, evidence and scripts are stored without duplicates."""

from __future__ import annotations

import json
import zlib
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from conformance.checks.call_table import LEGEND
from conformance.checks.catalogue import catalogue
from conformance.console.wording import duty, way
from conformance.findings.model import Status
from conformance.findings.presentation import SIDES
from conformance.gate import judgement
from conformance.protocols import clauses
from conformance.runs.model import CellResult, Evidence, Place, RunFile, place
from conformance.runs.remarks import Kind, Remark
from conformance.runs.trust import evidence_at
from conformance.verdict import Verdict

from ..coverage import Reason, counts, gate_line, headline, untested
from ..finding_accounts import Account, heading, versions
from ..run_call_tables import call_tables
from ..subject import Subject
from ..words import MEANINGS, NOTES, line, plain
from .packing import Packer

TEXTS = 16_000_000
"""Maximum characters of evidence in a page before compression. With more, each text is cut shorter."""
LENGTHS = (4000, 1200, 400, 120)
"""Maximum lengths of a text that are tried in turn, in characters."""
MOST_REMARKS = 200
"""Maximum number of remarks about more than one case on the page; the others are counted."""
NAME = 160
"""Maximum characters of a cell's name."""
SCRIPTED = frozenset(verdict for verdict in Verdict if verdict.speaks_against) | {Verdict.UNDECIDED}
"""Verdicts whose cases come with scripts."""
CHANGED = (Kind.REGRESSION, Kind.NEW_VIOLATION, Kind.FIXED, Kind.NEW_CASE, Kind.SHRUNK)
"""Kinds of remarks about cases that differ from the baseline."""
_T = TypeVar("_T", bound=Hashable)
_Row = dict[int, int]


class Interned(Generic[_T]):
    """A table that numbers distinct values in the order of their first use."""

    def __init__(self) -> None:
        self._numbers: dict[_T, int] = {}

    def of(self, thing: _T) -> int:
        """Return the number of a value."""
        return self._numbers.setdefault(thing, len(self._numbers))

    def __iter__(self) -> Iterator[_T]:
        return iter(self._numbers)


def packed(subject: Subject) -> bytes:
    """Return the page's content, deflated: a JSON document, the plans, and layers of rows (values, marks, streaks, findings)."""
    run = subject.run
    cases = _Cases(subject)
    values: Interned[tuple[str, int]] = Interned()
    marks: Interned[tuple[str, str, str]] = Interned()
    streaks: Interned[tuple[str, str, int, int]] = Interned()
    shown: Interned[tuple[int, ...]] = Interned()
    rows = Packer()
    for plan in cases.plans:
        rows.stretches(sorted(plan))
    rows.rows(_values(cell, cases, values) for cell in run.cells)
    rows.rows(_marks(subject, cases, marks))
    rows.rows(_streaks(subject, cases, streaks))
    rows.rows(_shown(subject, cases, shown))
    tables: dict[str, list[Any]] = {
        "values": list(values),
        "marks": list(marks),
        "streaks": list(streaks),
        "shown": list(shown),
    }
    whole = Packer()
    whole.block(_json(_document(subject, cases, tables)))
    whole.block(bytes(rows))
    return zlib.compress(bytes(whole), 9)


def _json(document: object) -> bytes:
    return json.dumps(_safe(document), ensure_ascii=False, separators=(",", ":")).encode()


def _safe(told: object) -> object:
    """Return the document with every text made safe. This covers all keys, so that new ones need no extra call."""
    if isinstance(told, str):
        return plain(told)
    if isinstance(told, Mapping):
        return {plain(name): _safe(value) for name, value in told.items()}
    return [_safe(one) for one in told] if isinstance(told, (list, tuple)) else told


# -- cases


class _Cases:
    """Every case that is planned or has a remark of the gate, in the order of ids."""

    def __init__(self, subject: Subject) -> None:
        run = subject.run
        found = {case for plan in run.plans for case in plan} | {f.case for f in subject.remarks if f.case}
        self.ids = sorted(found)
        self.numbers = {case: number for number, case in enumerate(self.ids)}
        self.plans = [[self.numbers[case] for case in plan] for plan in run.plans]


def _values(cell: CellResult, cases: _Cases, values: Interned[tuple[str, int]]) -> _Row:
    plan = cases.plans[cell.plan]
    return {plan[n]: values.of((cell.states[n], index)) for n, index in evidence_at(cell).items()}


def _marks(subject: Subject, cases: _Cases, marks: Interned[tuple[str, str, str]]) -> Iterator[_Row]:
    """Yield, for each cell, the remarks about single cases: kind, verdict before, waiver."""
    by_cell: dict[str, list[Remark]] = {}
    for remark in subject.remarks:
        if remark.case:
            by_cell.setdefault(remark.cell, []).append(remark)
    for cell in subject.run.cells:
        yield {
            cases.numbers[f.case]: marks.of((f.kind.word, f.before.letter if f.before else "", f.waiver))
            for f in by_cell.get(cell.name, ())
        }


def _streaks(subject: Subject, cases: _Cases, streaks: Interned[tuple[str, str, int, int]]) -> Iterator[_Row]:
    by_cell: dict[str, _Row] = {}
    for (cell, case), streak in subject.streaks.items():
        if streak.failing and case in cases.numbers:
            row = by_cell.setdefault(cell, {})
            row[cases.numbers[case]] = streaks.of((streak.began, streak.since, streak.runs, streak.flaps))
    for one in subject.run.cells:
        yield by_cell.get(one.name, {})


def _shown(subject: Subject, cases: _Cases, shown: Interned[tuple[int, ...]]) -> Iterator[_Row]:
    """Yield, for each cell, the findings that each case shows."""
    by_cell: dict[str, _Row] = {}
    for (cell, case), numbers in subject.by_spot.items():
        by_cell.setdefault(cell, {})[cases.numbers[case]] = shown.of(numbers)
    for one in subject.run.cells:
        yield by_cell.get(one.name, {})


# -- the document


def _document(subject: Subject, cases: _Cases, tables: Mapping[str, list[Any]]) -> dict[str, Any]:
    run = subject.run
    texts: Interned[str] = Interned()
    cells = {cell.name: number for number, cell in enumerate(run.cells)}
    most, invariants = longest(run.evidence), _invariants(cases.ids)
    return {
        "run": {"id": run.id, "began": run.began, "suite": run.suite, "tier": run.tier},
        "headline": headline(subject),
        "states": [[v.letter, v.word, v.symbol, v.meaning] for v in Verdict],
        "sides": {side.value: letter for side, letter in SIDES.items()},
        "statuses": [status.value for status in Status],
        "findings": [_finding(account, cases, cells, most) for account in subject.accounts],
        "libraries": _libraries(subject),
        "notes": dict(NOTES),
        "counts": {state.letter: number for state, number in counts(run).items()},
        "untested": _untested(run),
        "gate": _gate(subject),
        "cells": [_cell(cell) for cell in run.cells],
        "calls": [
            [list(t.titles), t.device, list(t.producers), [[call, *words] for call, words in t.rows]]
            for t in call_tables(run)
        ],
        "callsLegend": LEGEND.split("   "),
        "cases": cases.ids,
        "columns": _columns(cases.ids),
        "plans": len(cases.plans),
        "evidence": [_evidence(e, texts, most) for e in run.evidence],
        "cut": most,
        "scripts": _scripts(subject),
        "texts": list(texts),
        **tables,
        "waivers": dict(subject.waivers),
        "invariants": invariants,
        "clauses": _clauses(run.evidence, invariants),
    }


def longest(evidence: tuple[Evidence, ...]) -> int:
    """Return the largest text length with which the evidence fits into the page."""
    lengths = [len(text) for e in evidence for text in (*_said(e), *(text for _, text in e.notes))]
    fitting = (most for most in LENGTHS if sum(min(length, most) for length in lengths) <= TEXTS)
    return next(fitting, LENGTHS[-1])


def _said(e: Evidence) -> tuple[str, ...]:
    return (e.reason, e.expected, e.seen, e.why)


def _evidence(e: Evidence, texts: Interned[str], most: int) -> list[Any]:
    told = [texts.of(plain(text, most)) for text in _said(e)]
    notes = [texts.of(plain(text, most)) for note in e.notes for text in note]
    return [e.outcome, e.level, e.clause, e.side, list(e.accused), *told, notes]


# -- findings


def _libraries(subject: Subject) -> list[list[str]]:
    """Return the accused libraries in the order of the findings: name, title, versions in the run."""
    found = {account.finding.library: account.finding for account in subject.accounts}
    return [[name, heading(name), line(versions(finding), NAME)] for name, finding in found.items()]


def _finding(account: Account, cases: _Cases, cells: Mapping[str, int], most: int) -> dict[str, Any]:
    """Return a finding with all details except its cases."""
    finding, seen = account.finding, account.finding.smallest
    return {
        "id": line(finding.id, most),
        "library": finding.library,
        "side": finding.side or seen.side.value,
        "code": finding.code,
        "state": finding.verdict.letter,
        "sentence": line(finding.sentence, most),
        "status": finding.status.value,
        "told": account.status,
        "waived": account.waived_text,
        "upstream": [finding.known.reference, finding.known.note] if finding.known else None,
        "ended": account.ended,
        "since": str(account.since),
        "partners": list(account.partners),
        "places": list(account.places),
        "demands": [[one.id, one.text, one.source, one.url] for one in account.demands],
        "why": plain(account.why, most),
        "smallest": cases.numbers[seen.case],
        "cell": cells[seen.cell],
        "said": [plain(text, most) for text in (seen.reason, seen.expected, seen.seen)],
        "notes": [[plain(name, most), plain(text, most)] for name, text in account.notes.items()],
    }


# -- the run


def _untested(run: RunFile) -> dict[str, Any]:
    missing = untested(run)
    return {
        "cells": [_reason(reason) for reason in missing.cells],
        "libraries": [_reason(reason) for reason in missing.libraries],
    }


def _reason(reason: Reason) -> list[Any]:
    return [reason.what, reason.why, [line(title, NAME) for title in reason.cells]]


def _gate(subject: Subject) -> dict[str, Any] | None:
    """Return the result of the gate: the counts by kind, and the remarks about more than one case."""
    judged = subject.judgement
    if judged is None:
        return None
    whole = [f for f in judged.remarks if not f.case]
    baseline = judged.baseline
    return {
        "passes": judged.exit == 0,
        "answer": gate_line(subject),
        "baseline": f"{baseline.id} {baseline.began}".strip() if baseline else "",
        "kinds": [
            [kind.word, MEANINGS[kind], int(kind.exit), number - waived, waived]
            for kind, (number, waived) in judgement.counts(judged.remarks).items()
            if number
        ],
        "changed": [kind.word for kind in CHANGED],
        "whole": [[f.kind.word, f.sentence, f.waiver] for f in whole[:MOST_REMARKS]],
        "more": max(len(whole) - MOST_REMARKS, 0),
    }


def _cell(cell: CellResult) -> dict[str, Any]:
    own = cell.own_tests
    return {
        "name": line(cell.name, NAME),
        "title": line(cell.title, NAME),
        "lifecycle": cell.lifecycle,
        "reason": cell.reason,
        "axes": cell.axes,
        "versions": cell.versions,
        "absent": cell.absent,
        "digests": {name: digest[:16] for name, digest in cell.digests.items()},
        "candidates": [f"{c.name} {c.version} ({c.sha256[:16]})" for c in cell.candidates],
        "tests": [own.passed, own.failed, own.errors, own.skipped, own.ended] if own else None,
        "ended": cell.ended,
        "seconds": round(cell.seconds, 1),
        "plan": cell.plan,
        "tested": cell.is_tested,
    }


def _columns(cases: list[str]) -> list[list[str]]:
    """Return protocol, device, producer, consumer and key of every exchange, in the order of the matrix.

    Chains of one protocol share a column without producer and consumer, so that the two ends are not blamed.
    """
    found = {(way(at.invariant, at.protocol), at.device, *_ends(at), _key(at)) for at in map(place, cases)}
    return [list(column) for column in sorted(found, key=_column_order)]


def _key(at: Place) -> str:
    """Return the column's name in an address. A documented claim is about a call, so its protocol does not matter."""
    return f"{at.family if at.family == 'claim' else at.protocol}/{at.device}/{'-'.join(_ends(at))}"


def _ends(at: Place) -> tuple[str, str]:
    return ("", "") if at.is_chain else (at.libraries[0], at.libraries[-1])


_WAYS = ("DLPack", "CUDA Array Interface", "Documented calls", "Imports and contexts")
_DEVICES = ("cuda", "host")


def _column_order(column: tuple[str, ...]) -> tuple[object, ...]:
    name, device, producer, consumer, key = column
    known = (_WAYS.index(name) if name in _WAYS else len(_WAYS), _DEVICES.index(device) if device in _DEVICES else 2)
    ends = (not producer, producer != "reference", producer, consumer != "reference", consumer)
    return (*known, device, name, *ends, key)


def _invariants(cases: list[str]) -> dict[str, list[Any]]:
    """Return statement, explanation, level and clauses of each invariant; empty for invariants that this version does not know."""
    known = catalogue()
    names = dict.fromkeys(case.partition("/")[0] for case in cases)
    return {
        name: [known[name].statement, known[name].details, known[name].level.value, list(known[name].clauses)]
        if name in known
        else ["", "", "", []]
        for name in names
    }


def _clauses(evidence: tuple[Evidence, ...], invariants: dict[str, list[Any]]) -> dict[str, list[str]]:
    """Return statement, source, address and bound roles of each cited clause."""
    cited = {e.clause for e in evidence}
    cited |= {name for told in invariants.values() for name in told[3]}
    every = {clause.id: clause for clause in clauses.all_clauses()}
    return {
        name: [every[name].statement, every[name].documents, next(iter(every[name].urls), ""), duty(every[name])]
        for name in sorted(cited & every.keys())
    }


def _scripts(subject: Subject) -> dict[str, Any]:
    """Return scripts as lists of line numbers without duplicates, and the script of each case."""
    lines: Interned[str] = Interned()
    scripts: Interned[tuple[int, ...]] = Interned()
    by_case: dict[str, int] = {}
    if subject.script:
        for case in _to_script(subject.run):
            text = subject.script(case)
            if text:
                by_case[case] = scripts.of(tuple(lines.of(one) for one in text.splitlines()))
    return {"lines": list(lines), "scripts": list(scripts), "cases": by_case}


def _to_script(run: RunFile) -> list[str]:
    """Return each case that fails or is undecided in any cell."""
    found = {one.case for cell in run.cells for one in run.found(cell) if one.verdict in SCRIPTED}
    return sorted(found)
