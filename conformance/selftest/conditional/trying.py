"""Trying one conditional fault, in a forked process: the point at which it shows, then the cases that reach its condition until one fails."""

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
"""Seconds. The reference releases what it has at once, so what a fault never releases need not be waited for."""
MOST = {1: 1_000, 2: 120}
"""Cases that are tried for a candidate, by the number of factors. A run has all of them, so this misses faults at most."""
_SECONDS = 60.0
"""Silence of a process after which it hangs."""
Numbers = Callable[[State], Sequence[int]]
"""Gives the numbers of the cases to try."""
_CAUGHT, _SHOWS, _HIDES, _TRIES, _ENDS, _BREAKS = "caught", "shows", "hides", "tries", "ends", "breaks"


@dataclass(frozen=True)
class Candidate:
    """An always-wrong fault, with the name of its stage, and a condition."""

    fault: str
    condition: tuple[Level, ...]

    @property
    def name(self) -> str:
        """Such as ``reference.layout.StridesInBytes@width=8,layout=transposed``."""
        return f"{self.fault}@{levels.name_of(self.condition)}"

    @classmethod
    def named(cls, name: str) -> Candidate:
        """The reverse of :attr:`name`. Raises ``ValueError`` for what is no such name."""
        fault, at, condition = name.partition("@")
        if not at:
            raise ValueError(f"{name!r} has no condition")
        if fault not in subjects.known():
            raise ValueError(f"there is no fault {fault!r}{meant(fault, subjects.known(), ALL_FAULTS)}")
        return cls(fault, levels.parsed(condition))


@dataclass(frozen=True)
class Tried:
    """What became of a candidate.

    ``witness`` is where it shows, empty if it shows nowhere. ``caught_by`` is the id of the case that failed, and ``said`` its sentence.
    ``reached`` are the cases that reach the condition. ``wrongly`` is who is accused, if that is not the library with the fault.
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
        """Whether it shows somewhere, and no case fails."""
        return bool(self.witness) and not self.caught_by

    @property
    def reason(self) -> str:
        """Why it was missed, as far as a rule knows."""
        if not self.missed:
            return ""
        if not self.reached:
            return f"no case reaches the condition; it shows with {self.witness}"
        return f"none of the {self.reached} cases that reach the condition notices; it shows with {self.witness}"


def tried(candidate: Candidate, reach: Reach, folder: str, first: Sequence[str] = ()) -> Tried:
    """Try a candidate; ``folder`` is for temporary files.

    ``first`` are invariants whose cases come before the others, after those that have to catch the fault.
    """
    started = time.perf_counter()
    always = subjects.known()[candidate.fault]
    always.prepare(candidate.condition)
    gc.freeze()  # a process that looks for leaks need not search what it shares with others

    def numbers(witness: State) -> list[int]:
        """The cases to try, in order; ``witness`` has the levels of an array with which the fault shows."""
        found = reach.reaching(always.side, always.methods, candidate.condition, witness, always.stands_for)
        return sorted(found, key=lambda number: _rank(reach, number, always, first))[: MOST[len(candidate.condition)]]

    words = list(_told(candidate, reach, numbers, folder, look=True))
    if not words:  # the exchange in which it shows has ended the process
        words = [(_SHOWS, "an exchange that ends the process"), *_told(candidate, reach, numbers, folder, look=False)]
    statement = f"{always.statement} Only with {levels.told(candidate.condition)}."
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
    """Inside, the suite waits and repeats as little as the reference needs, which has no cache and releases at once."""
    with (
        mock.patch.object(offers, "PATIENCE", PATIENCE),
        mock.patch.multiple(leaks, LONG_ROUND=leaks.QUICK.round, LONG_ROUNDS=2),
    ):
        yield


def _outcome(words: Sequence[tuple[str, str]]) -> tuple[str, str, str]:
    """The case that failed, what it said, and who is wrongly accused; a case that ends its process has failed too."""
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


def _told(candidate: Candidate, reach: Reach, numbers: Numbers, folder: str, *, look: bool) -> list[tuple[str, str]]:
    """What a process tells of its trial, in order; ``look`` for the point at which the fault shows."""
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
    """In the forked process."""
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
    except Exception as error:  # noqa: BLE001 - otherwise a mistake of the selftest's would read as a crash of the fault's
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
            whom = "" if right else " and ".join(found.libraries if found else ()) or "nobody"
            _say(writer, _CAUGHT, json.dumps([case.id, result.reason, whom]))
            return
    _say(writer, _ENDS, "")


def _fails_anyway(always: Subject, case: Case) -> bool:
    """Whether a real library fails this case by itself: then it shows no fault."""
    flawless = always.flawless()
    return bool(flawless) and run(Bench(flawless), case).outcome in ACCUSING


def _say(writer: int, word: str, rest: str) -> None:
    os.write(writer, f"{word} {' '.join(rest.splitlines())}\n".encode())
