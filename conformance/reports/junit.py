"""JUnit XML for viewers of test results.

The document has a suite for each cell, and an entry for each case that counts against a library. The ``classname`` of an entry begins
with the accused library, and its ``type`` is the code of the failure. A case is never an entry of a library that it does not accuse. Cases
that were not decided or lost have entries under ``nobody``. Conforming, refused and observed cases are one entry for each verdict, with
their number. Above :data:`MOST_ENTRIES` entries, there is a suite for each accused library instead, and an entry for each finding.

=============  ==========================================================================================
violates       ``failure``
robustness     ``skipped``; the message says so if the process died
deviates       ``skipped``, with expected and seen: viewers show it apart from passes and from failures
waived         ``skipped``, with the waiver
not decided    ``error``
lost           ``error``
refused        ``skipped``, counted
conforms       passes, counted
observed       passes, counted
=============  ==========================================================================================

A cell without results is an ``error``, or ``skipped`` if its versions cannot be resolved.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

from conformance.checks.libraries import is_installed
from conformance.console.screen import many
from conformance.findings import presentation
from conformance.findings.model import UNKNOWN, Finding, Observation
from conformance.runs.model import CellResult, Evidence
from conformance.verdict import Verdict

from .coverage import headline, troubles
from .finding_accounts import Account, versions
from .subject import Subject
from .undecided import OPEN, Alike, undecided
from .words import line, plain, seen_in_short

MOST_ENTRIES = 20_000
"""Maximum number of entries. A larger document has one entry for each finding over all cells."""
MOST_CELLS = 50
"""Maximum number of cell names in one entry."""
TOLD = frozenset(verdict for verdict in Verdict if verdict.speaks_against) | OPEN
"""Verdicts of which each case has its own entry."""
NOBODY = "nobody"
"""Class name of cases that accuse no library."""
_ELEMENTS = {
    Verdict.VIOLATES: "failure",
    Verdict.ROBUSTNESS: "skipped",
    Verdict.DEVIATES: "skipped",
    Verdict.REFUSED: "skipped",
    Verdict.UNDECIDED: "error",
    Verdict.LOST: "error",
}
_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}
_UNRESOLVABLE = "unresolvable"
_SECONDS = len("2026-01-01T00:00:00")
"""Characters of a timestamp that the format allows: no fraction, no time zone."""


class Entry(NamedTuple):
    """A ``testcase``. ``element`` is ``failure``, ``error``, ``skipped``, or empty for one that passes."""

    classname: str
    name: str
    element: str = ""
    type: str = ""
    message: str = ""
    text: str = ""


@dataclass(frozen=True)
class Suite:
    """A ``testsuite``; its time is in seconds."""

    name: str
    entries: tuple[Entry, ...]
    properties: Mapping[str, str]
    timestamp: str = ""
    seconds: float = 0.0

    def count(self, element: str) -> int:
        """Return the number of entries with this element."""
        return sum(entry.element == element for entry in self.entries)


def junit(subject: Subject) -> str:
    """Return the XML document."""
    run = subject.run
    entries = sum(cell.states.count(verdict.letter) for cell in run.cells for verdict in TOLD)
    suites = _by_cell(subject) if entries <= MOST_ENTRIES else _by_library(subject)
    document = io.StringIO()
    xml = XMLGenerator(document, "utf-8", short_empty_elements=True)
    xml.startDocument()
    with _element(xml, "testsuites", {"name": "array interop conformance"}):
        for suite in suites:
            _suite(xml, suite)
    xml.endDocument()
    return document.getvalue()


# -- a suite for each cell


def _by_cell(subject: Subject) -> Iterator[Suite]:
    for cell in subject.run.cells:
        entries = (*_troubles(cell), *_cases(subject, cell), *_counted(cell))
        yield Suite(cell.title, entries, _properties(subject, cell), cell.ended, cell.seconds)


def _cases(subject: Subject, cell: CellResult) -> Iterator[Entry]:
    run = subject.run
    for case, verdict, index in run.found(cell):
        evidence = run.evidence[index]
        if verdict.speaks_against:
            yield from _accusations(subject, cell, case, evidence)
        elif verdict in OPEN:
            yield _entry(f"{NOBODY}.{_family(case)}", case, verdict.word, evidence)


def _accusations(subject: Subject, cell: CellResult, case: str, evidence: Evidence) -> Iterator[Entry]:
    """Yield one entry for each library that the case accuses."""
    waiver = subject.waived.get((cell.name, case), "")
    shown: dict[str, list[Finding]] = {}
    for number in subject.by_spot.get((cell.name, case), ()):
        finding = subject.accounts[number].finding
        shown.setdefault(finding.library, []).append(finding)
    for library, findings in (shown or {UNKNOWN: []}).items():
        told = " ".join(f"{finding.sentence} [{finding.id}]" for finding in findings)
        entry = _entry(f"{library}.{_family(case)}", case, evidence.code, evidence, told)
        yield _waived(entry, waiver) if waiver else entry


def _entry(classname: str, name: str, type: str, evidence: Evidence, told: str = "", more: str = "") -> Entry:
    """Return an entry. ``told`` are the findings that the case shows; ``more`` is appended to the text."""
    ended = presentation.DEATHS.get(evidence.outcome, "")
    first = f"{evidence.verdict.word}, {ended}" if ended else evidence.verdict.word
    message = ": ".join(text for text in (first, told, seen_in_short(evidence)) if text)
    text = [f"{label}: {text}" for label, text in (("finding", told), *_parts(evidence), ("where", more)) if text]
    return Entry(classname, name, _ELEMENTS.get(evidence.verdict, ""), type, message, "\n".join(text))


def _waived(entry: Entry, waiver: str) -> Entry:
    return entry._replace(element="skipped", type="waived", message=f"waived ({waiver}): {entry.message}")


def _parts(evidence: Evidence) -> Iterable[tuple[str, str]]:
    accused = ", ".join(evidence.accused) or (UNKNOWN if evidence.verdict.speaks_against else "")
    yield from (("accused", accused), ("accused because", evidence.why))
    yield from (("outcome", evidence.outcome), ("level", evidence.level), ("clause", evidence.clause))
    yield from (("reason", evidence.reason), ("expected", evidence.expected), ("seen", evidence.seen), *evidence.notes)


def _family(case: str) -> str:
    return case.partition(".")[0]


def _troubles(cell: CellResult) -> Iterator[Entry]:
    for what, why in troubles(cell):
        element = "skipped" if what == _UNRESOLVABLE else "error"
        yield Entry(cell.title, "the cell as a whole", element, what, f"not tested: {what}: {why}")
    for name, why in cell.absent.items():
        if is_installed(why):
            yield Entry(cell.title, f"the library {name}", "skipped", "not tested", f"not tested: {name}: {why}")


def _counted(cell: CellResult) -> Iterator[Entry]:
    """Yield one entry with the number of cases for each verdict without entries of its own."""
    for verdict in Verdict:
        number = cell.states.count(verdict.letter)
        if number and verdict not in TOLD:
            told = f"{verdict.word}: {many(number, 'case')}"
            element = _ELEMENTS.get(verdict, "")
            yield Entry(cell.title, told, element, verdict.word, told if element else "")


def _properties(subject: Subject, cell: CellResult) -> dict[str, str]:
    shown = {number for case in subject.run.cases(cell) for number in subject.by_spot.get((cell.name, case), ())}
    found = [subject.accounts[number].finding for number in sorted(shown)]
    counted = {verdict.word: str(cell.states.count(verdict.letter)) for verdict in Verdict}
    told = {f"version of {name}": version for name, version in cell.versions.items()}
    absent = {f"not tested: {name}": why for name, why in cell.absent.items()}
    return {
        "cell": cell.name,
        "lifecycle": cell.lifecycle,
        "findings": presentation.headline(found) if cell.is_tested else "not tested",
        "planned": str(len(cell.states)),
        **counted,
        **told,
        **absent,
    }


# -- a suite for each accused library


def _by_library(subject: Subject) -> Iterator[Suite]:
    run = subject.run
    whole = (entry for cell in run.cells for entry in (*_troubles(cell), *_counted(cell)))
    yield Suite("cells", tuple(whole), {"cells": str(len(run.cells)), "findings": headline(subject)}, run.began)
    for library, accounts in groupby(subject.accounts, key=lambda account: account.finding.library):
        found = list(accounts)
        told = {"versions": versions(found[0].finding), "grouped": "one entry for each finding, over all cells"}
        yield Suite(library, tuple(map(_of_finding, found)), told, run.began)
    alike = [_of_alike(one) for members in undecided(run).values() for one in members]
    if alike:
        told = {"grouped": "one entry for all cases with the same reason, over all cells"}
        yield Suite(NOBODY, tuple(alike), told, run.began)


def _of_finding(account: Account) -> Entry:
    finding, smallest = account.finding, account.finding.smallest
    name = f"{finding.id} (for example {smallest.case})"
    told = f"{finding.sentence} [{finding.id}]"
    where = f"{account.extent}: {_listed(account.cells)}"
    entry = _entry(f"{finding.library}.{finding.code}", name, finding.code, _evidence(smallest), told, where)
    return _waived(entry, "all results") if account.is_waived else entry


def _evidence(seen: Observation) -> Evidence:
    """Return the evidence of an observation. Its level is in its verdict."""
    return Evidence(
        seen.verdict, seen.outcome, "", seen.code, seen.clause, seen.given, seen.step, seen.side.value, seen.accused, seen.why,
        seen.reason, seen.expected, seen.seen, tuple(seen.notes.items()),
    )  # fmt: skip


def _of_alike(alike: Alike) -> Entry:
    where = f"{many(alike.cases, 'case')} in {many(len(alike.cells), 'cell')}: {_listed(tuple(alike.cells))}"
    name = f"{alike.invariant} ({alike.where()}; for example {alike.case})"
    return _entry(f"{NOBODY}.{_family(alike.invariant)}", name, alike.verdict.word, alike.evidence, more=where)


def _listed(cells: tuple[str, ...]) -> str:
    more = f" and {len(cells) - MOST_CELLS} more" if len(cells) > MOST_CELLS else ""
    return f"{', '.join(cells[:MOST_CELLS])}{more}"


# -- XML


@contextmanager
def _element(xml: XMLGenerator, name: str, attributes: Mapping[str, str]) -> Iterator[None]:
    xml.startElement(name, AttributesImpl(dict(attributes)))
    yield
    xml.endElement(name)


def _suite(xml: XMLGenerator, suite: Suite) -> None:
    counted = {name: suite.count(element) for name, element in _COUNTED.items()}
    attributes = {"name": line(suite.name), "tests": str(len(suite.entries))}
    attributes |= {name: str(number) for name, number in counted.items()} | {"time": f"{suite.seconds:.3f}"}
    if suite.timestamp:
        attributes["timestamp"] = line(suite.timestamp)[:_SECONDS]
    with _element(xml, "testsuite", attributes):
        with _element(xml, "properties", {}):
            for name, value in suite.properties.items():
                with _element(xml, "property", {"name": line(name), "value": line(value)}):
                    pass
        for entry in suite.entries:
            _testcase(xml, entry)


def _testcase(xml: XMLGenerator, entry: Entry) -> None:
    with _element(xml, "testcase", {"classname": line(entry.classname), "name": line(entry.name, 1000)}):
        if entry.element:
            with _element(xml, entry.element, {"type": line(entry.type), "message": line(entry.message, 1000)}):
                xml.characters(plain(entry.text, 8000))
