"""What the invariants about an interpreter's end see of it: it belongs to the case."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command
from libraries import install

from conformance.suite.concurrency import BUILDS

BOMB = "sys.modules['bomb'] = type('Bomb', (), {'__del__': lambda self: os.kill(os.getpid(), signal.SIGSEGV)})()"
"""A thing that kills the process when the interpreter takes its modules apart."""


@pytest.mark.parametrize(
    "case",
    [
        "lifetime.import-until-exit/{}-reference/dlpack/host",
        "lifetime.capsule-until-exit/{}-reference/dlpack/host/legacy",
        "threads.release-after-main/{}-reference/dlpack/host/gil",
    ],
)
def test_a_library_that_dies_at_exit_is_seen_to_die(conformance: Command, tmp_path: Path, case: str) -> None:
    """The check itself is long over then; the outcome says when the process died."""
    path = install(tmp_path / "site", "deadly", load=BOMB)
    name = case.format("deadly").replace("/gil", f"/{BUILDS[0]}")
    done = conformance("check", "--case", name, "--between", "deadly", path=path)
    assert done.outcomes() == {name: "crash"}, done.stderr
    assert "exit" in done.results[0]["reason"]


@pytest.mark.parametrize(
    "case",
    [
        "lifetime.import-until-exit/{}-reference/dlpack/host",
        "lifetime.capsule-until-exit/{}-reference/dlpack/host/versioned",
        "threads.release-after-main/{}-reference/dlpack/host/gil",
    ],
)
def test_a_library_that_ends_well_passes(conformance: Command, case: str) -> None:
    """The reference itself keeps an import and a capsule to the end."""
    name = case.format("reference").replace("/gil", f"/{BUILDS[0]}")
    assert conformance("check", "--case", name).outcomes() == {name: "pass"}
