"""The turn of exclusive cases: one process of a run at a time has the GPU, and imports do not wait for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance import programs
from conformance.checks import children, gpu_turns, interpreter
from conformance.checks.catalogue import Isolation, catalogue
from conformance.checks.interpreter import Ended
from conformance.checks.outcomes import Inconclusive
from conformance.execution.child import takes_turn


@pytest.fixture(autouse=True)
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lock of a run."""
    monkeypatch.setenv(gpu_turns.VARIABLE, str(tmp_path / "turn"))
    return tmp_path / "turn"


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Another process of the run that has its turn."""
    code = "from conformance.checks import gpu_turns\nwith gpu_turns.alone():\n  print(flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=children.environment()
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_one_process_at_a_time_has_its_turn(other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one waits, and decides nothing if it does not get it."""
    monkeypatch.setattr(gpu_turns, "SECONDS", 0.05)
    with pytest.raises(Inconclusive, match="did not get exclusive use of the GPU"), gpu_turns.alone():
        pytest.fail("two processes have the GPU")
    other.kill()
    other.wait()
    with gpu_turns.alone():
        pass


def test_a_fork_does_not_keep_the_turn_of_its_parent() -> None:
    """It may live on after the case."""
    reader, writer = os.pipe()
    with gpu_turns.alone():
        child = os.fork()
        if not child:
            os.read(reader, 1)
            os._exit(0)
    with gpu_turns.alone():
        os.write(writer, b"x")
    os.waitpid(child, 0)


def test_outside_of_a_run_nobody_waits(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no lock then."""
    monkeypatch.delenv(gpu_turns.VARIABLE)
    with gpu_turns.alone(), gpu_turns.alone():
        assert not lock.exists()


def test_a_program_without_its_turn_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends well, and is no crash of a library."""
    ended = Ended(0, ({programs.NO_TURN: "no turn"},))
    monkeypatch.setattr(interpreter, "_tried", lambda program, arguments, watch=0: (ended, 0, False))
    with pytest.raises(Inconclusive, match="no turn"):
        interpreter.run("on_gpus")


def test_every_exclusive_case_has_its_turn() -> None:
    """In its child, or in the program that it starts, after the imports of that."""
    folder = Path(programs.__file__).parent
    for invariant in catalogue().values():
        if not invariant.exclusive:
            assert not takes_turn(invariant)
        elif invariant.isolation is Isolation.FRESH:
            source = Path(sys.modules[invariant.check.__module__].__file__ or "").read_text()
            used = [path for path in folder.glob("*.py") if f'interpreter.run("{path.stem}"' in source]
            assert used
            assert all("gpu_alone" in path.read_text() for path in used)
        else:
            assert takes_turn(invariant)
