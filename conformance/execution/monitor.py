"""What is done with a case: in whose company it runs, when it is tried again, and when the GPU has to be looked at first.

One monitor stands behind each worker. It touches no CUDA and loads nothing, so it survives whatever a child does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from conformance.adapters.base import Device
from conformance.protocols.clauses import Level
from conformance.suite import senders
from conformance.suite.catalogue import Case, Isolation
from conformance.suite.outcomes import Outcome
from conformance.suite.steps import Step

from . import tracing
from .results import BAD, TRUSTED, Attempt, Result, Where, cleared, put_together

PROBES = 3
PROBE_SECONDS = 20.0
PAUSE_SECONDS = 2.0
MOST_TRIES = 4
"""Limit of the tries of one case, including the one in a shared process. Outside signals cause another try."""
PATIENCE = 2.0
"""Factor by which the deadline grows after a try has reached it: a hang must repeat with more time."""


class Runs(Protocol):
    """A child, as a monitor sees it."""

    done: list[Case]
    died: bool
    pid: int
    killed: int

    @property
    def is_own(self) -> bool:
        """Whether the child sent itself the watched signal."""

    @property
    def is_new(self) -> bool:
        """Whether it has been given no case yet."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a sibling must not keep open."""

    @property
    def newest(self) -> Step:
        """The newest step of its newest case."""

    def run(self, case: Case, *, last: bool, watch: int, patience: float) -> Result:
        """Return the result of a case or of the child's death; ``killed`` is then the outside signal that ended the child."""

    def trouble_with_gpu(self, seconds: float) -> str | None:
        """Why it cannot use the GPU."""

    def end(self) -> bool:
        """Kill it."""


Start = Callable[[Iterable[int]], Runs]


class Monitor:
    """Keeps one child for ordinary cases and one for risky ones, as long as all goes well in them."""

    def __init__(self, start: Start, keep_from_children: tuple[int, ...] = ()) -> None:
        self._start = start
        self._secret = keep_from_children
        self._company: dict[Isolation, Runs] = {}
        self._lost: set[Isolation] = set()
        """Kinds of company of which a process was lost before."""
        self._doubt = ""
        """The case after which nobody has used the GPU yet."""
        self.process = 0
        """Id of the process that ran the newest case."""
        self._living: list[Runs] = []
        self.culprits: list[Result] = []
        """Results that take the place of earlier ones: of cases which ended the process of the newest case."""
        self._tracer = tracing.Tracer(self._together)

    def close(self) -> None:
        """End everything that was started and still lives."""
        for child in self._living:
            child.end()

    def run(self, case: Case, isolation: Isolation) -> Result:
        """The case's result, after as many tries as it takes."""
        self.culprits = []
        lost = self._lost_with_gpu(case)
        if lost:
            return lost
        if isolation.changes_others:
            return together(self._proven(case, [self._alone(case)]))
        kind = Isolation.RISKY if isolation is Isolation.RISKY else Isolation.SHARED
        child = self._child(kind)
        where = _where(child, restarted=kind in self._lost)
        first = self._tried(child, case, where)
        before = tuple(child.done[:-1])
        if self._counts(first.result, kind, where):
            return first.result
        first = replace(first, after=tuple(case.id for case in before))
        lost = self._lost_with_gpu(case)
        second = Try(Where.ALONE, lost) if lost else self._again(case, kind, first)
        tries = self._proven(case, [first, second])
        return self._traced(tries, before) or together(tries)

    def _traced(self, tries: Sequence[Try], before: Sequence[Case]) -> Result | None:
        """The victim's result, if its process was ended by one of the cases before it, and which one is known."""
        first, last = tries[0], tries[-1]
        if not first.is_death or last.result.outcome not in TRUSTED or not before:
            return None
        culprit = self._tracer.culprit(last.result.case, before)
        if culprit is None:
            return None
        if culprit.case.id == last.result.case.id:
            return replace(culprit, attempts=tuple(each.told for each in tries))
        self.culprits.append(culprit)
        return cleared(first.result, first.after, first.where, last.result, culprit.case, tracing.NOTE)

    def _together(self, cases: Sequence[Case]) -> tracing.Lost | None:
        """Run cases in a new process, one after the other, up to one in which it is lost; by no signal from outside."""
        child = self._new()
        step = Step()
        try:
            for place, case in enumerate(cases):
                if self._lost_with_gpu(case):
                    return None
                tried = self._tried(child, case, Where.SHARED)
                if tried.result.outcome in BAD:
                    return tracing.Lost(place, tried.result, step) if tried.is_death else None
                step = child.newest
        finally:
            child.end()
        return None

    def _counts(self, first: Result, kind: Isolation, where: Where) -> bool:
        """Whether the first try is the last. Sets up what the second one needs."""
        if kind is Isolation.RISKY:
            if first.outcome in TRUSTED or (where is Where.ALONE and first.outcome not in BAD):
                return True
            self._drop(kind)
            return False
        return first.outcome not in BAD and not (first.outcome is Outcome.FAIL and where is Where.RESTARTED)

    def _again(self, case: Case, kind: Isolation, first: Try) -> Try:
        """The same case as the first of a new process. A risky one may then have company: after what it has shown, it is the cheaper way."""
        if kind is Isolation.RISKY and not first.killed:
            return self._tried(self._child(kind), case, Where.ALONE, after=first)
        return self._alone(case, first)

    def _proven(self, case: Case, tries: list[Try]) -> list[Try]:
        """Repeat the case alone until the tries show whether the case itself ends its process."""
        while not is_proven(tries) and len(tries) < MOST_TRIES:
            lost = self._lost_with_gpu(case)
            if lost:
                return [*tries, Try(Where.ALONE, lost)]
            tries = [*tries, self._alone(case, tries[-1])]
        return tries

    def _alone(self, case: Case, after: Try | None = None) -> Try:
        child = self._new()
        try:
            return self._tried(child, case, Where.ALONE, last=True, after=after)
        finally:
            child.end()

    def _tried(self, child: Runs, case: Case, where: Where, *, last: bool = False, after: Try | None = None) -> Try:
        """Run one try, after the try ``after``. A child that is no longer usable ends here."""
        watch = after.killed if after else 0
        hung = after is not None and after.result.outcome is Outcome.HANG
        result = child.run(case, last=last, watch=watch, patience=PATIENCE if hung else 1.0)
        self.process = child.pid
        if result.outcome in BAD:
            child.end()
            if case.device is Device.CUDA:
                self._doubt = case.id
        for kind in [kind for kind, other in self._company.items() if other.died]:
            self._drop(kind)
            self._lost.add(kind)
        return Try(where, result, child.killed, child.is_own)

    def _child(self, kind: Isolation) -> Runs:
        if kind not in self._company:
            self._company[kind] = self._new()
        return self._company[kind]

    def _new(self) -> Runs:
        child = self._start((*self._secret, *(d for other in self._living for d in other.descriptors)))
        self._living = [*(other for other in self._living if not other.died), child]
        return child

    def _drop(self, kind: Isolation) -> None:
        child = self._company.pop(kind, None)
        if child is not None:
            child.end()

    def _lost_with_gpu(self, case: Case) -> Result | None:
        """After a process was lost on the GPU: the case's result if the GPU cannot be used any more."""
        if case.device is not Device.CUDA or not self._doubt:
            return None
        for number in range(PROBES):
            time.sleep(PAUSE_SECONDS if number else 0)
            child = self._new()
            trouble = child.trouble_with_gpu(PROBE_SECONDS)
            child.end()
            if trouble is None:
                self._doubt = ""
                return None
        reason = f"the GPU cannot be used any more after {self._doubt}: {trouble}"
        return Result(case, Outcome.LOST, Level.MUST, reason=reason)


@dataclass(frozen=True)
class Try:
    """One try of a case. ``killed`` is the outside signal that ended or stopped its process; 0 if none did.

    ``is_own`` is whether the process sent itself the watched signal.
    """

    where: Where
    result: Result
    killed: int = 0
    is_own: bool = False
    after: tuple[str, ...] = ()

    @property
    def is_death(self) -> bool:
        """Whether the process died or hung without an outside signal, as far as this try shows."""
        return self.result.outcome in BAD and not self.killed

    @property
    def told(self) -> Attempt:
        """As it stands in the result."""
        return Attempt(self.where, self.result.outcome, self.result.reason, self.after)


def is_proven(tries: Sequence[Try]) -> bool:
    """Return whether the tries are sufficient.

    They are if the last process survived, if it died by itself for the second time, or if it sent itself the signal
    that ended an earlier process.
    """
    last = tries[-1]
    if last.result.outcome not in BAD or last.is_own:
        return True
    return last.is_death and any(each.is_death for each in tries[:-1])


def together(tries: Sequence[Try]) -> Result:
    """Combine all tries into one result. A process that an outside signal ended accuses no library, and is no pass."""
    first, last = tries[0], tries[-1]
    if len(tries) == 1:
        return last.result
    found = put_together(first.result, first.after, first.where, last.result)
    if not is_proven(tries) or (last.result.outcome is Outcome.LOST and first.killed):
        found = _undecided(tries)
    return replace(found, attempts=tuple(each.told for each in tries))


def _undecided(tries: Sequence[Try]) -> Result:
    """Return an inconclusive result: a signal from outside ended the process, and it never died by itself twice."""
    told = next(each for each in reversed(tries) if each.killed)
    result = told.result
    name = senders.name_of(told.killed)
    how = "stopped" if result.outcome is Outcome.HANG else "killed"
    reason = f"the process was {how} by {name} from outside: {result.reason}, in {len(tries)} tries"
    return Result(
        result.case, Outcome.INCONCLUSIVE, result.level, reason=reason, attachments=result.attachments,
        duration=sum(each.result.duration for each in tries),
    )  # fmt: skip


def _where(child: Runs, *, restarted: bool) -> Where:
    if not child.is_new:
        return Where.COMPANY
    return Where.RESTARTED if restarted else Where.ALONE
