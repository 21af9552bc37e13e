"""A package's own tests, which pytest runs in each cell: the arguments of pytest, and the result."""

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
"""Folder with the copy of the tests in the folder of a run. Every engine and every resumed run uses this copy."""
RESULTS, LOG = "with-tests.xml", "with-tests.log"
SECONDS = 3600.0
SETTINGS = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
"""Files with pytest's settings. Only files in the folder itself count, because no container sees the folders above it."""
_LEFT_OUT = ("__pycache__", "*.pyc", ".git", ".venv", ".pytest_cache")
_CRASHES = tuple(-number for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS))  # fmt: skip
_SOME_FAILED, _INTERRUPTED, _NONE_COLLECTED = 1, 2, 5
_NAME = re.compile(r"^(\S+\.py::\S+)", re.MULTILINE)


class Finish(str, Enum):
    """How pytest ended. The value is the word in reports and files."""

    DONE = "done"
    """Pytest finished and reported every test."""
    NO_TESTS = "no tests"
    """Pytest found no test, which is not a pass."""
    CRASH = "crash"
    """Its process crashed."""
    HANG = "hang"
    """It reached its timeout."""
    KILLED = "killed"
    """A signal from outside the suite ended it."""
    OUT_OF_MEMORY = "out of memory"
    NO_SPACE = "no space"
    STOPPED = "stopped"
    """The user or a signal stopped the whole run."""
    NOT_RUN = "not run"
    """It was not started, or did not start."""


@dataclass(frozen=True)
class OwnTests:
    """Result of the tests in one cell. The counts are ``None`` if pytest did not finish."""

    ended: Finish
    reason: str
    exit: int | None = None
    """Exit code of pytest, negative for a signal."""
    passed: int | None = None
    failed: int | None = None
    errors: int | None = None
    skipped: int | None = None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the value of ``with_tests`` in ``cell.json``."""
        return {**self.__dict__, "ended": self.ended.value, "seconds": round(self.seconds, 3)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> OwnTests:
        """Create a result from :meth:`to_json` data."""
        return cls(**{**data, "ended": Finish(data["ended"])})

    @property
    def final(self) -> bool:
        """Whether `--resume` does not run the tests again."""
        return self.ended in (Finish.DONE, Finish.NO_TESTS, Finish.CRASH)

    @property
    def code(self) -> int:
        """Exit code of the tests: 0 only for a finished run without a failure."""
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
    """Copy the tests into the folder of a run.

    Raises UserError if the copy fails.
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
    """Remove the write permission of all other users from the copy, because a resumed run executes it."""
    for folder, _, names in os.walk(copy):
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            path.chmod(path.stat().st_mode & 0o7755)


def arguments(folder: Path) -> tuple[str, ...]:
    """Return the arguments of pytest, which add to the tests' own settings. Pytest writes nothing but the results."""
    settings = next((name for name in SETTINGS if files.is_file(folder / name)), None)
    return (
        "-v", "-p", "no:cacheprovider", "-c", f"{{tests}}/{settings}" if settings else "/dev/null",
        "--rootdir", "{tests}", "--junitxml", f"{{out}}/{RESULTS}", "{tests}",
    )  # fmt: skip


def in_the_way(folder: Path, placed: Iterable[Placed]) -> list[str]:
    """Return modules of candidates that the folder of tests also contains. Pytest would import them from that folder."""
    ours = {path.name.removesuffix(".py") for path in folder.iterdir() if path.suffix == ".py" or files.is_folder(path)}
    theirs = {path.name.partition(".")[0] for one in placed for path in one.folder.iterdir()}
    return sorted(name for name in ours & theirs if name.isidentifier())


def account(ending: Ending, folder: Path, said: str, seconds: float) -> OwnTests:
    """Combine the ending of the process and the results file of pytest."""
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
        self._tags: set[str] = set()

    def _refuse(self, *_: object) -> None:
        raise ValueError("it has a document type, with which a few lines can expand to gigabytes")

    def _begin(self, tag: str, _: object) -> None:
        if len(self._open) == _MOST_LEVELS:
            raise ValueError("it is nested too deeply")
        if self._open and self._open[-1] == _TEST:
            self._tags.add(tag)
        self._open.append(tag)

    def _end(self, tag: str) -> None:
        self._open.pop()
        if tag == _TEST:
            self.counted[_outcome(self._tags)] += 1
            self._tags = set()


_TEST = "testcase"
_MOST_LEVELS = 50


def _outcome(tags: set[str]) -> str:
    words = (("error", "errors"), ("failure", "failed"), ("skipped", "skipped"))
    return next((word for tag, word in words if tag in tags), "passed")


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
        return Finish.NO_TESTS, "pytest found no test, which is not a pass"
    if ending.exit in (0, _SOME_FAILED, _INTERRUPTED):
        if found is None:
            return Finish.CRASH, f"pytest ended with exit code {ending.exit} and wrote no results{where}"
        return Finish.DONE, ending.reason
    lines = [line for line in said.splitlines() if line.strip()]
    return Finish.NOT_RUN, f"{ending.reason}: {lines[-1].strip() if lines else 'it printed nothing'}"


def not_begun(why: str) -> OwnTests:
    """Return the result of tests that were not run."""
    return OwnTests(Finish.NOT_RUN, why)
