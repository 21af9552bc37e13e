"""Subject of a report: a run with its judgement, history, waivers and scripts."""

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
    """A run, and optionally its judgement, its history, a sentence for each waiver by id, and scripts of cases.

    ``run`` has only trusted results; ``judgement`` may have judged more. ``script`` returns the text of a standalone script of a case,
    empty if there is no readable one.
    """

    run: RunFile
    judgement: Judgement | None = None
    streaks: Mapping[Spot, Streak] = field(default_factory=dict)
    waivers: Mapping[str, str] = field(default_factory=dict)
    script: Callable[[str], str] | None = None

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """All remarks of the gate; empty if the run was not judged."""
        return self.judgement.remarks if self.judgement else ()

    @cached_property
    def findings(self) -> list[Finding]:
        """The root causes of all cases that count against a library."""
        return observations.findings(self.run)

    @cached_property
    def accounts(self) -> list[Account]:
        """The findings in the order of reports, each with all data that reports show."""
        return accounts(self.run, self.findings, self.waived)

    @cached_property
    def by_spot(self) -> Mapping[Spot, tuple[int, ...]]:
        """The findings that each case shows in each cell, as indices into ``accounts``."""
        found: dict[Spot, tuple[int, ...]] = {}
        for number, account in enumerate(self.accounts):
            for observation in account.finding.observations:
                spot = (observation.cell, observation.case)
                found[spot] = (*found.get(spot, ()), number)
        return found

    @cached_property
    def waived(self) -> dict[Spot, str]:
        """The waiver of each waived case, by cell and case."""
        return {(f.cell, f.case): f.waiver for f in self.remarks if f.waiver and f.case}


def origin(run: RunFile) -> tuple[tuple[str, str], ...]:
    """Return the origin of the results as words and values: run, suite, tier and start, if known."""
    told = (("run", run.called), ("suite", run.suite), ("tier", run.tier), ("begun", run.began or "not started"))
    return tuple((word, value) for word, value in told if value)
