"""The data of findings: one observed failure, one finding, and what upstream knows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from conformance.checks.outcomes import Side
from conformance.verdict import Verdict

UNKNOWN = "unknown"
"""In the place of a library where the evidence does not decide who is accused."""


@dataclass(frozen=True)
class Observation:
    """One case that speaks against somebody, in one cell. ``case`` is its id; ``accused`` are libraries by name.

    ``code``, ``clause``, ``given`` and ``step`` are as in :class:`~conformance.execution.results.Result`. ``cell`` is empty for a run
    in one environment.
    """

    case: str
    verdict: Verdict
    outcome: str
    code: str
    clause: str
    given: str
    step: str
    side: Side
    accused: tuple[str, ...]
    why: str
    reason: str
    expected: str
    seen: str
    notes: Mapping[str, str] = field(default_factory=dict, hash=False)
    cell: str = ""

    @property
    def libraries(self) -> tuple[str, ...]:
        """Producer and consumer, with a library between them if there is one."""
        return tuple(self.case.split("/")[1].split("-"))

    @property
    def protocol(self) -> str:
        """``dlpack``, ``cai`` or ``none``."""
        return self.case.split("/")[2]

    @property
    def device(self) -> str:
        """Where the elements lay."""
        return self.case.split("/")[3]


def held_alone(observations: Sequence[Observation]) -> Sequence[Observation]:
    """Those that accuse one side alone; all of them, where two mistakes meet in each, and the other one may be the worse."""
    return [one for one in observations if one.side is not Side.BOTH] or observations


class Upstream(str, Enum):
    """What the library's developers have said of a cause."""

    OPEN = "open"
    FIXED = "fixed"
    MERGED = "merged"
    """Fixed in the library's source, and in no release yet."""
    INTENDED = "intended"
    UNREPORTED = "unreported"
    """Seen by this suite, and not found in any public tracker."""


@dataclass(frozen=True)
class Known:
    """An entry of known.yaml. ``finding`` is a finding's id, in which ``*`` stands for anything.

    ``fixed_in`` is the first version of ``distribution`` without the cause, empty if there is none yet. Without a ``distribution``, the
    library's first one is meant.
    """

    finding: str
    upstream: Upstream
    reference: str
    note: str
    fixed_in: str = ""
    distribution: str = ""
    line: int = 0


class Status(str, Enum):
    """What a reader of a run has to know first about a finding. The value is the word in tables and files."""

    NEW = "new"
    KNOWN = "known"
    INTENDED = "intended"
    FIXED = "fixed in a newer release"


@dataclass(frozen=True)
class Finding:
    """One root cause. ``library`` is accused; ``side`` says whether as producer or consumer, empty where that makes no difference.

    ``verdict`` is the worst one of its cases. ``versions`` are those of the library's distributions, by name. ``observations`` are all its
    cases, the smallest first; ``partners`` the libraries on the other side.
    """

    id: str
    library: str
    side: str
    code: str
    given: str
    step: str
    verdict: Verdict
    sentence: str
    status: Status
    observations: tuple[Observation, ...]
    versions: Mapping[str, str] = field(default_factory=dict, hash=False)
    known: Known | None = None

    @property
    def smallest(self) -> Observation:
        """The case with which to see it for oneself."""
        return self.observations[0]

    @property
    def cases(self) -> tuple[str, ...]:
        """Ids of its cases, each once."""
        return tuple(dict.fromkeys(observation.case for observation in self.observations))

    @property
    def partners(self) -> tuple[str, ...]:
        """The other libraries that it was seen with."""
        names = (name for observation in self.observations for name in observation.libraries)
        return tuple(dict.fromkeys(name for name in names if name != self.library))

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols that it was seen with."""
        return tuple(dict.fromkeys(observation.protocol for observation in self.observations))

    @property
    def clauses(self) -> tuple[str, ...]:
        """The clauses that its cases break, each once; where two libraries are accused, the clause may be the other one's."""
        return tuple(dict.fromkeys(one.clause for one in held_alone(self.observations) if one.clause))

    @property
    def advice(self) -> str:
        """What is known upstream, in a sentence; empty where nothing is."""
        if self.known is None:
            return ""
        if self.status is Status.FIXED:
            return f"fixed in {self.known.fixed_in}: upgrade"
        if self.known.upstream is Upstream.FIXED:
            return f"seen although {self.known.fixed_in} is said to fix it"
        return {
            Upstream.INTENDED: "the library documents or intends it",
            Upstream.OPEN: "open upstream",
            Upstream.MERGED: "fixed upstream, and in no release yet",
            Upstream.UNREPORTED: "not found in a public tracker",
        }[self.known.upstream]
