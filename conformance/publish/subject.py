"""What is reported on: a run, and what is known about it besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from conformance.verdicts.findings import Finding, Judgement
from conformance.verdicts.model import Evidence, RunFile


class Streak(Protocol):
    """Since when a case of a cell has not conformed, for how many runs, and how often it changed before."""

    @property
    def since(self) -> str:
        """The day or time of the first run of the streak."""

    @property
    def runs(self) -> int:
        """How many runs it has lasted."""

    @property
    def flaps(self) -> int:
        """How often it changed between conforming and not."""


def no_script(case: str, evidence: Evidence) -> str:
    """Where nothing is known that makes scripts."""
    return ""


@dataclass(frozen=True)
class Subject:
    """A run and, as far as there is any, its judgement, its history, its waivers by id in a sentence, and scripts of cases.

    ``script`` returns the text of a standalone script, or nothing where no readable one exists.
    """

    run: RunFile
    judgement: Judgement | None = None
    streaks: Mapping[tuple[str, str], Streak] = field(default_factory=dict)
    waivers: Mapping[str, str] = field(default_factory=dict)
    script: Callable[[str, Evidence], str] = no_script

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the gate says, if there was one."""
        return self.judgement.findings if self.judgement else ()

    def waived(self) -> dict[tuple[str, str], str]:
        """The waiver of each cell and case that one covers."""
        return {(f.cell, f.case): f.waiver for f in self.findings if f.waiver and f.case}
