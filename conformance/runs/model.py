"""Data model of the run file: cells with one letter for each planned case, and evidence for cases that did not conform.

Thousands of cells share their plans and most of their evidence, so the file stores both once. A cell has the index of its plan and, for
each case that did not conform, the index of its evidence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from conformance.verdict import BY_LETTER, Verdict


class Evidence(NamedTuple):
    """The result of a case that did not conform, without its cell and case. ``outcome`` is the raw outcome.

    ``code``, ``clause``, ``given`` and ``step`` are as in :class:`~conformance.execution.results.Result`. ``side`` is the accused side (empty
    where nothing failed), ``accused`` are the names of the accused libraries, ``why`` is the reason. ``notes`` are attachments (name, text),
    such as a stack.
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
    """A wheel installed in a cell in place of the released version."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class OwnTests:
    """Counts of the package's own tests (``--with-tests``) in a cell. ``ended`` is ``done`` or the reason why they stopped.

    The counts are ``None`` if the tests did not finish.
    """

    passed: int | None
    failed: int | None
    errors: int | None
    skipped: int | None
    ended: str


@dataclass(frozen=True)
class CellResult:
    """One planned cell with everything that is known about it.

    ``lifecycle`` is ``done`` or the state of the cell instead, with its ``reason``. ``axes`` are the planned versions, by their names in
    matrix.yaml. ``versions`` are the versions found in the cell (libraries, distributions, ``python``, ``driver``). ``digests`` cover the
    inputs (``suite``, ``lock``, ``image``) and the ``results``; unknown ones are absent. ``plan`` indexes ``RunFile.plans``. ``states`` has a
    letter for each case of the plan, in its order. ``evidence`` has an index into ``RunFile.evidence`` for each letter other than ``c``, in
    the same order. A cell without results has an empty plan.
    """

    name: str
    title: str
    lifecycle: str
    reason: str
    axes: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    libraries: dict[str, dict[str, str]] = field(default_factory=dict)
    """Versions of the distributions of each library found in the cell, by the name of its adapter."""
    holds: dict[str, str] = field(default_factory=dict)
    """The libraries that the cell must be able to use, by the name of the adapter, each with its axis in the matrix."""
    absent: dict[str, str] = field(default_factory=dict)
    """Libraries that could not be used in the cell, with the reason."""
    digests: dict[str, str] = field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()
    own_tests: OwnTests | None = None
    ended: str = ""
    """When the last start of the cell ended, in UTC (ISO 8601); empty if the cell never began."""
    seconds: float = 0.0
    plan: int = 0
    states: str = ""
    evidence: tuple[int, ...] = ()
    calls: dict[str, str] = field(default_factory=dict)
    """Results of calls for plain arrays, keyed by ``device/call/producer``. An empty text is an undecided result."""

    @property
    def is_tested(self) -> bool:
        """Whether the cell has any results."""
        return bool(self.states)


class Found(NamedTuple):
    """One case of a cell that did not conform: its id, its verdict, and the index of its evidence."""

    case: str
    verdict: Verdict
    evidence: int


@dataclass(frozen=True)
class RunFile:
    """A run over cells. ``cells`` has every planned cell, in the order of their names.

    ``id`` identifies the run, ``began`` is the start of its first cell (UTC). ``plans[0]`` is the empty plan.
    """

    id: str
    began: str
    suite: str
    """Version of the suite."""
    tier: str
    cells: tuple[CellResult, ...]
    plans: tuple[tuple[str, ...], ...] = ((),)
    evidence: tuple[Evidence, ...] = ()

    @property
    def called(self) -> str:
        """Name of the run in messages. A run merged from no input has no id."""
        return self.id or "(unnamed)"

    def cases(self, cell: CellResult) -> tuple[str, ...]:
        """Return the ids of all planned cases of a cell."""
        return self.plans[cell.plan]

    def found(self, cell: CellResult) -> Iterator[Found]:
        """Yield the cases of a cell that did not conform, in the order of the plan."""
        cases, evidence = self.plans[cell.plan], iter(cell.evidence)
        for position, letter in enumerate(cell.states):
            if letter != "c":
                yield Found(cases[position], BY_LETTER[letter], next(evidence))

    def by_name(self) -> dict[str, CellResult]:
        """Return the cells by name."""
        return {cell.name: cell for cell in self.cells}


class Place(NamedTuple):
    """The parts of a case id."""

    invariant: str
    libraries: tuple[str, ...]
    """Producer and consumer; in a chain also the libraries between them."""
    protocol: str
    device: str
    parameters: tuple[str, ...]

    @property
    def family(self) -> str:
        """Family of the invariant."""
        return self.invariant.partition(".")[0]

    @property
    def is_chain(self) -> bool:
        """Whether libraries stand between producer and consumer. Then any of them may have caused a failure."""
        return len(self.libraries) > 2

    @property
    def who(self) -> str:
        """``producer-consumer``, as in the id."""
        return "-".join(self.libraries)


def place(case: str) -> Place:
    """Split a case id: ``family.name/producer-consumer/protocol/device[/value…]``."""
    invariant, who, protocol, device, *parameters = case.split("/")
    return Place(invariant, tuple(who.split("-")), protocol, device, tuple(parameters))
