"""What is done with a case: in whose company it runs, when it is tried again, and when the GPU has to be looked at first.

A run has as many monitors as cases may run at a time. A monitor touches no CUDA and loads nothing, so it survives whatever a child does.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from conformance.adapters.base import Device
from conformance.checks import signal_senders
from conformance.checks.catalogue import Case, Isolation
from conformance.checks.outcomes import Outcome
from conformance.checks.steps import Step
from conformance.protocols.clauses import Level

from . import tracing
from .results import BAD, TRUSTED, Attempt, Result, Where, put_together

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
    spent: Counter[str]
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

    def trouble_with_gpu(self, case: Case, seconds: float) -> str | None:
        """Why it cannot use the GPU. It is set up as for this case."""

    def end(self) -> bool:
        """Kill it."""


Start = Callable[[Iterable[int]], Runs]


class Monitor:
    """Keeps one child for ordinary cases and one for risky ones, as long as all goes well in them."""

    def __init__(self, start: Start, keep_from_children: tuple[int, ...] = ()) -> None:
        self._start = start
        self._secret = keep_from_children
        self._company: dict[str, Runs] = {}
        """The processes that run several cases, by their kind or name."""
        self._lost: set[str] = set()
        """Kinds and names of which a process was lost before."""
        self._name = ""
        """The newest company that has a name."""
        self._doubt = ""
        """The case after which the GPU could not be used."""
        self.process = 0
        """Id of the process that ran the newest case."""
        self.spent: Counter[str] = Counter()
        """Seconds by purpose that the newest case's processes have reported."""
        self._living: list[Runs] = []
        self._tracer = tracing.Tracer(self._together)
        self._survived: Result | None = None
        """The newest result of a case that was run by itself to trace another one."""

    def close(self) -> None:
        """End everything that was started and still lives."""
        for child in self._living:
            child.end()

    def run(self, case: Case, isolation: Isolation, company: str = "") -> Result:
        """Return the case's result, after as many tries as it takes. Cases of the same ``company`` share a process with no other case."""
        self.spent.clear()
        if case.device is Device.CUDA and self._doubt and (trouble := self._trouble_with_gpu(case)):
            return self._lost_with_gpu(case, trouble)
        if company != self._name:
            self._drop(self._name)
            self._name = company
        if isolation.changes_others and not company:
            return together(self._proven(case, [self._alone(case)]))
        kind = company or (Isolation.RISKY if isolation is Isolation.RISKY else Isolation.SHARED).value
        child = self._child(kind)
        first = self._tried(child, case, _where(child, restarted=kind in self._lost))
        if self._counts(first, kind):
            return together(self._proven(case, [first]))
        first = replace(first, after=tuple(each.id for each in child.done[:-1]))
        return together(self._proven(case, [first, self._again(case, kind, first)]))

    def trace(self, victim: Case, before: Sequence[Case], suspects: Sequence[Case] = ()) -> tracing.Traced:
        """Find out which of the cases ``before`` has ended the process of a case that survives alone.

        ``suspects`` are cases that have ended the processes of others.
        """
        self._survived = None
        culprit = self._tracer.culprit(victim, before, suspects)
        return tracing.Traced(culprit, self._survived)

    def _together(self, cases: Sequence[Case]) -> tracing.Lost | None:
        """Run cases in a new process, one after the other, up to one in which it is lost; by no signal from outside."""
        child = self._new()
        step = Step()
        try:
            for place, case in enumerate(cases):
                tried = self._tried(child, case, Where.SHARED)
                if tried.result.outcome in BAD:
                    return tracing.Lost(place, tried.result, step) if tried.is_death else None
                step = child.newest
        finally:
            child.end()
        if len(cases) == 1:
            self._survived = tried.result
        return None

    def _counts(self, first: Try, kind: str) -> bool:
        """Whether the first try is the last. Sets up what the second one needs.

        A failure counts here. Before it accuses anybody it has to show in a second process (``repeating.py``), except after a restart.
        """
        outcome = first.result.outcome
        if outcome in BAD:
            return is_proven([first])
        if outcome is Outcome.FAIL:
            return first.where is not Where.RESTARTED
        if kind != Isolation.RISKY.value or outcome in TRUSTED or first.where is Where.ALONE:
            return True
        self._drop(kind)
        return False

    def _again(self, case: Case, kind: str, first: Try) -> Try:
        """Run the case again, as the first of the process in which the cases after it will run. So the second try costs no start of its own.

        A watched process is of no use to other cases, and a failure after a restart has to show in a process that is ended cleanly.
        """
        if first.killed or first.result.outcome is Outcome.FAIL:
            return self._alone(case, first)
        return self._tried(self._child(kind), case, Where.ALONE, after=first)

    def _proven(self, case: Case, tries: list[Try]) -> list[Try]:
        """Repeat the case alone until the tries show whether the case itself ends its process. Then look at the GPU.

        The repeats use the GPU themselves. If it cannot be used after them, the last one says nothing of the case.
        """
        while not is_proven(tries) and len(tries) < MOST_TRIES:
            tries = [*tries, self._alone(case, tries[-1])]
        if tries[-1].result.outcome not in BAD or case.device is not Device.CUDA:
            return tries
        self._doubt = case.id
        trouble = self._trouble_with_gpu(case)
        if trouble is None:
            return tries
        return [*tries[: max(1, len(tries) - 1)], Try(Where.ALONE, self._lost_with_gpu(case, trouble))]

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
        self.spent.update(child.spent)
        child.spent.clear()
        if result.outcome in BAD:
            child.end()
        for kind in [kind for kind, other in self._company.items() if other.died]:
            self._drop(kind)
            self._lost.add(kind)
        return Try(where, result, child.killed, child.is_own)

    def _child(self, kind: str) -> Runs:
        if kind not in self._company:
            self._company[kind] = self._new()
        return self._company[kind]

    def _new(self) -> Runs:
        child = self._start((*self._secret, *(d for other in self._living for d in other.descriptors)))
        self._living = [*(other for other in self._living if not other.died), child]
        return child

    def _drop(self, kind: str) -> None:
        child = self._company.pop(kind, None)
        if child is not None:
            child.end()

    def _trouble_with_gpu(self, case: Case) -> str | None:
        """Why the GPU cannot be used any more, or ``None``: asked of the process in which the next cases will run."""
        trouble = None
        for number in range(PROBES):
            time.sleep(PAUSE_SECONDS if number else 0)
            kind = next(iter(self._company), Isolation.SHARED.value)
            trouble = self._child(kind).trouble_with_gpu(case, PROBE_SECONDS)
            if trouble is None:
                self._doubt = ""
                return None
            self._drop(kind)
        return trouble

    def _lost_with_gpu(self, case: Case, trouble: str) -> Result:
        reason = f"the GPU is unusable after {self._doubt}: {trouble}"
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
    def is_first(self) -> bool:
        """Whether its process had run no other case."""
        return self.where in (Where.ALONE, Where.RESTARTED)

    @property
    def told(self) -> Attempt:
        """As it stands in the result."""
        return Attempt(self.where, self.result.outcome, self.result.reason, self.after, bool(self.killed))


def is_proven(tries: Sequence[Try]) -> bool:
    """Return whether the tries are sufficient.

    They are if the last process survived, if it sent itself the signal that ended an earlier process, if it crashed in its first case, or if
    it died by itself for the second time. A hang has to show twice, the second time with more time.
    """
    last = tries[-1]
    if last.result.outcome not in BAD or last.is_own:
        return True
    is_crash_of_first = last.is_first and last.result.outcome is not Outcome.HANG
    return last.is_death and (is_crash_of_first or any(each.is_death for each in tries[:-1]))


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
    name = signal_senders.name_of(told.killed)
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
