"""Fork server that imports libraries during the planning of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.execution import early_server
from conformance.execution.early_server import Started
from conformance.execution.forkserver import Server


class Dummy:
    """A server that notes its end."""

    ended = 0

    def close(self) -> None:
        """Note it."""
        self.ended += 1


def started(*libraries: str) -> Started:
    """A server of these libraries that is none."""
    server: Server = Dummy()  # type: ignore[assignment]
    return Started(server, os.open(os.devnull, os.O_RDONLY), libraries)


@pytest.mark.parametrize(("names", "serves"), [
    (("numpy", "torch"), True),
    (("numpy", "torch", "jax"), True),
    (("numpy",), False),
    (("numpy", "torch", "cupy"), False),
    (("numpy", "torch", "another"), False),
])  # fmt: skip
def test_a_server_serves_a_run_of_exactly_its_libraries(names: tuple[str, ...], serves: bool) -> None:
    """A library that is not imported before a fork (JAX) does not count. One of another package may be, and a run cannot know."""
    early = started("numpy", "torch+states")
    assert early.serves(names) is serves
    early.end()


def test_a_server_that_no_run_has_taken_is_ended_once() -> None:
    """A run that has taken it ends it by itself."""
    unused, used = started(), started()
    used.is_taken = True
    for early in (unused, unused, used):
        early.end()
    os.close(used.output)
    assert (unused.server.ended, used.server.ended) == (1, 0)  # type: ignore[attr-defined]


def test_only_libraries_that_seem_to_be_installed_are_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An absent one would only cost a message."""
    asked: list[tuple[str, ...]] = []

    def start(libraries: tuple[str, ...], path: Path, neutral: Path) -> Started:
        asked.append(libraries)
        return started(*libraries)

    monkeypatch.setattr(early_server, "start", start)
    monkeypatch.setattr(early_server, "find_spec", lambda name: None if name == "cupy" else object())
    with early_server.begun(("reference", "numpy", "torch", "jax", "cupy"), states=True) as early:
        assert not early.server.ended  # type: ignore[attr-defined]
    assert asked == [("numpy", "torch+states")]
    assert early.server.ended == 1  # type: ignore[attr-defined]


def test_no_server_is_left_after_a_command_that_does_not_run_anything() -> None:
    """Such as one that names an unknown family."""
    done = subprocess.run(
        [sys.executable, "-m", "conformance", "check", "--family", "nothing-like-this", "--between", "numpy"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
