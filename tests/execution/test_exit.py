"""What the invariants about an interpreter's end see of it: it belongs to the case."""

from __future__ import annotations

from pathlib import Path

from conftest import Command
from libraries import install

BOMB = "sys.modules['bomb'] = type('Bomb', (), {'__del__': lambda self: os.kill(os.getpid(), signal.SIGSEGV)})()"
"""A thing that kills the process when the interpreter takes its modules apart."""


def test_a_library_that_dies_at_exit_is_seen_to_die(conformance: Command, tmp_path: Path) -> None:
    """The check itself is long over then; the outcome says when the process died."""
    path = install(tmp_path / "site", "deadly", load=BOMB)
    name = "lifetime.import-until-exit/deadly-reference/dlpack/host"
    done = conformance("check", "--case", name, "--between", "deadly", path=path)
    assert done.outcomes() == {name: "crash"}, done.stderr
    told = "the process died of SIGSEGV at the interpreter's exit, after the check had ended"
    assert done.results[0]["reason"] == told
