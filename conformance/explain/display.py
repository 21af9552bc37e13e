"""Print an explanation: the requirement, the sides that it binds, known bugs and faults, and the commands to run a case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from conformance.checks.bugs import Bug
from conformance.checks.catalogue import Case, Invariant
from conformance.checks.libraries import REFERENCE
from conformance.console.screen import Screen, many
from conformance.console.wording import duty
from conformance.repro.head import PROTOCOLS, place
from conformance.selftest.model import Fault

from .explanation import Explanation
from .subjects import Kind, Subject

_MOST = 6
"""Limit of bugs and of faults in the list, without ``--all``."""
_MARGIN = "  "
_COLOURS = {"must": "red", "should": "yellow", "observed": "dim", "robustness": "magenta"}
_VERDICTS = {
    "must": "Level: must. A library that breaks it violates a promise",
    "should": "Level: should. A library that breaks it deviates from a recommendation",
    "observed": "Level: observed. A failure is only recorded, because no clause applies",
    "robustness": "Level: robustness. A failure breaks no promise, because the protocol forbids the input",
}


def show(screen: Screen, explanation: Explanation, *, everything: bool) -> None:
    """Print all parts of the explanation except the cases of this environment."""
    most = None if everything else _MOST
    _HEADS[explanation.subject.kind](screen, explanation.subject)
    _show_clauses(screen, explanation)
    if explanation.subject.kind is Kind.CLAUSE:
        _title(screen, "Checked by", many(len(explanation.subject.invariants), "invariant"))
        _show_invariants(screen, explanation.subject.invariants)
    _show_bugs(screen, "Real bugs that it would have caught", explanation.bugs, most)
    _show_bugs(screen, "Real bugs of the same class", explanation.similar, most)
    _show_faults(screen, explanation.faults, most)


def _needs(subject: Subject) -> str:
    return ", or ".join(dict.fromkeys(invariant.needs.value for invariant in subject.invariants))


def show_cases(screen: Screen, subject: Subject, cases: Sequence[Case], *, everything: bool) -> None:
    """Print the number of cases in this environment and their pairs. For a case, print whether this environment can run it."""
    if subject.kind is Kind.CASE:
        lacks = f"This environment cannot run this case. The case needs {_needs(subject)}, and the libraries in its id."
        here = "This environment can run this case." if cases else lacks
        screen.wrapped(here, "", "bold")
        return
    _title(screen, "Cases in this environment", many(len(cases), "case"))
    if not cases:
        screen.wrapped(f"None. They need {_needs(subject)}, and libraries that support the exchange.", _MARGIN)
    for (protocol, device), found in _by_way(cases).items():
        screen.line(f"{_MARGIN}{PROTOCOLS[protocol]} on {device}")
        for producer in dict.fromkeys(case.producer for case in found):
            counts = Counter(case.consumer for case in found if case.producer == producer)
            screen.wrapped(
                f"{producer} → {', '.join(f'{consumer} {n}' for consumer, n in counts.items())}", 3 * _MARGIN
            )
    for case in cases if everything else ():
        screen.line(f"{_MARGIN}{case.id}")
    screen.line()


def _by_way(cases: Iterable[Case]) -> dict[tuple[str, str], list[Case]]:
    found: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        found.setdefault((case.protocol, case.device.value), []).append(case)
    return found


def show_commands(screen: Screen, case: Case, *, readable: bool) -> None:
    """Print the commands that run a case and that print its script."""
    form = "as a short script" if readable else "as a script that contains the suite's check"
    for what, command in (("Run the case", "check --case"), (f"Print the case {form}", "repro")):
        screen.line(f"{what}:")
        screen.line(_MARGIN + screen.paint(f"python -m conformance {command} {case.id}", "dim"))


# -- heads


def _show_invariant(screen: Screen, subject: Subject) -> None:
    (invariant,) = subject.invariants
    screen.line(screen.paint(invariant.id, "bold"))
    screen.wrapped(_plain(invariant.statement), _MARGIN)
    level = invariant.level.value
    screen.wrapped(f"{_VERDICTS[level]}. Needs: {invariant.needs.value}.", _MARGIN, _COLOURS[level])
    screen.line()
    if invariant.details:
        _title(screen, "Reason and method")
        screen.wrapped(_plain(invariant.details), _MARGIN)
        screen.line()


def _show_case(screen: Screen, subject: Subject) -> None:
    assert subject.case is not None
    screen.line(screen.paint(subject.case.id, "bold"))
    screen.wrapped(f"{place(subject.case)}.", _MARGIN)
    for name, who in (("producer", subject.case.producer), ("consumer", subject.case.consumer)):
        if who == REFERENCE:
            screen.wrapped(
                f"The {name} is the suite's own reference, which has no faults and observes the exchange.", _MARGIN
            )
    screen.line()
    _show_invariant(screen, subject)


def _show_clause(screen: Screen, subject: Subject) -> None:
    screen.line(screen.paint(subject.name, "bold") + screen.paint("  a clause", "dim"))
    screen.line()


def _show_family(screen: Screen, subject: Subject) -> None:
    screen.line(
        screen.paint(subject.name, "bold") + screen.paint(f"  {many(len(subject.invariants), 'invariant')}", "dim")
    )
    screen.line()
    _show_invariants(screen, subject.invariants)


def _show_invariants(screen: Screen, invariants: Iterable[Invariant]) -> None:
    for invariant in invariants:
        screen.line(f"{_MARGIN}{screen.paint(invariant.id, 'bold')}  {screen.paint(invariant.level.value, 'dim')}")
        screen.wrapped(_plain(invariant.statement), 3 * _MARGIN)
    screen.line()


_HEADS = {
    Kind.INVARIANT: _show_invariant,
    Kind.CASE: _show_case,
    Kind.CLAUSE: _show_clause,
    Kind.FAMILY: _show_family,
}


# -- parts


def _title(screen: Screen, text: str, beside: str = "") -> None:
    screen.line(screen.paint(text, "bold") + (screen.paint(f"  {beside}", "dim") if beside else ""))


def _show_clauses(screen: Screen, explanation: Explanation) -> None:
    subject = explanation.subject
    _title(screen, "Expected by clauses of the specifications" if subject.kind is not Kind.CLAUSE else "Requirement")
    for clause in subject.clauses:
        screen.line(f"{_MARGIN}{screen.paint(clause.id, 'bold')}  {screen.paint(duty(clause), 'dim')}")
        screen.wrapped(_plain(clause.statement), 3 * _MARGIN)
        if subject.kind is not Kind.FAMILY:
            screen.wrapped(clause.documents, 3 * _MARGIN, "dim")
            for url in clause.urls:
                screen.line(3 * _MARGIN + screen.paint(url, "dim"))
    screen.line()


def _plain(text: str) -> str:
    """Return a text with single backticks in place of the double ones of reStructuredText."""
    return text.replace("``", "`")


def _show_bugs(screen: Screen, title: str, bugs: Sequence[Bug], most: int | None) -> None:
    if not bugs:
        return
    _title(screen, title, many(len(bugs), "bug"))
    for bug in bugs[:most]:
        screen.wrapped(f"{', '.join(bug.references)}: {bug.symptom}", _MARGIN)
        screen.wrapped(f"{bug.libraries}; {bug.year}; {bug.status}", 3 * _MARGIN, "dim")
    _show_more(screen, len(bugs), most)


def _show_faults(screen: Screen, faults: Sequence[Fault], most: int | None) -> None:
    if not faults:
        return
    _title(screen, "Deliberate faults that it catches", many(len(faults), "fault"))
    for fault in faults[:most]:
        screen.wrapped(f"{fault.name}: {_plain(fault.statement)}", _MARGIN)
    _show_more(screen, len(faults), most)


def _show_more(screen: Screen, count: int, most: int | None) -> None:
    if most is not None and count > most:
        screen.line(screen.paint(f"{_MARGIN}and {count - most} more; --all lists them", "dim"))
    screen.line()
