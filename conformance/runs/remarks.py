"""Remarks of the gate, and the exit code of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from conformance.exits import Exit
from conformance.findings.model import Finding
from conformance.runs.model import RunFile
from conformance.verdict import Verdict


class Kind(Enum):
    """Kind of a remark: its name in JSON and its exit code, ``Exit.OK`` if it is informational."""

    INTEGRITY = ("integrity", Exit.INTEGRITY)
    """Digests of suite, lock, image, candidate or results do not match."""
    STALE = ("stale cell", Exit.STALE)
    """A cell was run with another lock or suite than the current one."""
    NOT_TESTED = ("not tested", Exit.NOT_TESTED)
    """A cell has no results, or a case has no result or is not decided."""
    SHRUNK = ("shrunk plan", Exit.SHRUNK)
    """The run did not plan a cell or a case that the baseline has."""
    REGRESSION = ("regression", Exit.REGRESSION)
    """A case that conformed, or was supported, in the baseline does not now."""
    NEW_VIOLATION = ("new violation", Exit.NEW_VIOLATION)
    """A case that the baseline does not have violates."""
    OWN_TESTS = ("own tests", Exit.OWN_TESTS)
    """The package's own tests (``--with-tests``) did not all pass."""
    WAIVER = ("waiver", Exit.WAIVER)
    """A waiver is expired, matches nothing, overlaps another or expects a failure that no longer happens."""
    STILL = ("still", Exit.OK)
    """A case conforms neither in the baseline nor now."""
    FIXED = ("fixed", Exit.OK)
    """A case that did not conform in the baseline conforms now, or has a better verdict."""
    NEW_CASE = ("new case", Exit.OK)
    """The baseline has no verdict on the case, and the case does not violate."""
    NOTE = ("note", Exit.OK)
    """Information: checks that were not made, and waivers for cells that this run does not have."""

    @property
    def word(self) -> str:
        """The name in JSON and tables."""
        return self.value[0]

    @property
    def exit(self) -> Exit:
        """The exit code of the kind."""
        return self.value[1]


@dataclass(frozen=True)
class Remark:
    """One remark of the gate. ``cell`` or ``case`` are empty if the remark concerns several.

    ``before`` and ``now`` are the compared verdicts. ``evidence`` indexes the run's evidence. ``findings`` are the ids of the findings that the
    case shows. ``waiver`` is the id of the waiver that covers the remark, or several ids with commas, one for each finding. A waived remark does
    not affect the exit code.
    """

    kind: Kind
    sentence: str
    cell: str = ""
    case: str = ""
    before: Verdict | None = None
    now: Verdict | None = None
    evidence: int | None = None
    waiver: str = ""
    findings: tuple[str, ...] = ()

    @property
    def exit(self) -> Exit:
        """The exit code of the remark; ``Exit.OK`` if it is waived."""
        return Exit.OK if self.waiver else self.kind.exit


@dataclass(frozen=True)
class Judgement:
    """A run, its baseline, and all remarks, worst first."""

    run: RunFile
    baseline: RunFile | None
    remarks: tuple[Remark, ...]
    findings: tuple[Finding, ...] = ()
    """The findings of the run, from trusted cells only."""

    @property
    def exit(self) -> Exit:
        """The exit code of the worst remark; ``Exit.OK`` if no remark counts."""
        return max((remark.exit for remark in self.remarks), default=Exit.OK)
