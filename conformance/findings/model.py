"""Data model of findings: one observed failure, one finding, and its upstream status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from conformance.checks.outcomes import Side
from conformance.verdict import Verdict

UNKNOWN = "unknown"
"""Library of a finding if the evidence does not determine the accused."""


@dataclass(frozen=True)
class Observation:
    """One case in one cell that counts against a library. ``case`` is its id; ``accused`` are the names of libraries.

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
        """Producer and consumer; in a chain also the libraries between them."""
        return tuple(self.case.split("/")[1].split("-"))

    @property
    def protocol(self) -> str:
        """``dlpack``, ``cai`` or ``none``."""
        return self.case.split("/")[2]

    @property
    def device(self) -> str:
        """Device of the elements: ``host``, ``cuda`` or ``simulated``."""
        return self.case.split("/")[3]


def held_alone(observations: Sequence[Observation]) -> Sequence[Observation]:
    """Return the observations that accuse one side only; all of them if there is none, because then the other side may be worse."""
    return [one for one in observations if one.side is not Side.BOTH] or observations


class Upstream(str, Enum):
    """Upstream status of a cause."""

    OPEN = "open"
    FIXED = "fixed"
    MERGED = "merged"
    """Fixed in the library's source, but not in a release."""
    INTENDED = "intended"
    UNREPORTED = "unreported"
    """Found by this suite, but not in a public tracker."""


@dataclass(frozen=True)
class Known:
    """An entry of known.yaml. ``finding`` is a pattern of finding ids, in which ``*`` matches any text.

    ``fixed_in`` is the first fixed version of ``distribution``, empty if there is none. ``distribution`` defaults to the library's first one.
    """

    finding: str
    upstream: Upstream
    reference: str
    note: str
    fixed_in: str = ""
    distribution: str = ""
    line: int = 0


class Status(str, Enum):
    """Status of a finding for the reader of a run. The value is the word in tables and files."""

    NEW = "new"
    KNOWN = "known"
    INTENDED = "intended"
    FIXED = "fixed in a newer release"


@dataclass(frozen=True)
class Finding:
    """One root cause. ``library`` is accused on ``side``, which is empty if the cause is the same on both sides.

    ``verdict`` is the worst verdict of its cases. ``versions`` are the versions of the library's distributions, by name. ``observations`` are
    all its cases, the smallest first. ``partners`` are the libraries on the other side.
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
        """The simplest case that reproduces the finding."""
        return self.observations[0]

    @property
    def cases(self) -> tuple[str, ...]:
        """Ids of its cases, without duplicates."""
        return tuple(dict.fromkeys(observation.case for observation in self.observations))

    @property
    def partners(self) -> tuple[str, ...]:
        """The other libraries in its cases."""
        names = (name for observation in self.observations for name in observation.libraries)
        return tuple(dict.fromkeys(name for name in names if name != self.library))

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols of its cases."""
        return tuple(dict.fromkeys(observation.protocol for observation in self.observations))

    @property
    def clauses(self) -> tuple[str, ...]:
        """The clauses that its cases break. Cases that accuse both sides count only if there are no others."""
        return tuple(dict.fromkeys(one.clause for one in held_alone(self.observations) if one.clause))

    @property
    def advice(self) -> str:
        """The upstream status in one sentence; empty if nothing is known."""
        if self.known is None:
            return ""
        if self.status is Status.FIXED:
            return f"fixed in {self.known.fixed_in}: upgrade"
        if self.known.upstream is Upstream.FIXED:
            return f"still present, although {self.known.fixed_in} is documented to fix it"
        return {
            Upstream.INTENDED: "the library documents or intends it",
            Upstream.OPEN: "open upstream",
            Upstream.MERGED: "fixed upstream, but not released",
            Upstream.UNREPORTED: "not found in a public tracker",
        }[self.known.upstream]
