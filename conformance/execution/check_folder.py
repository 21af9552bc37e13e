"""Contents of a ``check`` folder: the only reader, both inside a cell and outside.

Two files hold the results of cases. A finished run writes ``results.jsonl`` last, from the whole journal, and it
includes the accused. A run writes the journal as events happen, and a resumed run appends to it. Therefore:

* If ``results.jsonl`` has a result of every planned case, only this file counts. ``--resume`` runs no case with a result, so the
  journal has no newer one. A cell's record keeps the digest of this file, so a journal that differs was altered.
* Otherwise the run did not finish, or was resumed since. If both files have a result of a case, the one in the journal counts;
  ``results.jsonl`` supplies the others. The accused sides are determined from all of these results.
* A planned case without a result in either file is reported as ``lost``.

A journal also has trials, which are not in the plan. They are not results of the run; they determine the accused sides. In
``results.jsonl`` an unplanned case is an error.

A damaged line affects only its own case. The reader skips and reports it (``Held.damage``). A case without another
result is reported as ``lost``. A damaged plan is an error, because the missing cases are unknown.
"""

from __future__ import annotations

import hashlib
import reprlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any

from conformance import documents, files, shapes
from conformance.adapters.base import Device
from conformance.checks.catalogue import Case, Tier, catalogue
from conformance.checks.outcomes import Outcome, Side
from conformance.files import Unreadable
from conformance.protocols.clauses import all_clauses

from . import environment, journal, repeats, run_folder
from .accusations import Find, accused
from .ledger import lost
from .results import ACCUSING, BAD, Accused, Line, Result, mistake

Loads = Callable[[bytes], Any]
"""Parser of a line, which raises ``ValueError`` if it is not valid JSON."""
NOT_COME_TO = "the run has not reached the case"
MAY_HAVE_HELD = "its result may be in damaged data: {}"
_SHOWN = 200
"""Number of characters of an id that a message quotes."""
_PARTS = 4
"""Minimum number of parts in the id of a case."""
_LOST = Outcome.LOST.value
_CASE = {
    **dict.fromkeys(("id", "invariant", "producer", "consumer", "protocol"), str),
    "device": frozenset(device.value for device in Device),
    "parameters": shapes.Each(str),
    "tier": frozenset(tier.value for tier in Tier),
}
_outcome_of = itemgetter("outcome")
_OF_ANOTHER_SUITE = Accused(Side.UNKNOWN, (), "this version of the suite does not have the invariant or the clause")
_ACCUSING = frozenset(outcome.value for outcome in ACCUSING)


@dataclass(frozen=True)
class Plan:
    """A plan: its digest, and the ids of its cases in their order."""

    digest: str
    ids: tuple[str, ...]

    @cached_property
    def known(self) -> frozenset[str]:
        """The ids as a set."""
        return frozenset(self.ids)


@dataclass(frozen=True)
class Held:
    """A plan, and a line of ``results.jsonl`` for each case, in no order. A case without a result has a line with the outcome ``lost``."""

    plan: Plan
    results: dict[str, Line]
    damage: tuple[str, ...] = ()
    """One sentence for each skipped line."""

    @property
    def is_complete(self) -> bool:
        """Whether every planned case has a result."""
        return len(self.results) == len(self.plan.ids) and _LOST not in map(_outcome_of, self.results.values())


@dataclass(frozen=True)
class Left:
    """Remains of a run in its folder, for a report or for ``--resume``."""

    cases: tuple[Case, ...]
    environment: dict[str, Any]
    results: tuple[Result, ...]
    """One for each planned case, in the plan's order."""
    known: dict[str, Result]
    """Results so far, of trials too. Those from the journal have no accused side yet, because new results may change it."""
    unended: frozenset[str]
    """Cases that started and have no result."""
    unsettled: frozenset[str] = frozenset()
    """Failures for which a stopped run did not determine the accused side any more."""
    damage: tuple[str, ...] = ()
    """One sentence for each skipped line."""

    def result(self, id: str) -> Result | None:
        """Return the result of a planned case or of a trial; ``None`` if it has none."""
        planned = (result for result in self.results if result.case.id == id and id in self.known)
        return next(planned, None) or self.known.get(id)


def read(out: Path, loads: Loads = documents.loads, plans: dict[str, Plan] | None = None) -> Held:
    """Return the contents of a folder; nothing is planned if there is no plan.

    ``plans`` caches plans by digest across folders. Raises ``Unreadable`` if the plan is damaged, or if no existing
    result is readable.
    """
    return _Folder(out, loads, plans).held


def read_plan(out: Path, loads: Loads = documents.loads, plans: dict[str, Plan] | None = None) -> Plan:
    """Return the plan in a folder. Raises the same errors as :func:`read`."""
    return _Folder(out, loads, plans).plan


def left(out: Path) -> Left:
    """Return the remains of a run in any state. Raises ``Unreadable``, also if nothing is planned."""
    found = _Folder(out)
    if not found.plan.ids:
        raise Unreadable(out / run_folder.PLAN, "is empty or missing")
    measured = documents.read(out / run_folder.ENVIRONMENT, environment.SHAPE)
    cases = found.cases()
    results = tuple(Result.from_json(found.held.results[id]) for id in found.plan.ids)
    known, account = _known(found.held, found.account), found.account
    unsettled = frozenset() if account.is_complete else repeats.unsettled(known)
    return Left(cases, measured, results, known, account.unended, unsettled, found.held.damage)


def deadly(out: Path) -> frozenset[str]:
    """Return the cases that crashed, hung or corrupted their CUDA context in the run of this folder."""
    found = _Folder(out)
    try:
        lines = {**found.settled, **found.account.results}
    except Unreadable:
        return frozenset()
    ended = {id: (line["invariant"], Outcome(line["outcome"])) for id, line in lines.items()}
    canaries = {name for name, invariant in catalogue().items() if invariant.canary is not None}
    return frozenset(id for id, (name, outcome) in ended.items() if outcome in BAD and name not in canaries)


class _Folder:
    """The files of a folder, each read once, at the first access."""

    def __init__(self, out: Path, loads: Loads = documents.loads, plans: dict[str, Plan] | None = None) -> None:
        self._out = out
        self._loads = loads
        self._plans = {} if plans is None else plans
        self._damage: list[Unreadable] = []

    @cached_property
    def plan(self) -> Plan:
        """The plan; without cases if the file is missing."""
        path = self._out / run_folder.PLAN
        try:
            content = files.read(path)
        except files.Missing:
            return Plan("", ())
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._plans:
            self._plans[digest] = Plan(digest, self._ids(content.splitlines()))
        return self._plans[digest]

    def _ids(self, lines: Sequence[bytes]) -> tuple[str, ...]:
        """Return the ids in these lines. Raises Unreadable for an invalid or repeated id."""
        found: dict[str, int] = {}
        for number, record in self._parsed(run_folder.PLAN, lines, raises=True):
            id = record.get("id") if isinstance(record, dict) else None
            if not isinstance(id, str) or id.count("/") < _PARTS - 1:
                raise self._broken(run_folder.PLAN, f"has {reprlib.repr(id)} as its id, which is not a case id", number)
            if found.setdefault(id, number) != number:
                raise self._broken(run_folder.PLAN, f"repeats the case of line {found[id]}", number)
        return tuple(found)

    def cases(self) -> tuple[Case, ...]:
        """Return the cases of the plan. They are read separately, because only a resumed or incomplete run needs them."""
        found = []
        for number, record in self._lines(run_folder.PLAN, raises=True):
            told = shapes.mistake(record, _CASE)
            case = None if told else Case.from_json(record)
            if case is None or case.id != record["id"]:
                why = told or f"its id is {reprlib.repr(record['id'])}, which is the id of another case"
                raise self._broken(run_folder.PLAN, f"is not a case: {why}", number)
            found.append(case)
        return tuple(found)

    @cached_property
    def settled(self) -> dict[str, Line]:
        """Return the valid lines of ``results.jsonl`` by case; empty without the file. Conflicting results of a case are omitted."""
        found: dict[str, Line] = {}
        twice: set[str] = set()
        known = self.plan.known
        for number, line in self._lines(run_folder.RESULTS):
            told = mistake(line)
            if not told and (id := line["id"]) in known:
                if found.setdefault(id, line) is line or found[id] == line:
                    continue
                twice.add(id)
                told = f"differs from an earlier result of {id}"
            told = told or f"is a result of {line['id'][:_SHOWN]}, which is not in the plan"
            self._damage.append(self._broken(run_folder.RESULTS, told, number))
        return {id: line for id, line in found.items() if id not in twice} if twice else found

    @cached_property
    def account(self) -> journal.Account:
        """The account of the journal. An unfinished last line is left out: its writer was interrupted, or is still writing."""
        account = journal.Account()
        for number, record in self._lines(journal.FILE, whole=True):
            told = account.take(record)
            if told:
                self._damage.append(self._broken(journal.FILE, told, number))
        if account.plan not in ("", self.plan.digest):
            raise self._broken(journal.FILE, "belongs to another plan")
        return account

    def _lines(self, name: str, *, whole: bool = False, raises: bool = False) -> Iterator[tuple[int, Any]]:
        """Yield the number and the content of each line of a file; nothing if the file does not exist.

        ``whole`` drops an unfinished last line. A line that is not valid JSON raises if ``raises`` is set, and is
        recorded as damaged otherwise.
        """
        try:
            content = files.read(self._out / name)
        except files.Missing:
            return iter(())
        return self._parsed(name, content.split(b"\n")[:-1] if whole else content.splitlines(), raises=raises)

    def _parsed(self, name: str, lines: Sequence[bytes], *, raises: bool) -> Iterator[tuple[int, Any]]:
        loads = self._loads
        for number, line in enumerate(lines, 1):
            try:
                record = loads(line)
            except (ValueError, RecursionError):
                broken = self._broken(name, "is not valid JSON", number)
                if raises:
                    raise broken from None
                self._damage.append(broken)
                continue
            yield number, record

    def _broken(self, name: str, why: str, line: int = 0) -> Unreadable:
        return Unreadable(self._out / name, why, line)

    @cached_property
    def held(self) -> Held:
        """The contents of the folder, by the rules in the module's docstring. The journal is read only if ``results.jsonl`` is not complete."""
        ended = Held(self.plan, self.settled, self._told())
        if ended.is_complete:
            return ended
        told = self.account.results
        lines = {id: _better(told.get(id), self.settled.get(id)) for id in {**self.settled, **told}}
        if self._damage and not lines:
            raise self._damage[0]
        find = _finder(lines)
        found = {id: _accused(lines[id], find) for id in self.plan.ids if id in lines}
        if len(found) < len(self.plan.ids):
            why = MAY_HAVE_HELD.format(self._damage[0].brief) if self._damage else NOT_COME_TO
            lost_ones = (case for case in self.cases() if case.id not in found)
            found |= {case.id: lost(case, why).to_json() for case in lost_ones}
        return Held(self.plan, found, self._told())

    def _told(self) -> tuple[str, ...]:
        return tuple(str(one) for one in self._damage)


def _better(told: Line | None, settled: Line | None) -> Line:
    """Return the line that counts. The journal's counts first, unless only the one from ``results.jsonl`` has an outcome."""
    found = [line for line in (told, settled) if line is not None]
    return next(filter(_is_decided, found), found[0])


def _is_decided(line: Line) -> bool:
    return bool(_outcome_of(line) != _LOST)


def _finder(lines: dict[str, Line]) -> Find:
    """Return a lookup of results. It parses a line only when it is needed, because few are."""
    known: dict[str, Result] = {}

    def find(id: str) -> Result | None:
        if id not in known and id in lines:
            known[id] = Result.from_json(lines[id])
        return known.get(id)

    return find


def _accused(line: Line, find: Find) -> Line:
    """Return the line with the accused side. A line that already has one is returned unchanged."""
    told = line["accused"]
    if line["outcome"] not in _ACCUSING or (told and told["libraries"]):
        return line
    if not _is_known(line):
        return {**line, "accused": told or _OF_ANOTHER_SUITE.to_json()}
    return accused(Result.from_json(line), find).to_json()


def _is_known(line: Line) -> bool:
    """Return whether this suite has the invariant and the clause of a line. Another version may have written the folder."""
    return line["invariant"] in catalogue() and (not line["clause"] or line["clause"] in _clauses())


@lru_cache(maxsize=1)
def _clauses() -> frozenset[str]:
    return frozenset(clause.id for clause in all_clauses())


def _known(held: Held, account: journal.Account) -> dict[str, Result]:
    """Return the results that a resumed run keeps.

    If the journal has the same outcome as ``results.jsonl``, its line is kept, because it names no accused side yet.
    """
    planned = {id: line for id, line in held.results.items() if _is_decided(line)}
    told = {id: line for id, line in account.results.items() if _is_decided(line)}
    raw = {id: told[id] for id, line in planned.items() if id in told and told[id]["outcome"] == line["outcome"]}
    trials = {id: line for id, line in told.items() if id not in held.plan.known}
    return {id: Result.from_json(line) for id, line in {**planned, **raw, **trials}.items()}
