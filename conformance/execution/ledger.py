"""Results of a run so far. Each result is written to the journal before any other use."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.checks.catalogue import Case
from conformance.checks.outcomes import Outcome
from conformance.protocols.clauses import Level

from . import canaries, journal
from .accusations import accuse
from .journal import Event
from .results import Result

CANARY = "canary"
"""Key under which the progress counts canaries, which say nothing about a library."""


@dataclass(frozen=True)
class Status:
    """Progress of a run: results by verdict, number of planned cases, id of the newest case, and estimated seconds left."""

    planned: int
    verdicts: Counter[str]
    newest: str
    left: float | None = None

    @property
    def done(self) -> int:
        """Number of results so far."""
        return sum(self.verdicts.values())


_TELLING = 100
"""Minimum number of results for an estimate of the time left."""

Progress = Callable[[Status], None]


class NoRoom(Exception):
    """The disk has no room for results. ``decided`` is the number of planned cases with a result in the journal."""

    def __init__(self, error: OSError, decided: int) -> None:
        self.error = error
        self.decided = decided
        super().__init__(str(error))


class Ledger:
    """Owner of the journal. ``known`` are earlier results, also of trials. Raises :class:`NoRoom` if the journal cannot be created."""

    def __init__(self, cases: list[Case], known: dict[str, Result], path: Path) -> None:
        self.cases = {case.id: case for case in cases}
        self.trials: dict[str, Case] = {}
        """Cases outside the plan that only determine the accused side of a failure."""
        self.known = dict(known)
        self.again: dict[str, Result] = {}
        """The first results of failures that will be repeated in a second process."""
        self.full: OSError | None = None
        """The error after which nothing can be written any more."""
        self._verdicts = Counter(_verdict(result) for id, result in known.items() if id in self.cases)
        self._newest = ""
        self._begun = time.monotonic()
        self._before = self.decided
        try:
            self._journal = journal.Journal(path)
        except OSError as error:
            raise self._no_room(error) from error

    @property
    def decided(self) -> int:
        """Number of planned cases with a result."""
        return sum(id in self.cases for id in self.known)

    def _no_room(self, error: OSError) -> NoRoom:
        return NoRoom(error, self.decided)

    def write(self, record: dict[str, Any]) -> bool:
        """Write a line to the journal. Return whether there was room for it."""
        if self.full is None:
            try:
                self._journal.write(record)
            except OSError as error:
                self.full = error
        return self.full is None

    def note(self, event: Event, **facts: Any) -> bool:
        """Write an event of the supervisor itself to the journal. Return whether there was room for it."""
        return self.write({"event": event.value, "at": round(time.time(), 3), **facts})

    def take(self, result: Result) -> None:
        """Record a result that was just written to the journal."""
        before = self.known.get(result.case.id)
        self.known[result.case.id] = result
        self.again.pop(result.case.id, None)
        if result.case.id in self.trials:
            return
        if before is not None:
            self._verdicts[_verdict(before)] -= 1
        self._verdicts[_verdict(result)] += 1
        self._newest = result.case.id

    def status(self, newest: str = "") -> Status:
        """Return the progress. ``newest`` replaces the id of the newest case."""
        return Status(len(self.cases), self._verdicts, newest or self._newest, self._expected())

    def _expected(self) -> float | None:
        """Return the estimated seconds left at the rate so far; ``None`` if too few results exist."""
        done = len(self.known) - self._before
        left = len(self.cases) - sum(self._verdicts.values())
        return (time.monotonic() - self._begun) * left / done if done >= _TELLING else None

    def left(self) -> list[Case]:
        """Return the cases without a result and those to repeat, in the plan's order, followed by the trials."""
        return [case for id, case in (self.cases | self.trials).items() if id not in self.known or id in self.again]

    def add_trials(self, cases: Iterable[Case]) -> None:
        """Add cases outside the plan."""
        self.trials.update({case.id: case for case in cases if case.id not in self.cases})

    def repeat(self, cases: Iterable[Case]) -> None:
        """Mark planned cases or trials for a repeat: each failed in a process that it shared with others."""
        wanted = list(cases)
        self.add_trials(wanted)
        self.again.update({case.id: self.known[case.id] for case in wanted})

    def case(self, id: str) -> Case:
        """Return a planned case or a trial by its id."""
        return self.cases.get(id) or self.trials[id]

    def has(self, id: str) -> bool:
        """Return whether a planned case or a trial has this id."""
        return id in self.cases or id in self.trials

    def so_far(self) -> tuple[Result, ...]:
        """Return the results of planned cases so far, with the accused sides that are known."""
        return tuple(accuse([self.known[id] for id in self.cases if id in self.known], self.known))

    def results(self, why: str) -> tuple[Result, ...]:
        """Return a result for each planned case, in the plan's order, with the accused sides. A case without one is lost, for the reason ``why``."""
        found = (self.known.get(id) or lost(case, why) for id, case in self.cases.items())
        return tuple(accuse(found, self.known))

    def close(self) -> None:
        """Close the journal. Raises :class:`NoRoom` if any line could not be written."""
        try:
            self._journal.close()
        except OSError as error:
            self.full = self.full or error
        if self.full is not None:
            raise self._no_room(self.full) from self.full


def lost(case: Case, why: str) -> Result:
    """Return the result ``lost`` for a case that has no result."""
    return Result(case, Outcome.LOST, Level.MUST, reason=f"no result: {why}")


def _verdict(result: Result) -> str:
    return result.verdict.value if canaries.built_for(result) is None else CANARY
