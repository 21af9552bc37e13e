"""Reports of results in pytest: a failure with expected and actual values, notes as sections, and properties for JUnit XML."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprEntry, ReprFileLocation, ReprTraceback

from conformance.checks.catalogue import Invariant, catalogue
from conformance.checks.outcomes import Outcome
from conformance.console.screen import harmless
from conformance.execution import canaries
from conformance.execution.results import Result
from conformance.protocols.clauses import clause

_MARGIN = "E   "
"""Prefix by which pytest recognizes and colours the lines of an error."""
_WIDTH = 10


def properties(result: Result) -> list[tuple[str, object]]:
    """Return the properties of a test case in JUnit XML, with the keys and values of ``results.jsonl``."""
    accused = ", ".join(result.accused.libraries) if result.accused else ""
    told = {
        "case": result.case.id, "outcome": result.outcome.value, "verdict": result.verdict.word, "code": result.code,
        "clause": result.clause, "accused": accused, "reason": harmless(result.reason),
    }  # fmt: skip
    return [(name, value) for name, value in told.items() if value]


def brief(result: Result) -> str:
    """Return a result in one line, for the short summary, ``-rs`` and ``-rx``."""
    built_for = canaries.built_for(result)
    if built_for is not None:
        told = f"a canary for the outcome {built_for.value} ended as {result.outcome.value}: {result.reason}"
    elif result.outcome is Outcome.REFUSED:
        told = result.reason
    else:
        names = ", ".join(result.accused.libraries) if result.accused else ""
        words = (result.verdict.word, result.clause, f"({names})" if names else "")
        told = f"{' '.join(filter(None, words))}: {result.reason}"
    return " ".join(harmless(told).split())


def described(result: Result) -> str:
    """Return all facts of a result, one a line."""
    return "\n".join((brief(result), *_facts(result)))


def longrepr(result: Result, headline: str = "") -> ExceptionChainRepr:
    """Return pytest's representation of a failure: the invariant with its statement, then the facts as lines of an error.

    It consists of pytest's own objects, so that the summary, colours, JUnit XML and xdist can handle it.
    """
    invariant = catalogue()[result.case.invariant]
    told = headline or brief(result)
    errors = [f"{_MARGIN}{line}" for text in (told, *_facts(result)) for line in harmless(text).splitlines()]
    place = _place(invariant)
    location = ReprFileLocation(str(place[0]), place[1], result.code or result.outcome.value)
    entry = ReprEntry([*_source(invariant), *errors], None, None, location, "long")
    crash = ReprFileLocation(str(place[0]), place[1], told)
    return ExceptionChainRepr([(ReprTraceback([entry], None, "long"), crash, None)])


def place_of(result: Result) -> tuple[str, int]:
    """Return the file and the line of the check, counted from 1."""
    path, line = _place(catalogue()[result.case.invariant])
    return str(path), line


def sections(result: Result) -> Iterator[tuple[str, str]]:
    """Yield the title and the text of each section: notes of the check, all tries, and the command for a repro script."""
    for name, text in result.attachments.items():
        yield name, harmless(text)
    if result.attempts:
        yield "tries", "\n".join(_tries(result))
    yield (
        "to reproduce",
        f"python -m conformance repro {result.case.id}   prints a script for the library's issue tracker",
    )


def _facts(result: Result) -> Iterator[str]:
    if result.expected or result.seen:
        yield from _fact("expected", result.expected)
        yield from _fact("actual", result.seen)
    if result.clause and result.role is not None:
        cited = clause(result.clause)
        yield from _fact("clause", f"{cited.id}, a {cited.duty(result.role).keyword} for the {result.role.value}")
        yield from _fact("", cited.duty(result.role).text)
    if result.accused is not None:
        names = ", ".join(result.accused.libraries)
        who = f"{names}, as {result.accused.side.value}" if names else result.accused.side.value
        yield from _fact("accused", f"{who}: {result.accused.why}" if result.accused.why else who)
    for name, text in (("input", result.given), ("step", result.step), ("code", result.code)):
        if text:
            yield from _fact(name, text)


def _fact(name: str, text: str) -> Iterator[str]:
    first, *rest = text.splitlines() or [""]
    yield f"  {name:<{_WIDTH}}{first}".rstrip()
    for line in rest:
        yield f"  {'':<{_WIDTH}}{line}"


def _source(invariant: Invariant) -> list[str]:
    quotes = '"""'
    return [
        f"    def {invariant.check.__name__}(exchange):",
        f"        {quotes}{invariant.statement}{quotes}",
    ]


def _place(invariant: Invariant) -> tuple[Path, int]:
    code = inspect.unwrap(invariant.check).__code__
    return Path(code.co_filename), code.co_firstlineno


def _tries(result: Result) -> Iterator[str]:
    for attempt in result.attempts:
        yield f"{attempt.where.value}: {attempt.outcome.value} {harmless(attempt.reason)}".rstrip()
        if attempt.after:
            yield f"  after {len(attempt.after)} cases, the newest {attempt.after[-1]}"


def complete(report: pytest.TestReport, result: Result, *, keeps_traceback: bool) -> None:
    """Add the facts of a result to a report. ``keeps_traceback`` is for an exception of the check itself."""
    if not keeps_traceback:
        report.longrepr = longrepr(result)
    report.sections += list(sections(result))
