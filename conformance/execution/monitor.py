"""What is done with a case: in whose company it runs, when it is tried again, and when the GPU has to be looked at first.

One monitor stands behind each worker. It touches no CUDA and loads nothing, so it survives whatever a child does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from conformance.adapters.base import Device
from conformance.protocols.clauses import Level
from conformance.suite.catalogue import Case, Isolation
from conformance.suite.outcomes import Outcome

from .results import BAD, TRUSTED, Result, Where, put_together

REMEMBERED = 8
"""How many of the cases that ran before are told where a process was lost."""
PROBES = 3
PROBE_SECONDS = 20.0
PAUSE_SECONDS = 2.0


class Runs(Protocol):
    """A child, as a monitor sees it."""

    done: list[str]
    died: bool
    pid: int

    @property
    def is_new(self) -> bool:
        """Whether it has been given no case yet."""

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a sibling must not keep open."""

    def run(self, case: Case, *, last: bool) -> Result:
        """The case's result, or what became of the child."""

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

    def close(self) -> None:
        """End everything that was started and still lives."""
        for child in self._living:
            child.end()

    def run(self, case: Case, isolation: Isolation) -> Result:
        """The case's result, after as many tries as it takes."""
        lost = self._lost_with_gpu(case)
        if lost:
            return lost
        if isolation.changes_others:
            return self._alone(case)
        kind = Isolation.RISKY if isolation is Isolation.RISKY else Isolation.SHARED
        child = self._child(kind)
        where = _where(child, restarted=kind in self._lost)
        first = self._tried(child, case)
        before = tuple(child.done[:-1][-REMEMBERED:])
        if self._counts(first, kind, where):
            return first
        return put_together(first, before, where, self._again(case, kind))

    def _counts(self, first: Result, kind: Isolation, where: Where) -> bool:
        """Whether the first try is the last. Sets up what the second one needs."""
        if kind is Isolation.RISKY:
            if first.outcome in TRUSTED or where is Where.ALONE:
                return True
            self._drop(kind)
            return False
        return first.outcome not in BAD and not (first.outcome is Outcome.FAIL and where is Where.RESTARTED)

    def _again(self, case: Case, kind: Isolation) -> Result:
        """The same case as the first of a new process. A risky one may then have company: after what it has shown, it is the cheaper way."""
        lost = self._lost_with_gpu(case)
        if lost:
            return lost
        return self._tried(self._child(kind), case) if kind is Isolation.RISKY else self._alone(case)

    def _alone(self, case: Case) -> Result:
        child = self._new()
        try:
            return self._tried(child, case, last=True)
        finally:
            child.end()

    def _tried(self, child: Runs, case: Case, *, last: bool = False) -> Result:
        """One try. A process that is not sound any more ends here."""
        result = child.run(case, last=last)
        self.process = child.pid
        if result.outcome in BAD:
            child.end()
            if case.device is Device.CUDA:
                self._doubt = case.id
        for kind in [kind for kind, other in self._company.items() if other.died]:
            self._drop(kind)
            self._lost.add(kind)
        return result

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


def _where(child: Runs, *, restarted: bool) -> Where:
    if not child.is_new:
        return Where.COMPANY
    return Where.RESTARTED if restarted else Where.ALONE
