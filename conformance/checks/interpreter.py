"""Fresh interpreters, for effects that a process cannot undo: import orders, contexts, forks.

A program is a module of :mod:`conformance.programs`. It writes records to a separate descriptor, so that a
process that dies leaves its last step.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import IO, Any, NoReturn

from conformance.checks.children import IMPORTING, NO_TURN
from conformance.protocols.clauses import Role

from . import children, deadline, signal_senders, time_spent
from .codes import BY_SLUG, Code
from .outcomes import Inconclusive, Refused, Side, fail

PROGRAMS = "conformance.programs"
"""The package of the programs. It imports this one, so it is started by its name."""
_SHARE = 0.75
"""Share of the case's time limit after which a program is stopped."""
_UNCOUNTED = 3600.0
"""Seconds that do not count for the case while two tries of a program run under their own deadlines."""
SURVIVAL = "PY-02"
"""The clause against a library that ends an interpreter without an exchange."""
_GLANCE = 0.25
_OUTPUT = 65536
_TAIL = 1500


@dataclass(frozen=True)
class Ended:
    """A program that has ended: exit code (negative for a signal, ``None`` if it had to be stopped), what it told."""

    code: int | None
    records: tuple[dict[str, Any], ...]
    stderr: str = ""
    late: str = ""
    """Reason for stopping the program after its deadline; empty if it ended by itself."""

    @property
    def death(self) -> str | None:
        """How the program ended, if not by itself and well."""
        if self.code is None:
            return self.late or f"no end after {limit():g} s"
        if self.code < 0:
            return signal_senders.name_of(-self.code)
        return f"exit code {self.code}" if self.code else None

    @property
    def last_step(self) -> str:
        """What the program was doing when it last told."""
        return next((str(r["step"]) for r in reversed(self.records) if "step" in r), "the start of the interpreter")

    @property
    def at_work(self) -> str:
        """The library that was at work when the program last told, nothing if it did not say."""
        return next((str(r["library"]) for r in reversed(self.records) if "library" in r), "")

    def told(self, key: str) -> dict[str, Any] | None:
        """The first record with this key."""
        return next((r for r in self.records if key in r), None)


def limit() -> float:
    """Seconds that a program may take."""
    return _SHARE * deadline.seconds()


def run(program: str, *arguments: str) -> Ended:
    """Run a program to its end. A program that does not end is stopped with its whole process group.

    A program that an outside signal ended or stopped runs once more, under watch. Raises ``Inconclusive`` unless the
    program sends this signal to itself.
    """
    with deadline.not_counted(_UNCOUNTED), time_spent.on(time_spent.Purpose.INTERPRETERS):
        ended, killed, _ = _tried(program, arguments)
        if killed:
            ended, again, own = _tried(program, arguments, killed)
            if not own:
                raise Inconclusive(_told(ended, killed, again))
    without = ended.told(NO_TURN)
    if without is not None:
        raise Inconclusive(without[NO_TURN])
    return ended


def _told(ended: Ended, killed: int, again: int) -> str:
    """Return the reason of an inconclusive result: the program does not send the signal itself."""
    name = signal_senders.name_of(killed)
    where = f" at or after {ended.last_step}" if again else ", once of two times"
    return f"a fresh interpreter was ended or stopped by {name} from outside{where}"


def _tried(program: str, arguments: tuple[str, ...], watch: int = 0) -> tuple[Ended, int, bool]:
    """Return how a program ended, the outside signal that ended or stopped it, and whether it sent the signal itself."""
    with tempfile.TemporaryFile() as answers, tempfile.TemporaryFile() as said:
        started = time.monotonic()
        process = children.start(
            f"{PROGRAMS}.{program}",
            *arguments,
            output=said,
            answers=answers.fileno(),
            before=partial(_prepare, watch),
            variables={"PYTHONFAULTHANDLER": "1"},
        )
        times = deadline.Watch(process.pid, limit(), _Imports(answers, started))
        code, stopped = None, False
        try:
            while code is None and (left := times.left):
                try:
                    code = process.wait(min(left, _GLANCE))
                except subprocess.TimeoutExpired:
                    pass
        finally:
            if code is None:
                stopped = deadline.is_stopped(process.pid)
                _stop(process)
        told = tuple(children.records(children.tail(answers, _OUTPUT)))
        ended = Ended(code, told, children.tail(said, _TAIL), times.late)
    if code is None and not times.is_decided:
        raise Inconclusive(f"a fresh interpreter came to {times.late}, at or after {ended.last_step}")
    own = bool(watch and code == -signal_senders.CAUGHT)
    if own:
        return replace(ended, code=-watch), 0, True
    if stopped:
        return ended, signal.SIGSTOP, False
    return ended, -code if code is not None and -code in signal_senders.FOREIGN else 0, False


def _prepare(watch: int) -> None:
    """Prepare the new process: it ends with its parent, and a filter watches for the signal, if there is one."""
    children.die_with_parent()
    if watch:
        signal_senders.watch(watch)


@dataclass(frozen=True)
class _Imports:
    """Time of a program that does not count for the case: before its first record, and during imports."""

    answers: IO[bytes]
    started: float

    def lasted(self, now: float) -> float:
        """Return the seconds of all imports up to now."""
        return sum(end - begun for begun, end in self._spans(now))

    @property
    def until(self) -> float | None:
        """End of the current import at the latest; ``None`` outside an import."""
        now = time.monotonic()
        begun = next((begun for begun, end in self._spans(now) if end == now), None)
        return None if begun is None else begun + deadline.IMPORT_SECONDS

    def _spans(self, now: float) -> list[tuple[float, float]]:
        marks = [(self.started, True)]
        for record in children.records(children.tail(self.answers, _OUTPUT)):
            marks.append((record.get("at", self.started), IMPORTING in record))
        ends = [at for at, _ in marks[1:]] + [now]
        return [(at, end) for (at, imports), end in zip(marks, ends) if imports]


def expect_survival(
    ended: Ended, cited: str, *, role: Role = Role.CONSUMER, given: str = "", accused: Side | None = None
) -> None:
    """A program that did not end well is a failure, whatever was being tried; ``cited`` is the clause that it was about.

    ``given`` says what it was doing, if its last step does not.
    """
    if ended.death is None:
        return
    words = " ".join(ended.stderr.split())
    fail(
        Code.PROGRAM_HANG if ended.code is None else Code.PROGRAM_CRASH,
        cited,
        role=role,
        reason="a fresh interpreter does not end by itself"
        if ended.code is None
        else "a fresh interpreter does not survive",
        expected="exit code 0",
        seen=f"{ended.death} at or after {ended.last_step}" + (f"; standard error ends with: {words}" if words else ""),
        given=given or ended.last_step,
        accused=accused,
    )


def expect_exchange(ended: Ended) -> None:
    """A program that tried one exchange over the array interface has to tell that it was right, or refused."""
    expect_survival(ended, "CAI-32")
    record = ended.told("outcome")
    outcome = record["outcome"] if record else "nothing was told"
    seen = record["seen"] if record else ended.last_step
    expected = record.get("expected", "a usable array") if record else "a report"
    if outcome == "refused":
        raise Refused(seen)
    if record and outcome == "misdescribed":
        fail(
            BY_SLUG[record["code"]], record["clause"], role=Role.PRODUCER, reason=record["reason"], expected=expected,
            seen=seen, given="", accused=Side.PRODUCER,
        )  # fmt: skip
    if outcome == "wrong":
        reason = "the consumer reads other elements than the producer's"
        _consumer_fails(Code.VALUES_CHANGED, "CAI-32", reason, expected, seen)
    if outcome == "unusable":
        reason = "reading raises, though the consumer has accepted the array"
        _consumer_fails(Code.WRONG_ACROSS_CONTEXTS, "CAI-29", reason, expected, seen)
    if outcome == "unfilled":
        reason = "beside the other library the producer does not read what it wrote itself"
        fail(Code.VALUES_CHANGED, "CUD-11", role=Role.PRODUCER, reason=reason, expected=expected, seen=seen)
    if outcome != "right":
        raise Inconclusive(f"{outcome} at {seen}")


def _consumer_fails(code: Code, cited: str, reason: str, expected: str, seen: str) -> NoReturn:
    """What the producer described was right: the program has looked."""
    fail(
        code, cited, role=Role.CONSUMER, reason=reason, expected=expected, seen=seen, given="", accused=Side.CONSUMER,
    )  # fmt: skip


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGABRT first: the fault handler then leaves the stacks of all threads. Forks of the program end as well."""
    for number in (signal.SIGABRT, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
