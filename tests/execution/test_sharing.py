"""Runs beside each other on one machine."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.execution import sharing

HOLDS = """
import sys
from conformance.execution import sharing
with sharing.gpus(alone={alone}, waits=lambda: True) as granted:
    assert granted
    print("holds", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs of the suite itself on this machine are none of these tests' business."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(sharing.tempfile, "tempdir", None)
    yield
    monkeypatch.setattr(sharing.tempfile, "tempdir", None)


def other_run(*, alone: bool) -> subprocess.Popen[str]:
    """Another process that has the GPUs until its input ends."""
    program = [sys.executable, "-c", HOLDS.format(alone=alone)]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    return process


def test_runs_share_the_gpus() -> None:
    """As long as none has to be alone."""
    other = other_run(alone=False)
    with sharing.gpus(alone=False, waits=lambda: pytest.fail("there is nothing to wait for")) as granted:
        assert granted
    other.communicate()


@pytest.mark.parametrize(("theirs", "ours"), [(True, False), (False, True), (True, True)])
def test_who_has_to_be_alone_is_alone(*, theirs: bool, ours: bool) -> None:
    """Whoever comes second waits, says so, and goes on when the other ends, here by a kill."""
    other = other_run(alone=theirs)
    told, done = threading.Event(), threading.Event()

    def waits() -> bool:
        told.set()
        return True

    def run() -> None:
        with sharing.gpus(alone=ours, waits=waits) as granted:
            assert granted
            done.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert told.wait(30)
    assert not done.is_set()
    other.kill()
    other.communicate()
    assert done.wait(30)
    thread.join()


def test_who_does_not_want_to_wait_any_longer_goes_without() -> None:
    """A run that is stopped while it waits ends."""
    other = other_run(alone=True)
    with sharing.gpus(alone=False, waits=lambda: False) as granted:
        assert not granted
    other.communicate()


def test_the_file_of_another_user_is_not_created_again() -> None:
    """Where everybody may write, the kernel refuses to."""
    path = Path(sharing.tempfile.gettempdir(), sharing.NAME)
    path.touch()
    path.chmod(0o444)
    with sharing.gpus(alone=True, waits=lambda: False) as granted:
        assert granted
