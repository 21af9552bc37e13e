"""Short commands of an engine, whatever its program does."""

from __future__ import annotations

import io
import os
import sys

import pytest

from conformance.images import process
from conformance.images.process import Answer, Shell

BYTES = "import sys; sys.stdout.buffer.write(b'a\\xff'); sys.stderr.buffer.write(b'\\xfe'); sys.exit(3)"
WAITS = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(30)'])"


def asked(code: str) -> Answer:
    """Ask a program of these lines."""
    return Shell(io.StringIO(), os.environ).ask((sys.executable, "-c", code))


def test_bytes_that_are_not_utf_8_are_replaced() -> None:
    """The answer and the complaint both have such bytes."""
    assert asked(BYTES) == Answer(3, "a\ufffd", "\ufffd")


def test_a_program_that_never_answers_is_ended_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child of it may hold its output open for longer."""
    monkeypatch.setattr(process, "ASK_SECONDS", 1.0)
    answer = asked(WAITS)
    assert (answer.ok, answer.complaint) == (False, f"{sys.executable} did not respond within 1 s")


def test_a_program_that_is_not_there_is_told() -> None:
    """Its name is in the complaint."""
    assert Shell(io.StringIO(), os.environ).ask(("/nowhere/engine",)).complaint.startswith("/nowhere/engine: ")
