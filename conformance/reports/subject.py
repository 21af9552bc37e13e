"""The subject of a report: a run, and everything that is known about it besides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from conformance.findings.model import Finding
from conformance.gate.waivers import Spot
from conformance.runs import observations
from conformance.runs.history import Streak
from conformance.runs.model import RunFile
from conformance.runs.remarks import Judgement, Remark

from .finding_accounts import Account, accounts


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
        """Everything that the gate says, if there was one."""
        return self.judgement.remarks if self.judgement else ()

    @cached_property
    def findings(self) -> list[Finding]:
        """The root causes of everything that speaks against a library."""
        return observations.findings(self.run)

    @cached_property
    def accounts(self) -> list[Account]:
        """The findings in the order of reports, each with everything that a report tells of it."""
        return accounts(self.run, self.findings, self.waived)

    @cached_property
    def by_spot(self) -> Mapping[Spot, tuple[int, ...]]:
        """The findings that each case shows in each cell, as places in ``accounts``."""
        found: dict[Spot, tuple[int, ...]] = {}
        for number, account in enumerate(self.accounts):
            for observation in account.finding.observations:
                spot = (observation.cell, observation.case)
                found[spot] = (*found.get(spot, ()), number)
        return found

    @cached_property
    def waived(self) -> dict[Spot, str]:
        """The waiver of each cell and case that one covers."""
        return {(f.cell, f.case): f.waiver for f in self.remarks if f.waiver and f.case}


def origin(run: RunFile) -> tuple[tuple[str, str], ...]:
    """Where results are from: which run, with which suite, over which tier, and when, as far as it is known. Words and values."""
    told = (("run", run.called), ("suite", run.suite), ("tier", run.tier), ("begun", run.began or "never"))
    return tuple((word, value) for word, value in told if value)
