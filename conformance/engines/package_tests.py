"""A package's own tests, run by pytest in each cell beside ours: the command's arguments, and what became of them."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError, ParserCreate

from conformance import files
from conformance.exits import Exit, UserError

from .model import Ending, Lifecycle, Placed

FOLDER = "with-tests"
"""The copy of the tests in the folder of a run: what was planned is what is run, on every engine and when it goes on."""
RESULTS, LOG = "with-tests.xml", "with-tests.log"
SECONDS = 3600.0
SETTINGS = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
"""Files in which pytest looks for its settings. Only those in the folder itself count: no container sees what lies above it."""
_LEFT_OUT = ("__pycache__", "*.pyc", ".git", ".venv", ".pytest_cache")
_CRASHES = tuple(-number for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS))  # fmt: skip
_SOME_FAILED, _INTERRUPTED, _NONE_COLLECTED = 1, 2, 5
_NAME = re.compile(r"^(\S+\.py::\S+)", re.MULTILINE)


class Finish(str, Enum):
    """How pytest ended; the value is how it is told and written."""

    DONE = "done"
    """It came to its end, and tells what became of every test."""
    NO_TESTS = "no tests"
    """It found none, which is not a pass."""
    CRASH = "crash"
    """Its process died of itself."""
    HANG = "hang"
    """It took longer than it may."""
    KILLED = "killed"
    """Somebody ended it from outside."""
    OUT_OF_MEMORY = "out of memory"
    NO_SPACE = "no space"
    STOPPED = "stopped"
    """The whole run was asked to stop."""
    NOT_RUN = "not run"
    """It was not begun, or would not begin."""


@dataclass(frozen=True)
class OwnTests:
    """What became of the tests in one cell. Where they did not come to their end, nobody knows how many there were."""

    ended: Finish
    reason: str
    exit: int | None = None
    """The exit code of pytest, negative for a signal."""
    passed: int | None = None
    failed: int | None = None
    errors: int | None = None
    skipped: int | None = None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """``with_tests`` in ``cell.json``."""
        return {**self.__dict__, "ended": self.ended.value, "seconds": round(self.seconds, 3)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> OwnTests:
        """The reverse of :meth:`to_json`."""
        return cls(**{**data, "ended": Finish(data["ended"])})

    @property
    def final(self) -> bool:
        """Whether `--resume` has nothing to add."""
        return self.ended in (Finish.DONE, Finish.NO_TESTS, Finish.CRASH)

    @property
    def code(self) -> int:
        """What it is worth as an exit code: only a whole run without a failure is a success."""
        if self.ended is Finish.NO_SPACE:
            return Exit.NO_ROOM
        if self.ended is not Finish.DONE:
            return Exit.INCOMPLETE
        if self.failed or self.errors:
            return Exit.VIOLATIONS
        return Exit.OK if self.exit == 0 else Exit.INCOMPLETE

    def __str__(self) -> str:
        if self.ended is not Finish.DONE:
            return str(self.ended.value)
        signs = zip("✓✗!∅", (self.passed, self.failed, self.errors, self.skipped))
        return " ".join(f"{sign}{count}" for sign, count in signs if count)


def copy(source: Path, out: Path) -> None:
    """Take the tests as they are now into the folder of a run.

    Raises UserError where that cannot be done.
    """
    target = out / FOLDER
    shutil.rmtree(target, ignore_errors=True)
    left_out = shutil.ignore_patterns(*_LEFT_OUT)

    def ignored(folder: str, names: list[str]) -> set[str]:
        own = {name for name in names if os.path.realpath(Path(folder, name)) == os.path.realpath(out)}
        return left_out(folder, names) | own

    try:
        shutil.copytree(source, target, ignore=ignored)
        _close(target)
    except (OSError, shutil.Error) as error:
        raise UserError(f"--with-tests: {source} cannot be copied to {target}: {error}") from error


def _close(copy: Path) -> None:
    """Take the right to write to the copy from all other users: a resumed run runs it again."""
    for folder, _, names in os.walk(copy):
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            path.chmod(path.stat().st_mode & 0o7755)


def arguments(folder: Path) -> tuple[str, ...]:
    """What pytest is told, on top of what the tests' own settings say. Nothing is written but the results."""
    settings = next((name for name in SETTINGS if files.is_file(folder / name)), None)
    return (
        "-v", "-p", "no:cacheprovider", "-c", f"{{tests}}/{settings}" if settings else "/dev/null",
        "--rootdir", "{tests}", "--junitxml", f"{{out}}/{RESULTS}", "{tests}",
    )  # fmt: skip


def in_the_way(folder: Path, placed: Iterable[Placed]) -> list[str]:
    """Modules of candidates that lie among the tests too, where pytest would import them from."""
    ours = {path.name.removesuffix(".py") for path in folder.iterdir() if path.suffix == ".py" or files.is_folder(path)}
    theirs = {path.name.partition(".")[0] for one in placed for path in one.folder.iterdir()}
    return sorted(name for name in ours & theirs if name.isidentifier())


def account(ending: Ending, folder: Path, said: str, seconds: float) -> OwnTests:
    """What the engine says of the process, and what pytest has written, as one."""
    found = counted(folder / RESULTS)
    finish, reason = _finish(ending, found, said)
    if finish is not Finish.DONE or found is None:
        return OwnTests(finish, reason, ending.exit, seconds=seconds)
    return OwnTests(
        finish, reason, ending.exit, found["passed"], found["failed"], found["errors"], found["skipped"], seconds
    )


def counted(path: Path) -> Counter[str] | None:
    """Return the number of tests by outcome from a JUnit XML file; ``None`` if the file is missing or damaged.

    The package under test controls the file. The reader treats it as UTF-8, as pytest writes it, and rejects document
    types.
    """
    reading = _Reading()
    try:
        reading.parser.Parse(files.read(path), True)
    except (files.Unreadable, ExpatError, ValueError):
        return None
    return reading.counted


class _Reading:
    """One pass over a JUnit file. It stores only the tags inside the current test."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.parser = ParserCreate("utf-8")
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._begin
        self.parser.EndElementHandler = self._end
        self._open: list[str] = []
        self._told: set[str] = set()

    def _refuse(self, *_: object) -> None:
        raise ValueError("it has a document type, with which a few lines become gigabytes")

    def _begin(self, tag: str, _: object) -> None:
        if len(self._open) == _MOST_LEVELS:
            raise ValueError("it is nested too deeply")
        if self._open and self._open[-1] == _TEST:
            self._told.add(tag)
        self._open.append(tag)

    def _end(self, tag: str) -> None:
        self._open.pop()
        if tag == _TEST:
            self.counted[_outcome(self._told)] += 1
            self._told = set()


_TEST = "testcase"
_MOST_LEVELS = 50


def _outcome(told: set[str]) -> str:
    words = (("error", "errors"), ("failure", "failed"), ("skipped", "skipped"))
    return next((word for tag, word in words if tag in told), "passed")


_BY_LIFECYCLE = {
    Lifecycle.DEADLINE: Finish.HANG,
    Lifecycle.STOPPED: Finish.STOPPED,
    Lifecycle.OUT_OF_MEMORY: Finish.OUT_OF_MEMORY,
    Lifecycle.NO_SPACE: Finish.NO_SPACE,
}


def _finish(ending: Ending, found: Counter[str] | None, said: str) -> tuple[Finish, str]:
    where = f", in {names[-1]}" if (names := _NAME.findall(said)) else ""
    if ending.lifecycle in _BY_LIFECYCLE:
        return _BY_LIFECYCLE[ending.lifecycle], ending.reason + where
    if ending.lifecycle is Lifecycle.KILLED:
        return (Finish.CRASH if ending.exit in _CRASHES else Finish.KILLED), ending.reason + where
    if ending.lifecycle is not Lifecycle.DONE:
        return Finish.NOT_RUN, ending.reason
    if ending.exit == _NONE_COLLECTED:
        return Finish.NO_TESTS, "pytest found no test; that is not a pass"
    if ending.exit in (0, _SOME_FAILED, _INTERRUPTED):
        if found is None:
            return Finish.CRASH, f"it ended with exit code {ending.exit} and left no results{where}"
        return Finish.DONE, ending.reason
    lines = [line for line in said.splitlines() if line.strip()]
    return Finish.NOT_RUN, f"{ending.reason}: {lines[-1].strip() if lines else 'it said nothing'}"


def not_begun(why: str) -> OwnTests:
    """Where they were not run."""
    return OwnTests(Finish.NOT_RUN, why)
