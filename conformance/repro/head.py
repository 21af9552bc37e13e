"""Head of a script: a comment with the statement, the clauses, the versions and the exit codes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

import conformance
from conformance.checks.catalogue import VIA, Case, catalogue
from conformance.checks.libraries import REFERENCE
from conformance.console.wording import demand, duty, known
from conformance.execution.results import ACCUSING, Result
from conformance.protocols.clauses import Level

WIDTH = 118
PROTOCOLS = {"dlpack": "DLPack", "cai": "the CUDA Array Interface", "none": "no protocol"}
_NOT_OF = {"dlpack": "CAI-", "cai": "DL"}
"""Prefixes of clauses that an exchange by this protocol cannot break."""
_ENDS = "0 it is right, or refused as it may be; 1 it is wrong; 2 it cannot be run here; 3 not decided"


_REFERENCE = "is this script's own implementation in ctypes"


def head(case: Case, how: str, result: Result | None, versions: Mapping[str, str], code: str) -> str:
    """Return the comment above the code. ``how`` describes the script; ``versions`` belong to ``result``."""
    told = [
        ("", catalogue()[case.invariant].statement),
        ("Case", f"{case.invariant}: {place(case)}"),
        ("Does", how),
        *(("Promised", text) for text in _promises(case, result)),
        *([("Reference", _REFERENCE)] if REFERENCE in case.libraries and "import ctypes" in code else []),
        *_seen(result, versions),
        ("Made by", f"python -m conformance repro {case.id}   (cuda-interop-conformance {conformance.__version__})"),
        ("Ends with", _ENDS),
    ]
    return "#!/usr/bin/env python3\n" + "\n".join(line for label, text in told for line in _lines(label, text)) + "\n"


def place(case: Case) -> str:
    """Return producer, consumer, protocol, device and parameters in words."""
    who = case.producer if {*case.libraries} == {case.producer} else " → ".join(case.libraries)
    values = "".join(f", {name}={value}" for name, value in case.parameters if name != VIA)
    return f"{who}, {PROTOCOLS.get(case.protocol, case.protocol)} on {case.device.value}{values}"


def _cited(case: Case, result: Result | None) -> tuple[str, ...]:
    """Return the broken clause, or else the clauses of the invariant that apply to the protocol."""
    if result is not None and result.clause:
        return (result.clause,)
    clauses = catalogue()[case.invariant].clauses
    return tuple(id for id in clauses if not id.startswith(_NOT_OF.get(case.protocol, "?"))) or clauses


def _promises(case: Case, result: Result | None) -> Iterator[str]:
    if result is not None and result.outcome in ACCUSING and result.level is Level.ROBUSTNESS:
        yield "no clause applies, because the protocol forbids the input"
        return
    for id in _cited(case, result):
        found = known(id)
        if found is None:
            yield id
            continue
        told = demand(id, result.role) if result and result.clause else f"{id} ({duty(found)}): {found.statement}"
        yield f"{told} [{', '.join((found.documents, *found.urls))}]"


def _seen(result: Result | None, versions: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if result is not None and result.outcome in ACCUSING:
        told = f"{result.reason}; expected {result.expected}; saw {result.seen}" if result.expected else result.reason
        yield "Seen", told
    if versions:
        yield "Seen with", ", ".join(f"{name} {version}" for name, version in versions.items())


def _lines(label: str, text: str) -> list[str]:
    first = f"# {label:<10}" if label else "# "
    rest = "#" + " " * 11 if label else "# "
    folded = textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    return folded if label else [*folded, "#"]
