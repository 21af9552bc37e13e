"""Run a part of a case in a fork of its process, and observe how the fork ends."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

from . import interpreter

HANG = "no end"
"""How a child ended that provably never would have."""
UNDECIDED = "no end in time"
"""How one ended of which nobody knows."""
_SHARE = 1 / 3
"""Share of the time limit of programs: so long a child has to sleep, or to compute, before it counts as hanging."""
_WHOLE = 0.9
"""Of the same limit, after which nothing more is waited for."""
_LOOK_SECONDS = 0.02


def in_child(action: Callable[[], str]) -> str:
    """Return the result of ``action`` in a fork of this process, the signal that ended the child, :data:`HANG` or :data:`UNDECIDED`."""
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
    """Why the child has to be ended, nothing if it has told something or is over.

    It hangs if it sleeps on and on and is given nothing to do, or if it has computed on and on. One that only gets no processor does neither.
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
    """The letter of a process's state, and the seconds of processor time that it has had."""
    try:
        fields = Path(f"/proc/{child}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return "?", 0.0
    return fields[0], (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
