"""What is reported on: a run, and what is known about it besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from conformance.verdicts.history import Streak
from conformance.verdicts.model import RunFile
from conformance.verdicts.remarks import Judgement, Remark
from conformance.verdicts.waivers import Spot


@dataclass(frozen=True)
class Subject:
    """A run and, as far as there is any, its judgement, its history, its waivers by id in a sentence, and scripts of cases.

    ``run`` holds what can be believed; ``judgement`` may have judged more. ``script`` returns the text of a standalone script of a case,
    empty where no readable one exists.
    """

    run: RunFile
    judgement: Judgement | None = None
    streaks: Mapping[Spot, Streak] = field(default_factory=dict)
    waivers: Mapping[str, str] = field(default_factory=dict)
    script: Callable[[str], str] | None = None

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What the gate says, if there was one."""
        return self.judgement.remarks if self.judgement else ()

    def waived(self) -> dict[Spot, str]:
        """The waiver of each cell and case that one covers."""
        return {(f.cell, f.case): f.waiver for f in self.remarks if f.waiver and f.case}


def origin(run: RunFile) -> tuple[tuple[str, str], ...]:
    """Where results are from: which run, with which suite, over which tier, and when, as far as it is known. Words and values."""
    told = (("run", run.called), ("suite", run.suite), ("tier", run.tier), ("begun", run.began or "never"))
    return tuple((word, value) for word, value in told if value)
