"""Connection of a pytest process to its monitor, which runs each case in a child and survives a crash of the case."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from conformance.checks.catalogue import Case, Isolation, catalogue
from conformance.checks.outcomes import Outcome
from conformance.execution import forkserver, tracing
from conformance.execution.jobs import Job
from conformance.execution.ledger import lost
from conformance.execution.messages import Line
from conformance.execution.results import Result
from conformance.execution.supervisor import patience

_MONITORS = 3
"""Number of monitors that may end during one case. The server forks a new monitor after each loss."""
_GLANCE = 0.5


@dataclass(frozen=True)
class Answer:
    """Answer of a monitor: the result, the id of the process that ran the case, and the cases before it in that process, oldest first.

    ``culprits`` are new results of earlier cases that caused the loss of this one's process.
    """

    result: Result
    process: int = 0
    before: tuple[str, ...] = ()
    culprits: tuple[Result, ...] = ()


class NoMonitor(OSError):
    """No process can run the case. The text is the reason."""


class Monitors:
    """The monitor of this process, one at a time.

    Exclusive cases get a new monitor, and so new children. CUDA reads the number of hardware queues when it starts, and
    only children that begin with an exclusive case use the default number (``execution/child.py``).
    """

    def __init__(self, socket: Path, given_up: Callable[[], str] = str, *, traces: bool = True) -> None:
        self._socket = str(socket)
        self._traces = traces
        """Whether a case that lost its process only after other cases is traced at once. A supervisor traces such cases itself."""
        self._given_up = given_up
        """Returns why there will be no server; empty while there may be one."""
        self._line: Line | None = None
        self._exclusive = False
        self._companies: dict[int, list[str]] = defaultdict(list)
        self._asked: dict[str, Case] = {}

    def ask(self, case: Case, isolation: Isolation) -> Answer:
        """Run a case. It is lost if no monitor could run it, and inconclusive if its monitor hangs."""
        try:
            return self.answer(case, isolation)
        except TimeoutError as error:
            level = catalogue()[case.invariant].level
            reason = f"the monitor of the case gave {error}: a process of the run itself was stopped"
            return Answer(Result(case, Outcome.INCONCLUSIVE, level, reason=reason))
        except OSError as error:
            return Answer(lost(case, f"no process could run it: {error}"))

    def answer(self, case: Case, isolation: Isolation) -> Answer:
        """Run a case. Raises ``OSError`` if three monitors were lost, and ``TimeoutError`` if one hangs."""
        for left in reversed(range(_MONITORS)):
            try:
                return self._answer(case, isolation)
            except (TimeoutError, NoMonitor):
                self.close()
                raise
            except OSError:
                self.close()
                if not left:
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the connection. The monitor then ends all processes that it started."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _answer(self, case: Case, isolation: Isolation) -> Answer:
        invariant = catalogue()[case.invariant]
        if invariant.exclusive is not self._exclusive:
            self.close()
            self._exclusive = invariant.exclusive
        self._line = self._line or self._connected()
        told = self._line.ask(Job(case, isolation).to_json(), patience(invariant))
        company = self._companies[told["process"]]
        before = tuple(company)
        company.append(case.id)
        self._asked[case.id] = case
        result, *culprits = self._traced(Result.from_json(told["result"]), self._line)
        return Answer(result, told["process"], before, tuple(culprits))

    def _traced(self, result: Result, line: Line) -> tuple[Result, ...]:
        """Return the result, followed by the new result of the case that caused the loss of its process."""
        if not self._traces or not tracing.is_victim(result):
            return (result,)
        before = tuple(self._asked[id] for id in result.attempts[0].after)
        job = Job(result.case, Isolation.CHILD, before)
        told = line.ask(job.to_json(), patience(catalogue()[result.case.invariant]))
        return tracing.settled(result, tracing.Traced.from_json(told["traced"])) or (result,)

    def _connected(self) -> Line:
        """Connect to the server. Wait while it imports libraries, or while it is restarted."""
        give_up = time.monotonic() + forkserver.START_SECONDS
        while True:
            try:
                return Line(self._socket, _GLANCE)
            except (FileNotFoundError, ConnectionRefusedError) as error:
                why = self._given_up()
                if why or time.monotonic() > give_up:
                    raise NoMonitor(why or f"no fork server within {forkserver.START_SECONDS:g} s") from error
