"""JSON document of a judgement, for programs. Its schema is in ``schemas/gate.schema.json``."""

from __future__ import annotations

from datetime import date
from typing import Any

from conformance.findings.model import Finding
from conformance.runs import run_file
from conformance.runs.model import Evidence, RunFile
from conformance.runs.remarks import Judgement, Remark

from . import judgement

FORMAT = "conformance-gate/2"


def to_json(found: Judgement, today: date) -> dict[str, Any]:
    """Return plain data: all remarks, worst first. Evidence that they share is stored once."""
    used = sorted({remark.evidence for remark in found.remarks if remark.evidence is not None})
    place = {index: number for number, index in enumerate(used)}
    counts = judgement.counts(found.remarks)
    return {
        "format": FORMAT,
        "today": today.isoformat(),
        "run": _about(found.run),
        "baseline": _about(found.baseline) if found.baseline else None,
        "exit": int(found.exit),
        "verdict": judgement.verdict(found),
        "counts": {kind.word: {"all": n, "waived": waived} for kind, (n, waived) in counts.items() if n},
        "remarks": [_remark(remark, place) for remark in found.remarks],
        "evidence": [_evidence(found.run.evidence[index]) for index in used],
        "findings": [_finding(one) for one in _shown(found)],
    }


def _shown(found: Judgement) -> list[Finding]:
    """Return the findings that remarks refer to."""
    named = {id for remark in found.remarks for id in remark.findings}
    return [one for one in found.findings if one.id in named]


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "id": one.id, "library": one.library, "sentence": one.sentence, "verdict": one.verdict.word,
        "status": one.status.value, "upstream": one.advice,
    }  # fmt: skip


def _about(run: RunFile) -> dict[str, Any]:
    return {
        "id": run.id, "began": run.began, "suite": run.suite, "tier": run.tier, "cells": len(run.cells),
        "digest": run_file.digest(run),
    }  # fmt: skip


def _remark(remark: Remark, place: dict[int, int]) -> dict[str, Any]:
    return {
        "kind": remark.kind.word,
        "exit": int(remark.exit),
        "sentence": remark.sentence,
        "cell": remark.cell or None,
        "case": remark.case or None,
        "before": remark.before.word if remark.before else None,
        "now": remark.now.word if remark.now else None,
        "evidence": None if remark.evidence is None else place[remark.evidence],
        "waiver": remark.waiver or None,
        "findings": list(remark.findings),
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    told = {"verdict": evidence.verdict.word, "accused": list(evidence.accused), "notes": dict(evidence.notes)}
    return {**evidence._asdict(), **told}
