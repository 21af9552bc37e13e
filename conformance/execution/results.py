"""The result of one case, and the files that results and plans are written to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from conformance.protocols.clauses import Level
from conformance.suite.catalogue import Case
from conformance.suite.outcomes import Outcome

BAD = frozenset({Outcome.CRASH, Outcome.HANG, Outcome.POISONED})
"""Outcomes by which a process or its context was lost: always violations, whatever the invariant's level."""

STDERR_CHARACTERS = 4000
"""How much of a lost process's standard error is kept: the end of it."""


@dataclass(frozen=True)
class Result:
    """What happened in one case. ``duration`` is in seconds; ``level`` that of the clause that was broken."""

    case: Case
    outcome: Outcome
    level: Level
    clauses: tuple[str, ...] = ()
    reason: str = ""
    expected: str = ""
    seen: str = ""
    duration: float = 0.0
    attachments: dict[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """``conforms``, ``violates``, ``deviates``, ``observed``, ``refused`` or ``not decided``."""
        if self.outcome in BAD:
            return "violates"
        if self.outcome is Outcome.FAIL:
            return self.level.verdict_on_failure
        return {Outcome.PASS: "conforms", Outcome.REFUSED: "refused"}.get(self.outcome, "not decided")

    def to_json(self) -> dict[str, Any]:
        """One line of ``results.jsonl``."""
        case = self.case.to_json()
        del case["tier"]
        invariant_id = case["invariant"]
        return {
            **case,
            "family": invariant_id.partition(".")[0],
            "outcome": self.outcome.value,
            "verdict": self.verdict,
            "level": self.level.value,
            "clauses": list(self.clauses),
            "reason": self.reason,
            "expected": self.expected,
            "seen": self.seen,
            "duration": round(self.duration, 6),
            "attachments": self.attachments,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Result:
        """The reverse of :meth:`to_json`."""
        return cls(
            case=Case.from_json({**data, "tier": "full"}),
            outcome=Outcome(data["outcome"]),
            level=Level(data["level"]),
            clauses=tuple(data["clauses"]),
            reason=data["reason"],
            expected=data["expected"],
            seen=data["seen"],
            duration=data["duration"],
            attachments=data["attachments"],
        )

    def beside(self, notes: dict[str, str]) -> Result:
        """The same with more attachments."""
        return replace(self, attachments={**notes, **self.attachments}) if notes else self

    def lasting(self, seconds: float) -> Result:
        """The same with its duration."""
        return replace(self, duration=seconds)


def death(
    case: Case, clauses: tuple[str, ...], outcome: Outcome, reason: str, stderr: str, *, seen: str = ""
) -> Result:
    """The result of a case whose process was lost; ``seen`` is how it ended, if it did by itself."""
    return Result(
        case,
        outcome,
        Level.MUST,
        clauses,
        reason,
        expected="a living process" if seen else "",
        seen=seen,
        attachments={"stderr": stderr[-STDERR_CHARACTERS:]} if stderr else {},
    )


def append_to(path: Path) -> int:
    """A descriptor that every write goes to the end of."""
    return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)


def append(descriptor: int, result: Result) -> None:
    """One line, in one write, so that no reader ever sees half of it followed by another."""
    os.write(descriptor, json.dumps(result.to_json(), ensure_ascii=False).encode() + b"\n")


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write a file of JSON lines, whole or not at all."""
    partial = path.with_suffix(path.suffix + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    partial.replace(path)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file of JSON lines; a last line that was cut off is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)
