"""What a run knows: the result of each planned case so far, written to the journal before anything else is done with it."""

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
"""What the progress counts the results of canaries as: they say nothing about a library."""


@dataclass(frozen=True)
class Status:
    """Progress of a run: results so far by verdict, the number planned, the newest case's id, and the expected seconds to the end."""

    planned: int
    verdicts: Counter[str]
    newest: str
    left: float | None = None

    @property
    def done(self) -> int:
        """Results so far."""
        return sum(self.verdicts.values())


_TELLING = 100
"""Number of results from which the time to the end is estimated."""

Progress = Callable[[Status], None]


class NoRoom(Exception):
    """What is found out cannot be written down; ``decided`` cases have an outcome in the journal."""

    def __init__(self, error: OSError, decided: int) -> None:
        self.error = error
        self.decided = decided
        super().__init__(str(error))


class Ledger:
    """Owns the journal. ``known`` are results from before, those of trials too. Raises :class:`NoRoom` where no journal can be had."""

    def __init__(self, cases: list[Case], known: dict[str, Result], path: Path) -> None:
        self.cases = {case.id: case for case in cases}
        self.trials: dict[str, Case] = {}
        """Cases that are run beside the plan, only to find out who is accused in a failure."""
        self.known = dict(known)
        self.again: dict[str, Result] = {}
        """The first results of failures that are to be tried again, alone."""
        self.full: OSError | None = None
        """Why nothing can be written any more."""
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
        """How many planned cases have a result."""
        return sum(id in self.cases for id in self.known)

    def _no_room(self, error: OSError) -> NoRoom:
        return NoRoom(error, self.decided)

    def write(self, record: dict[str, Any]) -> bool:
        """Put a line into the journal; whether there was room for it."""
        if self.full is None:
            try:
                self._journal.write(record)
            except OSError as error:
                self.full = error
        return self.full is None

    def note(self, event: Event, **facts: Any) -> bool:
        """Put an event of the supervisor's own into the journal; whether there was room for it."""
        return self.write({"event": event.value, "at": round(time.time(), 3), **facts})

    def take(self, result: Result) -> None:
        """What the journal has told just now."""
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
        """How far it is; ``newest`` in place of the newest case."""
        return Status(len(self.cases), self._verdicts, newest or self._newest, self._expected())

    def _expected(self) -> float | None:
        """Seconds to the end at the rate so far; ``None`` as long as too little has been done to tell."""
        done = len(self.known) - self._before
        left = len(self.cases) - sum(self._verdicts.values())
        return (time.monotonic() - self._begun) * left / done if done >= _TELLING else None

    def left(self) -> list[Case]:
        """Cases without a result, and those that are to be tried again, in the plan's order; after them the trials."""
        return [case for id, case in (self.cases | self.trials).items() if id not in self.known or id in self.again]

    def add_trials(self, cases: Iterable[Case]) -> None:
        """Also run these, beside the plan."""
        self.trials.update({case.id: case for case in cases if case.id not in self.cases})

    def repeat(self, cases: Iterable[Case]) -> None:
        """Also try these again, planned cases or trials: each has failed in company."""
        wanted = list(cases)
        self.add_trials(wanted)
        self.again.update({case.id: self.known[case.id] for case in wanted})

    def case(self, id: str) -> Case:
        """A planned case or a trial."""
        return self.cases.get(id) or self.trials[id]

    def has(self, id: str) -> bool:
        """Whether there is such a case, planned or as a trial."""
        return id in self.cases or id in self.trials

    def so_far(self) -> tuple[Result, ...]:
        """The results of planned cases up to now, with who is accused as far as that is known."""
        return tuple(accuse([self.known[id] for id in self.cases if id in self.known], self.known))

    def results(self, why: str) -> tuple[Result, ...]:
        """One result for each planned case, in the plan's order, with who is accused; what has none is lost, and ``why``."""
        found = (self.known.get(id) or lost(case, why) for id, case in self.cases.items())
        return tuple(accuse(found, self.known))

    def close(self) -> None:
        """Raises :class:`NoRoom` if anything could not be written."""
        try:
            self._journal.close()
        except OSError as error:
            self.full = self.full or error
        if self.full is not None:
            raise self._no_room(self.full) from self.full


def lost(case: Case, why: str) -> Result:
    """The result of a case that has none."""
    return Result(case, Outcome.LOST, Level.MUST, reason=f"planned, but without an outcome: {why}")


def _verdict(result: Result) -> str:
    return result.verdict.value if canaries.built_for(result) is None else CANARY
