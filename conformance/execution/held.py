"""What a folder of ``check`` holds: the one reader of it, for what runs inside a cell and for what runs outside.

Two files tell the result of a case. ``results.jsonl`` is the account of a run that came to its end: it is written last, from the whole
journal, with who is accused. The journal is written as things happen, and a run that goes on with another appends to it. So:

* Where ``results.jsonl`` decides every planned case, it counts, and it alone. ``--resume`` runs nothing that is decided, so nothing that
  the journal has besides can be newer, and the digest that a cell's record keeps is of this file: a journal that says otherwise was altered.
* Otherwise the run did not come to its end, or was gone on with since. Then a case has the result that decides it, the journal's before
  the other where both do; ``results.jsonl`` fills in what the journal has not got. Who is accused is found out from all of that.
* A planned case that neither of them has is lost.

A journal also has trials, which were not planned: they are no results of the run, and tell who is accused. In ``results.jsonl`` a case
that was not planned is a mistake.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any

from conformance.protocols.clauses import all_clauses
from conformance.suite.catalogue import Case, catalogue
from conformance.suite.outcomes import Outcome, Side

from . import folder, journal, repeating
from .accusing import Find, accused
from .ledger import lost
from .results import ACCUSING, BAD, Accused, Line, Result

Loads = Callable[[bytes], Any]
"""What parses a line; ``ValueError`` where it is no JSON."""
NOT_COME_TO = "the run has not come to it"
_PARTS = 4
"""Parts that the id of a case has at least."""
_LOST = Outcome.LOST.value
_outcome_of = itemgetter("outcome")
_OF_ANOTHER_SUITE = Accused(Side.UNKNOWN, (), "this suite does not know the invariant or the clause")
_ACCUSING = frozenset(outcome.value for outcome in ACCUSING)


@dataclass(frozen=True)
class Plan:
    """A plan: its digest, and the ids of its cases in their order."""

    digest: str
    ids: tuple[str, ...]

    @cached_property
    def known(self) -> frozenset[str]:
        """The ids, to look one up."""
        return frozenset(self.ids)


@dataclass(frozen=True)
class Held:
    """A plan, and by case, in no order, a line as ``results.jsonl`` has it: where there is none, one that says it is lost."""

    plan: Plan
    results: dict[str, Line]

    @property
    def is_complete(self) -> bool:
        """Whether every planned case is decided, by whatever outcome."""
        return len(self.results) == len(self.plan.ids) and _LOST not in map(_outcome_of, self.results.values())


@dataclass(frozen=True)
class Left:
    """What a run has left in its folder, for a run that goes on with it and for whoever looks at it."""

    cases: tuple[Case, ...]
    environment: dict[str, Any]
    results: tuple[Result, ...]
    """One for each planned case, in the plan's order."""
    known: dict[str, Result]
    """What is decided, trials too, with nobody accused yet as far as the journal has it: by what is run now it may be somebody else."""
    unended: frozenset[str]
    """Cases that were begun and have no result."""
    unsettled: frozenset[str] = frozenset()
    """Failures of which a run that was stopped would still have found out whom they accuse."""

    def result(self, id: str) -> Result | None:
        """What is decided of a case, of one that was planned or of a trial."""
        planned = (result for result in self.results if result.case.id == id and id in self.known)
        return next(planned, None) or self.known.get(id)


def read(out: Path, loads: Loads = json.loads, plans: dict[str, Plan] | None = None) -> Held:
    """What a folder holds; nothing is planned where there is no plan. ``plans`` keeps what was read, by digest, for other folders.

    Raises ``OSError``, ``ValueError``, ``KeyError`` or ``TypeError`` for what cannot be read.
    """
    return _Folder(out, loads, plans).held


def read_plan(out: Path, loads: Loads = json.loads, plans: dict[str, Plan] | None = None) -> Plan:
    """The plan in a folder, with the same errors."""
    return _Folder(out, loads, plans).plan


def left(out: Path) -> Left:
    """What a run has left, in whatever state. ``ValueError`` where nothing is planned, and the errors of :func:`read`."""
    environment = json.loads((out / folder.ENVIRONMENT).read_text(encoding="utf-8"))
    found = _Folder(out)
    if not found.plan.ids:
        raise ValueError(f"{folder.PLAN} is empty or missing")
    results = tuple(Result.from_json(found.held.results[id]) for id in found.plan.ids)
    known, account = _known(found.held, found.account), found.account
    unsettled = frozenset() if account.is_complete else repeating.unsettled(known)
    return Left(found.cases(), environment, results, known, account.unended, unsettled)


def deadly(out: Path) -> frozenset[str]:
    """Cases that killed their process, hung or lost the context in the run that has left its results here."""
    found = _Folder(out)
    try:
        lines = {**found.settled, **found.account.results}
        ended = {id: (line["invariant"], Outcome(line["outcome"])) for id, line in lines.items()}
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()
    canaries = {name for name, invariant in catalogue().items() if invariant.canary is not None}
    return frozenset(id for id, (name, outcome) in ended.items() if outcome in BAD and name not in canaries)


class _Folder:
    """The files of a folder, each read once, when it is asked for."""

    def __init__(self, out: Path, loads: Loads = json.loads, plans: dict[str, Plan] | None = None) -> None:
        self._out = out
        self._loads = loads
        self._plans = {} if plans is None else plans

    @cached_property
    def plan(self) -> Plan:
        """The plan, without cases where there is none."""
        path = self._out / folder.PLAN
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return Plan("", ())
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._plans:
            ids = tuple(record["id"] for record in _parsed(content.splitlines(), path, self._loads))
            _check_ids(ids)
            self._plans[digest] = Plan(digest, ids)
        return self._plans[digest]

    def cases(self) -> tuple[Case, ...]:
        """The cases of the plan, read once more: they are wanted only where a result is missing, or where the run goes on."""
        return tuple(map(Case.from_json, self._records(folder.PLAN)))

    @cached_property
    def settled(self) -> dict[str, Line]:
        """The lines of ``results.jsonl`` by case; none where it is not there."""
        found = {line["id"]: line for line in self._records(folder.RESULTS)}
        unplanned = found.keys() - self.plan.known
        if unplanned:
            raise ValueError(f"there is a result of {min(map(str, unplanned))}, which was not planned")
        return found

    @cached_property
    def account(self) -> journal.Account:
        """What the journal says, up to a line that has no end: its writer was cut off, or is still at it."""
        account = journal.tell(self._records(journal.FILE, whole=True))
        if account.plan not in ("", self.plan.digest):
            raise ValueError(f"{journal.FILE} belongs to another plan")
        return account

    def _records(self, name: str, *, whole: bool = False) -> list[dict[str, Any]]:
        """What the lines of a file hold, the ``whole`` ones where it is written line by line; nothing where it is not there."""
        path = self._out / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return []
        return _parsed(content.split(b"\n")[:-1] if whole else content.splitlines(), path, self._loads)

    @cached_property
    def held(self) -> Held:
        """As the rules at the top of this module say; the journal is read only where it has something to say."""
        ended = Held(self.plan, self.settled)
        if ended.is_complete:
            return ended
        told = self.account.results
        lines = {id: _better(told.get(id), self.settled.get(id)) for id in {**self.settled, **told}}
        find = _finder(lines)
        found = {id: _accused(lines[id], find) for id in self.plan.ids if id in lines}
        if len(found) < len(self.plan.ids):
            lost_ones = (case for case in self.cases() if case.id not in found)
            found |= {case.id: lost(case, NOT_COME_TO).to_json() for case in lost_ones}
        return Held(self.plan, found)


def _check_ids(ids: Iterable[object]) -> None:
    for number, id in enumerate(ids, 1):
        if not isinstance(id, str) or id.count("/") < _PARTS - 1:
            raise ValueError(
                f"line {number} of {folder.PLAN} has {reprlib.repr(id)} as its id, which is none of a case"
            )


def _parsed(lines: Sequence[bytes], path: Path, loads: Loads) -> list[dict[str, Any]]:
    """What these lines of a file hold. ``ValueError``, with line and file, where one is no JSON."""
    try:
        return list(map(loads, lines))
    except (ValueError, RecursionError):
        number = next(number for number, line in enumerate(lines, 1) if not _is_json(line, loads))
        raise ValueError(f"line {number} of {path.name} is no JSON") from None


def _is_json(line: bytes, loads: Loads) -> bool:
    try:
        loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _better(told: Line | None, settled: Line | None) -> Line:
    """Of two lines on one case, the journal's and the account's, the one that decides it; the journal's, where both do or neither."""
    found = [line for line in (told, settled) if line is not None]
    return next(filter(_is_decided, found), found[0])


def _is_decided(line: Line) -> bool:
    return bool(_outcome_of(line) != _LOST)


def _finder(lines: dict[str, Line]) -> Find:
    """Finds the result of a case; few of them are asked for."""
    known: dict[str, Result] = {}

    def find(id: str) -> Result | None:
        if id not in known and id in lines:
            known[id] = Result.from_json(lines[id])
        return known.get(id)

    return find


def _accused(line: Line, find: Find) -> Line:
    """The line with who is accused; as it is, where that is written in it already."""
    told = line["accused"]
    if line["outcome"] not in _ACCUSING or (told and told["libraries"]):
        return line
    if not _is_known(line):
        return {**line, "accused": told or _OF_ANOTHER_SUITE.to_json()}
    return accused(Result.from_json(line), find).to_json()


def _is_known(line: Line) -> bool:
    """Whether it is about an invariant and a clause that this suite has: a folder may come from another version of it."""
    return line["invariant"] in catalogue() and (not line["clause"] or line["clause"] in _clauses())


@lru_cache(maxsize=1)
def _clauses() -> frozenset[str]:
    return frozenset(clause.id for clause in all_clauses())


def _known(held: Held, account: journal.Account) -> dict[str, Result]:
    """What a run that goes on need not run again: as the journal has it where that ended alike, for nobody is accused there yet."""
    planned = {id: line for id, line in held.results.items() if _is_decided(line)}
    told = {id: line for id, line in account.results.items() if _is_decided(line)}
    raw = {id: told[id] for id, line in planned.items() if id in told and told[id]["outcome"] == line["outcome"]}
    trials = {id: line for id, line in told.items() if id not in held.plan.known}
    return {id: Result.from_json(line) for id, line in {**planned, **raw, **trials}.items()}
