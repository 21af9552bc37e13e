"""The run file as data: cells, and of each planned case in a cell one letter, with evidence where there is any.

Thousands of cells share their plans and most of what went wrong in them, so both are kept once: a cell refers to its plan and, for
each case that did not conform, to a piece of evidence by its index.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from conformance.verdict import BY_LETTER, Verdict


class Evidence(NamedTuple):
    """All that the result of a case that did not conform says, apart from whose it is. ``outcome`` is the raw one.

    ``code``, ``clause``, ``given`` and ``step`` are as in :class:`~conformance.execution.results.Result`. ``side`` is who is accused
    (empty where nothing failed), ``accused`` the libraries by name, ``why`` how that was found out. ``notes`` are attachments (name,
    text), such as a stack.
    """

    verdict: Verdict
    outcome: str
    level: str
    code: str
    clause: str
    given: str
    step: str
    side: str
    accused: tuple[str, ...]
    why: str
    reason: str
    expected: str
    seen: str
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Candidate:
    """What was put into a cell in place of the released version."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class OwnTests:
    """What the tests of a package (``--with-tests``) came to in a cell. ``ended`` is ``done`` or how they ended instead.

    Where they did not come to their end nobody knows how many there were: the counts are ``None``.
    """

    passed: int | None
    failed: int | None
    errors: int | None
    skipped: int | None
    ended: str


@dataclass(frozen=True)
class CellResult:
    """One planned cell with everything that is known of it.

    ``lifecycle`` is ``done`` or what became of the cell instead, with its ``reason``. ``axes`` are the versions that it was planned with,
    by the names that matrix.yaml has, ``versions`` those that were found in it (by libraries, distributions, ``python``, ``driver``). ``digests`` are of what it
    ran (``suite``, ``lock``, ``image``) and of its ``results``; what is not known is absent. ``plan`` indexes ``RunFile.plans``;
    ``states`` has a letter for each case of it, in its order, and ``evidence`` an index into ``RunFile.evidence`` for each letter that
    is not ``c``, in the same order. A cell without results has an empty plan.
    """

    name: str
    title: str
    lifecycle: str
    reason: str
    axes: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    libraries: dict[str, dict[str, str]] = field(default_factory=dict)
    """Versions by distribution, of each library that was found, by the name of its adapter."""
    holds: dict[str, str] = field(default_factory=dict)
    """The libraries that it has to be able to use, by the names of their adapters, each with the axis that it was planned by."""
    absent: dict[str, str] = field(default_factory=dict)
    """Libraries that could not be used in the cell, and why."""
    digests: dict[str, str] = field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()
    own_tests: OwnTests | None = None
    ended: str = ""
    """When its last start ended, in UTC (ISO 8601); empty if it never began."""
    seconds: float = 0.0
    plan: int = 0
    states: str = ""
    evidence: tuple[int, ...] = ()
    calls: dict[str, str] = field(default_factory=dict)
    """What calls gave for plain arrays, by device, call and producer with ``/`` between them; empty text where that is not decided."""

    @property
    def is_tested(self) -> bool:
        """Whether it has any results."""
        return bool(self.states)


class Found(NamedTuple):
    """One case of a cell that did not conform: its id, its verdict and its evidence's index."""

    case: str
    verdict: Verdict
    evidence: int


@dataclass(frozen=True)
class RunFile:
    """A run over cells, whole. Every planned cell is in ``cells``, in the order of their names.

    ``id`` tells one run from another, ``began`` when its first cell was started (UTC). ``plans[0]`` is the empty plan.
    """

    id: str
    began: str
    suite: str
    """The suite's version."""
    tier: str
    cells: tuple[CellResult, ...]
    plans: tuple[tuple[str, ...], ...] = ((),)
    evidence: tuple[Evidence, ...] = ()

    @property
    def called(self) -> str:
        """Its id, for people: a run that nothing was brought for has none."""
        return self.id or "(unnamed)"

    def cases(self, cell: CellResult) -> tuple[str, ...]:
        """The ids of all cases that were planned in a cell."""
        return self.plans[cell.plan]

    def found(self, cell: CellResult) -> Iterator[Found]:
        """The cases of a cell that did not conform, in the order of the plan."""
        cases, evidence = self.plans[cell.plan], iter(cell.evidence)
        for position, letter in enumerate(cell.states):
            if letter != "c":
                yield Found(cases[position], BY_LETTER[letter], next(evidence))

    def by_name(self) -> dict[str, CellResult]:
        """The cells by name."""
        return {cell.name: cell for cell in self.cells}


class Place(NamedTuple):
    """A case id taken apart."""

    invariant: str
    libraries: tuple[str, ...]
    """Producer and consumer; in a chain those between them, too."""
    protocol: str
    device: str
    parameters: tuple[str, ...]

    @property
    def family(self) -> str:
        """The invariant's."""
        return self.invariant.partition(".")[0]

    @property
    def is_chain(self) -> bool:
        """Whether there is a library between producer and consumer: what goes wrong may be any one's doing."""
        return len(self.libraries) > 2

    @property
    def who(self) -> str:
        """``producer-consumer``, as in the id."""
        return "-".join(self.libraries)


def place(case: str) -> Place:
    """Take a case id apart: ``family.name/producer-consumer/protocol/device[/value…]``."""
    invariant, who, protocol, device, *parameters = case.split("/")
    return Place(invariant, tuple(who.split("-")), protocol, device, tuple(parameters))
