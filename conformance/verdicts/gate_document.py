"""What a gate found as one JSON document, for machines. Its schema lies beside it."""

from __future__ import annotations

from datetime import date
from typing import Any

from . import gate, runfile
from .findings import Finding, Judgement
from .model import Evidence, RunFile

FORMAT = "conformance-gate/1"


def to_json(found: Judgement, today: date) -> dict[str, Any]:
    """Plain data: all findings, worst first; what they refer to of the run's evidence is in it once."""
    used = sorted({finding.evidence for finding in found.findings if finding.evidence is not None})
    place = {index: number for number, index in enumerate(used)}
    counts = gate.counts(found.findings)
    return {
        "format": FORMAT,
        "today": today.isoformat(),
        "run": _about(found.run),
        "baseline": _about(found.baseline) if found.baseline else None,
        "exit": int(found.exit),
        "verdict": gate.verdict(found),
        "counts": {kind.word: {"all": n, "waived": waived} for kind, (n, waived) in counts.items() if n},
        "findings": [_finding(finding, place) for finding in found.findings],
        "evidence": [_evidence(found.run.evidence[index]) for index in used],
    }


def _about(run: RunFile) -> dict[str, Any]:
    return {
        "id": run.id, "began": run.began, "suite": run.suite, "tier": run.tier, "cells": len(run.cells),
        "digest": runfile.digest(run),
    }  # fmt: skip


def _finding(finding: Finding, place: dict[int, int]) -> dict[str, Any]:
    return {
        "kind": finding.kind.word,
        "exit": int(finding.exit),
        "sentence": finding.sentence,
        "cell": finding.cell or None,
        "case": finding.case or None,
        "before": finding.before.verdict if finding.before else None,
        "now": finding.now.verdict if finding.now else None,
        "evidence": None if finding.evidence is None else place[finding.evidence],
        "waiver": finding.waiver or None,
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    plain = evidence._asdict()
    told = {"state": evidence.state.verdict, "clauses": list(evidence.clauses), "notes": dict(evidence.notes)}
    return {**plain, **told}
