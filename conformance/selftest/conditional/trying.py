"""Trial of one conditional fault in a forked process: find the point at which it shows, then run cases until one fails."""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn
from unittest import mock

from conformance.checks import children, leaks, offers
from conformance.checks.catalogue import Case
from conformance.checks.exchange import brief
from conformance.execution.results import ACCUSING
from conformance.selftest.model import ALL_FAULTS
from conformance.selftest.trials import Bench
from conformance.suggestions import meant
from conformance.verdict import Verdict

from . import levels, matching, subjects
from .levels import Level, State
from .reach import Reach, run
from .subjects import Subject

PATIENCE = 0.02
"""Seconds to wait for a release. The reference releases at once, so a longer wait cannot help."""
MOST = {1: 1_000, 2: 120}
"""The number of cases for a candidate, by the number of factors. A run has all cases, so the share of caught faults is a lower bound."""
_SECONDS = 60.0
"""The seconds without output after which a process is considered hanging."""
Numbers = Callable[[State], Sequence[int]]
"""Returns the numbers of the cases to try."""
_CAUGHT, _SHOWS, _HIDES, _TRIES, _ENDS, _BREAKS = "caught", "shows", "hides", "tries", "ends", "breaks"


@dataclass(frozen=True)
class Candidate:
    """An unconditional fault, with the name of its stage, and a condition."""

    fault: str
    condition: tuple[Level, ...]

    @property
    def name(self) -> str:
        """A name such as ``reference.layout.StridesInBytes@width=8,layout=transposed``."""
        return f"{self.fault}@{levels.name_of(self.condition)}"

    @classmethod
    def named(cls, name: str) -> Candidate:
        """Return the candidate of a :attr:`name`. Raise ``ValueError`` for a malformed or unknown name."""
        fault, at, condition = name.partition("@")
        if not at:
            raise ValueError(f"{name!r} has no condition")
        if fault not in subjects.known():
            raise ValueError(f"there is no fault {fault!r}{meant(fault, subjects.known(), ALL_FAULTS)}")
        return cls(fault, levels.parsed(condition))


@dataclass(frozen=True)
class Tried:
    """The result of a candidate's trial.

    ``witness`` is the point at which the fault shows, or empty. ``caught_by`` is the id of the case that failed, and ``said`` its message.
    ``reached`` is the number of cases that reach the condition. ``wrongly`` is the accused library if it does not have the fault.
    """

    name: str
    statement: str
    factors: int
    witness: str
    caught_by: str = ""
    said: str = ""
    reached: int = 0
    wrongly: str = ""
    seconds: float = 0.0

    @property
    def missed(self) -> bool:
        """``True`` if the fault shows somewhere, and no case fails."""
        return bool(self.witness) and not self.caught_by

    @property
    def reason(self) -> str:
        """The reason for a miss, as far as a rule knows it."""
        if not self.missed:
            return ""
        if not self.reached:
            return f"no case reaches the condition; it shows with {self.witness}"
        return f"none of the {self.reached} cases that reach the condition notices; it shows with {self.witness}"


def tried(candidate: Candidate, reach: Reach, folder: str, first: Sequence[str] = ()) -> Tried:
    """Try a candidate. ``folder`` is for temporary files.

    The cases of the invariants in ``first`` run before the others, after those that must catch the fault.
    """
    started = time.perf_counter()
    always = subjects.known()[candidate.fault]
    always.prepare(candidate.condition)
    gc.freeze()  # a process that looks for leaks need not scan the objects that it shares with others

    def numbers(witness: State) -> list[int]:
        """Return the cases to try, in order. ``witness`` has the levels of an array with which the fault shows."""
        found = reach.reaching(always.side, always.methods, candidate.condition, witness, always.stands_for)
        return sorted(found, key=lambda number: _rank(reach, number, always, first))[: MOST[len(candidate.condition)]]

    words = list(_messages(candidate, reach, numbers, folder, look=True))
    if not words:  # the exchange with the fault has ended the process
        words = [
            (_SHOWS, "an exchange that ends the process"),
            *_messages(candidate, reach, numbers, folder, look=False),
        ]
    statement = f"{always.statement} Only with {levels.in_words(candidate.condition)}."
    case, said, wrongly = _outcome(words)
    return Tried(
        candidate.name,
        statement,
        len(candidate.condition),
        next((text for word, text in words if word == _SHOWS), ""),
        case,
        said,
        len(numbers(frozenset())),
        wrongly,
        time.perf_counter() - started,
    )


@contextmanager
def impatient() -> Iterator[None]:
    """Shorten waits and repetitions within the block. The reference has no cache and releases at once."""
    with (
        mock.patch.object(offers, "PATIENCE", PATIENCE),
        mock.patch.multiple(leaks, LONG_ROUND=leaks.QUICK.round, LONG_ROUNDS=2),
    ):
        yield


def _outcome(words: Sequence[tuple[str, str]]) -> tuple[str, str, str]:
    """Return the case that failed, its message, and the wrongly accused library. A case that ends its process has failed too."""
    word, text = words[-1]
    if word == _CAUGHT:
        case, said, wrongly = json.loads(text)
        return case, said, wrongly
    if word == _BREAKS:
        return "", text, "the selftest itself"
    return (text, "the process of the case ends or hangs", "") if word == _TRIES else ("", "", "")


def _rank(reach: Reach, number: int, fault: Subject, first: Sequence[str]) -> int:
    name = reach.cases[number].invariant
    families = {caught.partition(".")[0] for caught in fault.caught_by}
    rank = 0 if name in fault.caught_by else 1 if matching.is_point(reach.cases[number]) else 2 if name in first else 3
    if rank == 3:
        rank += name.partition(".")[0] not in families
    return rank


def _messages(
    candidate: Candidate, reach: Reach, numbers: Numbers, folder: str, *, look: bool
) -> list[tuple[str, str]]:
    """Return the messages of a trial's process, in order. ``look`` searches for the point at which the fault shows."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        _live(candidate, reach, numbers, writer, folder, look=look)
    os.close(writer)
    text = b""
    while select.select([reader], [], [], _SECONDS)[0] and (piece := os.read(reader, 1 << 16)):
        text += piece
    os.close(reader)
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    lines = text.decode(errors="replace").split("\n")[:-1]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def _live(candidate: Candidate, reach: Reach, numbers: Numbers, writer: int, folder: str, *, look: bool) -> NoReturn:
    """Run the trial in the forked process."""
    try:
        os.setpgid(0, 0)
        children.die_with_parent()
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        found, levels_there = "", frozenset[Level]()
        if look:
            found, levels_there = subjects.known()[candidate.fault].witness(candidate.condition)
        if look:
            _say(writer, _SHOWS if found else _HIDES, found)
        if found or not look:
            with impatient():
                _try_cases(candidate, reach, numbers(levels_there), writer)
    except Exception as error:  # noqa: BLE001 - otherwise a bug of the self-test would look like a crash by the fault
        _say(writer, _BREAKS, f"the trial itself raised {brief(error)}")
    finally:
        os._exit(0)


def _try_cases(candidate: Candidate, reach: Reach, numbers: Sequence[int], writer: int) -> None:
    always = subjects.known()[candidate.fault]
    bench = Bench(always.partners(candidate.condition))
    for number in numbers:
        case = always.placed(reach.cases[number])
        _say(writer, _TRIES, case.id)
        result = run(bench, case)
        if result.outcome in ACCUSING and result.verdict is not Verdict.OBSERVED:
            if _fails_anyway(always, case):
                continue
            found = result.accused
            right = found is not None and found.libraries == (always.library,) and found.side is always.side
            libraries = "" if right else " and ".join(found.libraries if found else ()) or "no library"
            _say(writer, _CAUGHT, json.dumps([case.id, result.reason, libraries]))
            return
    _say(writer, _ENDS, "")


def _fails_anyway(always: Subject, case: Case) -> bool:
    """Return ``True`` if the real library fails this case without the fault, so that the case shows nothing."""
    flawless = always.flawless()
    return bool(flawless) and run(Bench(flawless), case).outcome in ACCUSING


def _say(writer: int, word: str, rest: str) -> None:
    os.write(writer, f"{word} {' '.join(rest.splitlines())}\n".encode())
