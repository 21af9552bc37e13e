"""findings.json: the findings of a run for programs. Its schema is in ``schemas/findings.schema.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import conformance
from conformance import files
from conformance.console.wording import demand
from conformance.protocols.clauses import Role

from .model import Finding, Observation

FORMAT = "conformance-findings/1"
_ROLES = {role.value: role for role in Role}


def to_json(found: Sequence[Finding], versions: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return plain data: libraries with the versions of their distributions, and every finding with its cases."""
    return {
        "format": FORMAT,
        "suite": conformance.__version__,
        "libraries": {name: dict(of_library) for name, of_library in versions.items()},
        "findings": [one(finding) for finding in found],
    }


def one(finding: Finding) -> dict[str, Any]:
    """Return one finding as plain data."""
    known = finding.known
    return {
        "id": finding.id,
        "library": finding.library,
        "versions": dict(finding.versions),
        "side": finding.side,
        "code": finding.code,
        "given": finding.given,
        "step": finding.step,
        "verdict": finding.verdict.word,
        "status": finding.status.value,
        "sentence": finding.sentence,
        "upstream": None
        if known is None
        else {
            "state": known.upstream.value,
            "reference": known.reference,
            "note": known.note,
            "fixed_in": known.fixed_in,
            "advice": finding.advice,
        },
        "clauses": [{"id": id, "text": demand(id, _ROLES.get(finding.side))} for id in finding.clauses],
        "partners": list(finding.partners),
        "protocols": list(finding.protocols),
        "smallest": _observation(finding.smallest),
        "script": f"python -m conformance repro {finding.smallest.case}",
        "cases": list(finding.cases),
    }


def _observation(seen: Observation) -> dict[str, Any]:
    return {
        "case": seen.case,
        "outcome": seen.outcome,
        "accused": {"side": seen.side.value, "libraries": list(seen.accused), "why": seen.why},
        "reason": seen.reason,
        "expected": seen.expected,
        "seen": seen.seen,
        "notes": dict(seen.notes),
    }


def write(found: Sequence[Finding], versions: Mapping[str, Mapping[str, str]], path: Path) -> None:
    """Write the file atomically. Raises ``OSError`` if the disk is full."""
    text = json.dumps(to_json(found, versions), indent=1, ensure_ascii=False) + "\n"
    files.write(path, text.encode("utf-8", "backslashreplace"))
