"""New interpreters, for effects that a process cannot undo, such as imports, CUDA contexts and forks.

A program is a module of :mod:`conformance.programs`. It writes records to a separate descriptor, so that the
last step is known after a crash.
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
"""The package of the programs. It imports this package, so this module refers to it by name."""
_SHARE = 0.75
"""Share of the case's time limit after which a program is stopped."""
_UNCOUNTED = 3600.0
"""Seconds that do not count for the case while two tries of a program run under their own timeouts."""
SURVIVAL = "PY-02"
"""The clause that a library breaks if it crashes an interpreter without an exchange."""
_GLANCE = 0.25
_OUTPUT = 65536
_TAIL = 1500


@dataclass(frozen=True)
class Ended:
    """The end of a program: its exit code (negative for a signal, ``None`` if it was stopped) and its records."""

    code: int | None
    records: tuple[dict[str, Any], ...]
    stderr: str = ""
    late: str = ""
    """The reason why the program was stopped at its timeout. It is empty if the program ended by itself."""

    @property
    def death(self) -> str | None:
        """The abnormal end of the program, in words, or ``None`` for exit code 0."""
        if self.code is None:
            return self.late or f"timeout after {limit():g} s"
        if self.code < 0:
            return signal_senders.name_of(-self.code)
        return f"exit code {self.code}" if self.code else None

    @property
    def last_step(self) -> str:
        """The newest step that the program reported."""
        return next((str(r["step"]) for r in reversed(self.records) if "step" in r), "the start of the interpreter")

    @property
    def at_work(self) -> str:
        """The library in the newest record that names one, or an empty string."""
        return next((str(r["library"]) for r in reversed(self.records) if "library" in r), "")

    def told(self, key: str) -> dict[str, Any] | None:
        """Return the first record with this key, or ``None``."""
        return next((r for r in self.records if key in r), None)


def limit() -> float:
    """Return the timeout of a program in seconds."""
    return _SHARE * deadline.seconds()


def run(program: str, *arguments: str) -> Ended:
    """Run a program, and return its end. At the timeout, it is stopped with its process group.

    If a signal from another process may have ended the program, it runs once more under watch.

    Raises:
        Inconclusive: another process sent the signal.
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
    """Return the reason of an inconclusive result: another process sent the signal."""
    name = signal_senders.name_of(killed)
    where = f" at or after {ended.last_step}" if again else ", in one of two tries"
    return f"another process ended or stopped the new interpreter by {name}{where}"


def _tried(program: str, arguments: tuple[str, ...], watch: int = 0) -> tuple[Ended, int, bool]:
    """Run a program once. Return its end, the signal that may come from outside, and whether the program sent it to itself."""
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
        raise Inconclusive(f"the new interpreter did not end: {times.late}, at or after {ended.last_step}")
    own = bool(watch and code == -signal_senders.CAUGHT)  # the filter ended the program as it sent the signal to itself
    if own:
        return replace(ended, code=-watch), 0, True
    if stopped:
        return ended, signal.SIGSTOP, False
    return ended, -code if code is not None and -code in signal_senders.FOREIGN else 0, False


def _prepare(watch: int) -> None:
    """Prepare the new process: it ends with its parent, and a filter watches for the signal if one is given."""
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
    """Fail if a program crashed or hung. ``cited`` is the clause that the case is about.

    ``given`` is the special input, by default the last step of the program.
    """
    if ended.death is None:
        return
    words = " ".join(ended.stderr.split())
    fail(
        Code.PROGRAM_HANG if ended.code is None else Code.PROGRAM_CRASH,
        cited,
        role=role,
        reason="the new interpreter hangs" if ended.code is None else "the new interpreter crashes",
        expected="exit code 0",
        seen=f"{ended.death} at or after {ended.last_step}" + (f"; standard error ends with: {words}" if words else ""),
        given=given or ended.last_step,
        accused=accused,
    )


def expect_exchange(ended: Ended) -> None:
    """Fail unless a program that tried one exchange by the CUDA Array Interface reports a correct result or a refusal."""
    expect_survival(ended, "CAI-32")
    record = ended.told("outcome")
    outcome = record["outcome"] if record else "no result"
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
        reason = "the consumer reads elements that differ from the producer's"
        _consumer_fails(Code.VALUES_CHANGED, "CAI-32", reason, expected, seen)
    if outcome == "unusable":
        reason = "the consumer accepted the array, but raises when it reads it"
        _consumer_fails(Code.WRONG_ACROSS_CONTEXTS, "CAI-29", reason, expected, seen)
    if outcome == "unfilled":
        reason = "with the other library loaded, the producer does not read back its own elements"
        fail(Code.VALUES_CHANGED, "CUD-11", role=Role.PRODUCER, reason=reason, expected=expected, seen=seen)
    if outcome != "right":
        raise Inconclusive(f"{outcome} at {seen}")


def _consumer_fails(code: Code, cited: str, reason: str, expected: str, seen: str) -> NoReturn:
    """Fail the consumer. The program has checked that the producer's description is correct."""
    fail(
        code, cited, role=Role.CONSUMER, reason=reason, expected=expected, seen=seen, given="", accused=Side.CONSUMER,
    )  # fmt: skip


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a program and its forks. SIGABRT comes first, so that Python's fault handler prints the stacks of all threads."""
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
