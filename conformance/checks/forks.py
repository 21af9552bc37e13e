"""Run a part of a case in a fork of its process, and observe how the fork ends."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

from . import interpreter

HANG = "hang"
"""Result for a child that provably hangs."""
UNDECIDED = "no end in time"
"""Result for a child that did not end in time, but may not hang."""
_SHARE = 1 / 3
"""Share of the time limit of programs. A child that sleeps or computes for this long counts as hanging."""
_WHOLE = 0.9
"""Share of the same limit after which the parent stops waiting."""
_LOOK_SECONDS = 0.02


def in_child(action: Callable[[], str]) -> str:
    """Run ``action`` in a forked child process.

    Return its result, the name of the signal that ended the child, its exit code, :data:`HANG` or :data:`UNDECIDED`.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.write(writer, action().encode(errors="backslashreplace"))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        ended = _watched(child, pipe.fileno())
        if ended:
            os.kill(child, signal.SIGKILL)
        told = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if ended:
        return ended
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return told or f"exit code {os.WEXITSTATUS(status)}"


def _watched(child: int, reader: int) -> str:
    """Return the reason for killing the child, or an empty string if it has sent a result or has ended.

    The child hangs if it sleeps or computes for too long. A child that only waits for a processor does neither.
    """
    patience, end = _SHARE * interpreter.limit(), time.monotonic() + _WHOLE * interpreter.limit()
    since, last = time.monotonic(), -1.0
    while not select.select([reader], [], [], _LOOK_SECONDS)[0]:
        now, (state, spent) = time.monotonic(), _state(child)
        if state != "S" or spent != last:
            since, last = now, spent
        if now - since > patience or spent > patience:
            return HANG
        if now > end:
            return UNDECIDED
    return ""


def _state(child: int) -> tuple[str, float]:
    """Return the state letter of a process, and its processor time in seconds."""
    try:
        fields = Path(f"/proc/{child}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return "?", 0.0
    return fields[0], (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
