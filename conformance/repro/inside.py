"""Entry point of a bundle: run one case with the suite's own check in a subprocess, and print the result."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from typing import Any

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, Invariant, Isolation, catalogue
from conformance.checks.libraries import REFERENCE
from conformance.execution import environment
from conformance.execution.child import Child
from conformance.execution.environment import Facts
from conformance.execution.results import ACCUSING, TRUSTED, Result
from conformance.verdict import Verdict

RIGHT, WRONG, NOT_HERE, UNDECIDED = 0, 1, 2, 3


def run(data: Mapping[str, Any]) -> int:
    """Run the case of this description (:meth:`Case.to_json`). Returns the exit code."""
    case = Case.from_json(dict(data))
    invariant = catalogue()[case.invariant]
    facts = _measured(case, invariant)
    print("case:    ", case.id)
    print(
        "versions:", ", ".join(_versions(facts)), flush=True
    )  # flush, or a forked child would write the buffered text again
    if not _is_planned(case, invariant, facts):
        print(
            "cannot be run here:",
            "; ".join(_lacking(case, facts)) or "these versions lack a feature that the case needs",
        )
        return NOT_HERE
    child = Child()
    try:
        result = child.run(case, last=invariant.isolation is Isolation.EXIT)
    finally:
        child.end()
    _tell(result)
    return code_of(result)


def code_of(result: Result) -> int:
    """Return the exit code of an outcome. An observation is no failure."""
    if result.verdict is Verdict.OBSERVED:
        return RIGHT
    if result.outcome in ACCUSING:
        return WRONG
    return RIGHT if result.outcome in TRUSTED else UNDECIDED


def _measured(case: Case, invariant: Invariant) -> Facts:
    """Measure the partners of the case; all libraries if the case needs others as well."""
    facts = environment.measure(tuple(dict.fromkeys((REFERENCE, *case.libraries))))
    return facts if _is_planned(case, invariant, facts) or list(_lacking(case, facts)) else environment.measure()


def _is_planned(case: Case, invariant: Invariant, facts: Facts) -> bool:
    return any(each.id == case.id for each in invariant.cases(facts.environment))


def _lacking(case: Case, facts: Facts) -> Iterable[str]:
    for library in facts.environment.libraries:
        if library.name in case.libraries and library.absent is not None:
            yield f"{library.name}: {library.absent}"
    if case.device is Device.CUDA and not facts.driver["available"]:
        yield str(facts.driver["reason"])


def _versions(facts: Facts) -> Iterable[str]:
    yield f"Python {platform.python_version()}"
    for library in facts.environment.libraries[1:]:  # without the reference
        yield from (f"{name} {version}" for name, version in library.versions.items())


def _tell(result: Result) -> None:
    print(f"outcome:  {result.outcome.value} ({result.verdict.word})")
    for label, text in (
        ("reason:  ", result.reason),
        ("expected:", result.expected),
        ("seen:    ", result.seen),
        ("clause:  ", result.clause),
        ("code:    ", result.code),
        *((f"{name}:", text) for name, text in result.attachments.items()),
    ):
        if text:
            print(label, text)
