"""What the invariants of the family ``lifetime`` see of an interpreter's end: it belongs to the case."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command
from libraries import install

BOMB = "sys.modules['bomb'] = type('Bomb', (), {'__del__': lambda self: os.kill(os.getpid(), signal.SIGSEGV)})()"
"""A thing that kills the process when the interpreter takes its modules apart."""


@pytest.mark.parametrize(
    "case", ["import-until-exit/{}-reference/dlpack/host", "capsule-until-exit/{}-reference/dlpack/host/legacy"]
)
def test_a_library_that_dies_at_exit_is_seen_to_die(conformance: Command, tmp_path: Path, case: str) -> None:
    """The check itself is long over then; the outcome says when the process died."""
    path = install(tmp_path / "site", "deadly", load=BOMB)
    name = f"lifetime.{case.format('deadly')}"
    done = conformance("check", "--case", name, "--between", "deadly", path=path)
    assert done.outcomes() == {name: "crash"}, done.stderr
    assert "exit" in done.results[0]["reason"]


@pytest.mark.parametrize(
    "case", ["import-until-exit/{}-reference/dlpack/host", "capsule-until-exit/{}-reference/dlpack/host/versioned"]
)
def test_a_library_that_ends_well_passes(conformance: Command, case: str) -> None:
    """The reference itself keeps an import and a capsule to the end."""
    name = f"lifetime.{case.format('reference')}"
    assert conformance("check", "--case", name).outcomes() == {name: "pass"}
