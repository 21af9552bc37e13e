"""Running the command line as a user does, in a process of its own."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")
"""How long an example takes says nothing: a busy machine holds any process up."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return one process more than there are cores: many tests wait part of their time, for deadlines and for processes that hang."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: -max((mark.args[0] for mark in item.iter_markers("seconds")), default=0))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Exempt the present objects from later collections: the suite collects often, and the modules of all tests have many objects."""
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class Finished:
    """A finished command and what it left behind."""

    code: int
    stdout: str
    stderr: str
    out: Path

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The records of a file of JSON lines."""
        return [json.loads(line) for line in (self.out / name).read_text().splitlines()]

    @property
    def plan(self) -> list[dict[str, Any]]:
        """``plan.jsonl``."""
        return self.lines("plan.jsonl")

    @property
    def results(self) -> list[dict[str, Any]]:
        """``results.jsonl``."""
        return self.lines("results.jsonl")

    @property
    def journal(self) -> list[dict[str, Any]]:
        """``journal.jsonl``."""
        return self.lines("journal.jsonl")

    def outcomes(self) -> dict[str, str]:
        """Outcome by case id."""
        return {r["id"]: r["outcome"] for r in self.results}


Command = Callable[..., Finished]
_MARK = "TEST_MARK"


def mark(folder: Path) -> dict[str, str]:
    """An environment by which all processes that a command starts can be told from others."""
    return {_MARK: str(folder)}


def marked(folder: Path) -> list[int]:
    """Processes that were started with this mark and still live."""
    word = f"{_MARK}={folder}".encode()
    return [int(file.parent.name) for file in Path("/proc").glob("[0-9]*/environ") if word in _read(file).split(b"\0")]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def command_in(folder: Path) -> Command:
    """``python -m conformance …`` in a folder; ``path`` goes to ``PYTHONPATH``.

    ``check`` has one process unless ``-n`` is given: other tests run at the same time, and each process starts anew what it needs.
    """

    def run(*arguments: str, path: Path | None = None, **environment: str) -> Finished:
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("CONFORMANCE_", "PYTEST_"))}
        if path is not None:
            variables["PYTHONPATH"] = str(path)
        one = ("-n", "1") if arguments[:1] == ("check",) and not {"-n", "--help"}.intersection(arguments) else ()
        done = subprocess.run(
            [sys.executable, "-m", "conformance", *arguments, *one],
            cwd=folder, env={**variables, **environment}, capture_output=True, text=True, timeout=1200, check=False,
        )  # fmt: skip
        return Finished(done.returncode, done.stdout, done.stderr, folder / "conform-results")

    return run


@pytest.fixture
def conformance(tmp_path: Path) -> Command:
    """The command in an empty folder."""
    return command_in(tmp_path)
