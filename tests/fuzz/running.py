"""Damaged files, each drawn from a seed and a number: no traceback, no wait, and no loss of an undamaged result."""

from __future__ import annotations

import gzip
import os
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from random import Random

from conformance.execution import check_folder, journal, run_folder

from . import mutating
from .targets import CODES, Target, prepared

WAIT_SECONDS = 60
"""Timeout of one input on a busy machine, in seconds."""
OF_ANOTHER_KIND = 0.02
"""Share of the inputs that replace the file by an entry of another kind."""
_BY_LINES = (f"check/{run_folder.RESULTS}", f"stopped/{journal.FILE}")
"""Files in which a damaged line must not affect other lines."""


class Waits(BaseException):
    """A command that does not end. No exception handler of the suite catches this error."""


@dataclass
class Found:
    """Results of the inputs so far."""

    inputs: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@dataclass
class Fuzz:
    """Inputs of one seed in an empty folder."""

    out: Path
    seed: int
    found: Found = field(default_factory=Found)

    def __post_init__(self) -> None:
        self.targets = prepared(self.out)
        self._sound = {target.file: (self.out / target.file).read_bytes() for target in self.targets}
        self._outcomes = {name: self._told(name) for name in _BY_LINES}

    def go(self, numbers: Iterable[int]) -> Found:
        """Run the inputs with these numbers."""
        for number in numbers:
            with _bounded():
                self._input(number, Random(f"{self.seed}/{number}"))
        return self.found

    def _input(self, number: int, random: Random) -> None:
        self.found.inputs += 1
        if random.random() < 0.1:
            self._line(number, random)
            return
        target = random.choice(self.targets)
        path = self.out / target.file
        with self._damaged(path, self._drawn(random, target)):
            way = random.choice(target.ways)
            try:
                code = _quietly(way)
            except (Exception, Waits):
                self._complain(number, target.file, traceback.format_exc())
                return
            self.found.codes[code] += 1
            if code not in CODES:
                self._complain(number, target.file, f"it ended with {code}")

    def _drawn(self, random: Random, target: Target) -> bytes | mutating.Kind:
        if random.random() < OF_ANOTHER_KIND:
            return random.choice(mutating.OTHER_KINDS)
        sound = self._sound[target.file]
        if target.file.endswith(".gz") and random.random() < 0.5:
            return gzip.compress(mutating.damaged(random, gzip.decompress(sound)), 1)
        return mutating.damaged(random, sound)

    def _line(self, number: int, random: Random) -> None:
        """Damage one line of results, and check that the cases of all other lines are unchanged."""
        name = random.choice(_BY_LINES)
        lines = self._sound[name].split(b"\n")
        at = random.randrange(1 if name.endswith(journal.FILE) else 0, len(lines) - 1)
        changed = mutating.damaged(random, lines[at]).replace(b"\n", b" ").replace(b"\r", b" ")
        gone = [id for id in self._outcomes[name] if id.encode() in lines[at]]
        with self._damaged(self.out / name, b"\n".join([*lines[:at], changed, *lines[at + 1 :]])):
            try:
                now = self._told(name)
            except (Exception, Waits):
                self._complain(number, name, traceback.format_exc())
                return
            kept = {id: outcome for id, outcome in self._outcomes[name].items() if id not in gone}
            lost = [id for id, outcome in kept.items() if now.get(id) != outcome]
            if lost:
                self._complain(
                    number, name, f"line {at + 1} was damaged, and these are lost with it: {lost}\n{changed!r}"
                )

    def _told(self, name: str) -> dict[str, str]:
        """Return the outcomes of the run that the file belongs to."""
        return {result.case.id: result.outcome.value for result in check_folder.left((self.out / name).parent).results}

    @contextmanager
    def _damaged(self, path: Path, content: bytes | mutating.Kind) -> Iterator[None]:
        mutating.removed(path)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content(path)
        try:
            yield
        finally:
            mutating.removed(path)
            path.write_bytes(self._sound[os.fspath(path.relative_to(self.out))])

    def _complain(self, number: int, file: str, told: str) -> None:
        self.found.wrong.append(f"input {number} of seed {self.seed}, {file}:\n{told}")


def _quietly(way: Callable[[], int]) -> int:
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        return way()


def _ring(*_: object) -> None:
    raise Waits


@contextmanager
def _bounded() -> Iterator[None]:
    """Interrupt a command inside the context that does not end."""
    before = signal.signal(signal.SIGALRM, _ring)
    signal.alarm(WAIT_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
