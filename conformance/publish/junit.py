"""JUnit XML for viewers of test results.

A suite for each cell, and in it an entry for each case that violates, deviates, was not decided or was lost; what conforms, was refused or
only observed is one entry each, with its number. Where that would be too much for any viewer, a suite for each family of rules, and an entry
for each kind of trouble with the cells that have it.

=============  ==========================================================================================
violates       ``failure``
deviates       ``skipped``, with what was seen: viewers show it apart from passes and from failures
waived         ``skipped``, with the waiver
not decided    ``error``
lost           ``error``
refused        ``skipped``, counted
conforms       passes, counted
observed       passes, counted
=============  ==========================================================================================

A cell without results is an ``error``, or ``skipped`` where its versions cannot be put together.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

from conformance.report.screen import many
from conformance.verdict import Verdict
from conformance.verdicts.model import CellResult, Evidence, RunFile

from .coverage import troubles
from .kinds import Kind, kinds
from .subject import Subject
from .words import SIGNS, line, plain, seen_in_short

MOST_ENTRIES = 20_000
"""More than this is one entry a kind, over all cells."""
MOST_CELLS = 50
"""Names of cells in one entry."""
TOLD = frozenset({Verdict.VIOLATES, Verdict.DEVIATES, Verdict.UNDECIDED, Verdict.LOST})
"""What has an entry of its own."""
_ELEMENTS = {Verdict.VIOLATES: "failure", Verdict.DEVIATES: "skipped", Verdict.REFUSED: "skipped", Verdict.UNDECIDED: "error", Verdict.LOST: "error"}  # fmt: skip
_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}
_UNRESOLVABLE = "unresolvable"
_SECONDS = len("2026-01-01T00:00:00")
"""What the format allows of a time: no fraction, no zone."""


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
        """How many entries have this element."""
        return sum(entry.element == element for entry in self.entries)


def junit(subject: Subject) -> str:
    """The document."""
    run = subject.run
    entries = sum(cell.states.count(state.letter) for cell in run.cells for state in TOLD)
    suites = _by_cell(subject) if entries <= MOST_ENTRIES else _by_family(subject)
    document = io.StringIO()
    xml = XMLGenerator(document, "utf-8", short_empty_elements=True)
    xml.startDocument()
    with _element(xml, "testsuites", {"name": "array interop conformance"}):
        for suite in suites:
            _suite(xml, suite)
    xml.endDocument()
    return document.getvalue()


# -- suites


def _by_cell(subject: Subject) -> Iterator[Suite]:
    run, waived = subject.run, subject.waived()
    for cell in run.cells:
        entries = (*_troubles(cell), *_cases(run, cell, waived), *_counted(cell))
        yield Suite(cell.title, entries, _properties(cell), cell.ended, cell.seconds)


def _cases(run: RunFile, cell: CellResult, waived: Mapping[tuple[str, str], str]) -> Iterator[Entry]:
    for case, state, index in run.found(cell):
        if state in TOLD:
            entry = _entry(f"{cell.title}.{case.partition('.')[0]}", case, state, run.evidence[index])
            waiver = waived.get((cell.name, case))
            yield (
                entry._replace(element="skipped", type="waived", message=f"waived ({waiver}): {entry.message}")
                if waiver
                else entry
            )


def _entry(classname: str, name: str, state: Verdict, evidence: Evidence, more: str = "") -> Entry:
    told = [f"{label}: {text}" for label, text in _parts(evidence) if text]
    message = f"{state.word}: {seen_in_short(evidence)}"
    return Entry(
        classname, name, _ELEMENTS.get(state, ""), state.word, message, "\n".join([*told, *([more] if more else [])])
    )


def _parts(evidence: Evidence) -> Iterable[tuple[str, str]]:
    yield from (("outcome", evidence.outcome), ("level", evidence.level), ("clauses", " ".join(evidence.clauses)))
    yield from (("reason", evidence.reason), ("expected", evidence.expected), ("seen", evidence.seen), *evidence.notes)


def _troubles(cell: CellResult) -> Iterator[Entry]:
    for what, why in troubles(cell):
        element = "skipped" if what == _UNRESOLVABLE else "error"
        yield Entry(cell.title, "the cell as a whole", element, what, f"not tested: {what}: {why}")


def _counted(cell: CellResult) -> Iterator[Entry]:
    """What has no entry of its own, as one with its number."""
    for state in (Verdict.CONFORMS, Verdict.REFUSED, Verdict.OBSERVED):
        number = cell.states.count(state.letter)
        if number:
            message = f"{many(number, 'case')} {state.word}" if state in _ELEMENTS else ""
            yield Entry(
                cell.title, f"{many(number, 'case')} {state.word}", _ELEMENTS.get(state, ""), state.word, message
            )


def _properties(cell: CellResult) -> dict[str, str]:
    counted = {state.word: str(cell.states.count(state.letter)) for state in SIGNS}
    versions = {f"version of {name}": version for name, version in cell.versions.items()}
    absent = {f"not tested: {name}": why for name, why in cell.absent.items()}
    return {
        "cell": cell.name,
        "lifecycle": cell.lifecycle,
        "planned": str(len(cell.states)),
        **counted,
        **versions,
        **absent,
    }


def _by_family(subject: Subject) -> Iterator[Suite]:
    run = subject.run
    by_family: dict[str, list[Kind]] = {}
    for kind in kinds(run, TOLD, subject.waived()):
        by_family.setdefault(kind.invariant.partition(".")[0], []).append(kind)
    whole = (entry for cell in run.cells for entry in (*_troubles(cell), *_counted(cell)))
    yield Suite("cells", tuple(whole), {"cells": str(len(run.cells))}, run.began)
    for family, found in sorted(by_family.items()):
        yield Suite(
            family,
            tuple(map(_of_kind, found)),
            {"grouped": "one entry for each kind of trouble, over all cells"},
            run.began,
        )


def _of_kind(kind: Kind) -> Entry:
    more = f" and {len(kind.cells) - MOST_CELLS} more" if len(kind.cells) > MOST_CELLS else ""
    where = f"{many(kind.cases, 'case')} in {many(len(kind.cells), 'cell')}: {', '.join(list(kind.cells)[:MOST_CELLS])}{more}"
    name = f"{kind.invariant} ({kind.where()}; for example {kind.case})"
    entry = _entry(kind.invariant, name, kind.verdict, kind.evidence, where)
    if kind.waived < kind.cases:
        return entry
    return entry._replace(element="skipped", type="waived", message=f"all waived: {entry.message}")


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
