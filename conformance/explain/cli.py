"""Command ``explain``."""

from __future__ import annotations

import argparse
import json
import sys
from functools import lru_cache

from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment
from conformance.console.progress import waiting
from conformance.console.screen import Screen
from conformance.execution import environment
from conformance.exits import Exit
from conformance.repro.scripts import is_readable
from conformance.selftest.stages import stages

from . import display
from .explanation import as_json, explain
from .subjects import Subject, find


def add(name: str, command: argparse.ArgumentParser) -> None:
    """Add the options of ``explain``."""
    command.add_argument(
        "name",
        metavar="ID",
        help="an invariant (such as pointer.values), a clause (such as CAI-18), a family or a case",
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument("--all", action="store_true", help="list every bug, fault and case")
    command.add_argument(
        "--no-cases", action="store_true", help="do not inspect the installed libraries, which takes some seconds"
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the explanation. The cases of this environment come last, because the libraries must be inspected for them."""
    subject = find(options.name, _here)
    explanation = explain(subject, (fault for stage in stages() for fault in stage.faults))
    readable = is_readable(subject.case) if subject.case else None
    if options.json:
        cases = None if options.no_cases else _cases(subject)
        print(json.dumps(as_json(explanation, cases, readable), indent=1, ensure_ascii=False))
        return Exit.OK
    screen = Screen.of(sys.stdout)
    display.show(screen, explanation, everything=options.all)
    example = subject.case
    if not options.no_cases:
        sys.stdout.flush()
        cases = _cases(subject)
        display.show_cases(screen, subject, cases, everything=options.all)
        example = example or next(iter(cases), None)
    if example:
        display.show_commands(screen, example, readable=is_readable(example))
    return Exit.OK


@lru_cache(maxsize=1)
def _here() -> Environment:
    with waiting(sys.stderr, "inspecting the installed libraries …"):
        return environment.measure().environment


def _cases(subject: Subject) -> list[Case]:
    """Return the cases of the subject that this environment can run."""
    here = _here()
    found = [case for invariant in subject.invariants for case in invariant.cases(here)]
    return [case for case in found if subject.case is None or case.id == subject.case.id]
