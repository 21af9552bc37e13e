"""What a gate finds, and the exit code of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from conformance.exits import Exit
from conformance.findings.model import Finding
from conformance.runs.model import RunFile
from conformance.verdict import Verdict


class Kind(Enum):
    """A kind of remark: its name in JSON and the exit code that it stands for, ``Exit.OK`` if it only tells."""

    INTEGRITY = ("integrity", Exit.INTEGRITY)
    """Digests do not match: of suite, lock, image, candidate or results."""
    STALE = ("stale cell", Exit.STALE)
    """A cell was run for another lock or suite than there is now."""
    NOT_TESTED = ("not tested", Exit.NOT_TESTED)
    """A cell has no results, or a case is lost or not decided."""
    SHRUNK = ("shrunk plan", Exit.SHRUNK)
    """A cell or a case that the baseline has was not even planned."""
    REGRESSION = ("regression", Exit.REGRESSION)
    """It conformed before, or was supported, and does not now."""
    NEW_VIOLATION = ("new violation", Exit.NEW_VIOLATION)
    """A case that the baseline does not have violates."""
    OWN_TESTS = ("own tests", Exit.OWN_TESTS)
    """The tests that were run beside ours (``--with-tests``) did not all pass."""
    WAIVER = ("waiver", Exit.WAIVER)
    """A waiver is expired, matches nothing, overlaps another or expects a failure that no longer happens."""
    STILL = ("still", Exit.OK)
    """It did not conform before and does not now."""
    FIXED = ("fixed", Exit.OK)
    """It did not conform before, and now it does, or is better than it was."""
    NEW_CASE = ("new case", Exit.OK)
    """The baseline has no verdict on it, and nothing violates."""
    NOTE = ("note", Exit.OK)
    """To be known: what was not checked, and waivers for cells that this run does not have."""

    @property
    def word(self) -> str:
        """The name in JSON and tables."""
        return self.value[0]

    @property
    def exit(self) -> Exit:
        """The exit code that it stands for."""
        return self.value[1]


@dataclass(frozen=True)
class Remark:
    """One thing that a gate says, in a sentence. ``cell`` or ``case`` are empty where it is about more than one.

    ``before`` and ``now`` are the verdicts that are compared; ``evidence`` indexes the run's evidence, ``findings`` are the ids of those
    that the case shows. ``waiver`` is the id of the one that covers it, or several with commas between them where each is for another
    of its findings: such a remark does not count for the exit code.
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
        """What it counts for."""
        return Exit.OK if self.waiver else self.kind.exit


@dataclass(frozen=True)
class Judgement:
    """A run, what it was compared with, and all remarks, worst first."""

    run: RunFile
    baseline: RunFile | None
    remarks: tuple[Remark, ...]
    findings: tuple[Finding, ...] = ()
    """The findings of the run, as far as it can be believed."""

    @property
    def exit(self) -> Exit:
        """The worst remark's; green only if nothing at all speaks against it."""
        return max((remark.exit for remark in self.remarks), default=Exit.OK)
