"""Monitor processes: choose the child process for each case, repeat cases that lose their process, and check the GPU.

A run has one monitor for each case that may run at a time. A monitor uses no CUDA and loads no library, so it survives the crash of a child.
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
"""Maximum number of tries of one case, including the one in a shared process. A signal from outside causes another try."""
PATIENCE = 2.0
"""Factor for the timeout after a try that hung: a hang must repeat with more time."""


class Runs(Protocol):
    """Interface of a child process for its monitor."""

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
        """Whether it has received no case yet."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Descriptors that a sibling must close."""

    @property
    def newest(self) -> Step:
        """The newest step of its newest case."""

    def run(self, case: Case, *, last: bool, watch: int, patience: float) -> Result:
        """Return the result of a case, or of the loss of the child. ``killed`` is then the signal from outside that ended the child."""

    def trouble_with_gpu(self, case: Case, seconds: float) -> str | None:
        """Return why the child cannot use the GPU, or ``None``. CUDA is set up as for this case."""

    def end(self) -> bool:
        """Kill the child. Return whether it has ended."""


Start = Callable[[Iterable[int]], Runs]


class Monitor:
    """Runs cases in children: one for ordinary cases and one for risky ones, each until it is lost, and new ones for isolated cases."""

    def __init__(self, start: Start, keep_from_children: tuple[int, ...] = ()) -> None:
        self._start = start
        self._secret = keep_from_children
        self._company: dict[str, Runs] = {}
        """The children that run several cases, by kind or by company name."""
        self._lost: set[str] = set()
        """Kinds and company names of children that were lost before."""
        self._name = ""
        """Name of the newest company."""
        self._doubt = ""
        """Id of the case after which the GPU was unusable."""
        self.process = 0
        """Process id of the child that ran the newest case."""
        self.spent: Counter[str] = Counter()
        """Seconds by purpose, as reported by the children of the newest case."""
        self._living: list[Runs] = []
        self._tracer = tracing.Tracer(self._together)
        self._survived: Result | None = None
        """Newest result of a case that ran alone for a trace."""

    def close(self) -> None:
        """End all children that still run."""
        for child in self._living:
            child.end()

    def run(self, case: Case, isolation: Isolation, company: str = "") -> Result:
        """Return the result of a case, after as many tries as necessary. Cases of the same ``company`` share a child with no other case."""
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
        """Find the case among ``before`` that caused the loss of the process in ``victim``, which survives alone.

        ``suspects`` are cases that caused other losses.
        """
        self._survived = None
        culprit = self._tracer.culprit(victim, before, suspects)
        return tracing.Traced(culprit, self._survived)

    def _together(self, cases: Sequence[Case]) -> tracing.Lost | None:
        """Run cases in a new child, up to the one that loses it. A signal from outside does not count as a loss."""
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
        """Return whether the first try decides the result. Otherwise prepare the second one.

        A failure counts here, except after a restart. It has to show in a second process later (``repeats.py``), before it accuses a library.
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
        """Run the case again, as the first case of the child that runs the following cases. So the second try needs no extra start.

        A separate child runs the second try in two situations. After a signal from outside the child is watched, so it cannot run other cases. A
        failure after a restart must show in a child that also exits cleanly.
        """
        if first.killed or first.result.outcome is Outcome.FAIL:
            return self._alone(case, first)
        return self._tried(self._child(kind), case, Where.ALONE, after=first)

    def _proven(self, case: Case, tries: list[Try]) -> list[Try]:
        """Repeat the case alone until the tries prove whether the case itself loses its process. Then check the GPU.

        The repeats use the GPU themselves. If it is unusable after them, the last try says nothing about the case.
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
        """Run one try, after the try ``after``. A child that is no longer usable is ended."""
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
        # A child that kept a sibling's pipe open would hide the end of that sibling.
        child = self._start((*self._secret, *(d for other in self._living for d in other.descriptors)))
        self._living = [*(other for other in self._living if not other.died), child]
        return child

    def _drop(self, kind: str) -> None:
        child = self._company.pop(kind, None)
        if child is not None:
            child.end()

    def _trouble_with_gpu(self, case: Case) -> str | None:
        """Return why the GPU is unusable, or ``None``. The child that runs the next cases is the one that tries it."""
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
    """One try of a case. ``killed`` is the signal from outside that ended or stopped its process; 0 if none did.

    ``is_own`` is whether the process sent itself the watched signal.
    """

    where: Where
    result: Result
    killed: int = 0
    is_own: bool = False
    after: tuple[str, ...] = ()

    @property
    def is_death(self) -> bool:
        """Whether the process crashed or hung without a signal from outside, as far as this try shows."""
        return self.result.outcome in BAD and not self.killed

    @property
    def is_first(self) -> bool:
        """Whether its process had run no other case."""
        return self.where in (Where.ALONE, Where.RESTARTED)

    @property
    def told(self) -> Attempt:
        """The try as a part of the result."""
        return Attempt(self.where, self.result.outcome, self.result.reason, self.after, bool(self.killed))


def is_proven(tries: Sequence[Try]) -> bool:
    """Return whether the tries are sufficient.

    They are sufficient if the last process survived, if it sent itself the signal that ended an earlier process, if it crashed in its first case,
    or if a second try was lost by itself. A hang has to show twice, the second time with a longer timeout.
    """
    last = tries[-1]
    if last.result.outcome not in BAD or last.is_own:
        return True
    is_crash_of_first = last.is_first and last.result.outcome is not Outcome.HANG
    return last.is_death and (is_crash_of_first or any(each.is_death for each in tries[:-1]))


def together(tries: Sequence[Try]) -> Result:
    """Combine all tries into one result. A process that a signal from outside ended accuses no library, and is no pass."""
    first, last = tries[0], tries[-1]
    if len(tries) == 1:
        return last.result
    found = put_together(first.result, first.after, first.where, last.result)
    if not is_proven(tries) or (last.result.outcome is Outcome.LOST and first.killed):
        found = _undecided(tries)
    return replace(found, attempts=tuple(each.told for each in tries))


def _undecided(tries: Sequence[Try]) -> Result:
    """Return an inconclusive result: a signal from outside ended the process, and no two tries were lost by themselves."""
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
