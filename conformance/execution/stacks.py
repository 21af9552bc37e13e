"""Native stacks of a process that hangs: from gdb if it is installed, otherwise the kernel's facts about each thread.

A crashing process prints its own native stack (``crash_trace.py``).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .crash_trace import base_names

SECONDS = 15.0
"""Timeout of gdb, in seconds."""
MOST = 6000
"""Maximum number of characters: the end of the text, where gdb prints the first thread."""


def native(process: int) -> str:
    """Return the native stacks of all threads of a running process. Without gdb, or without its permission, return the kernel's facts."""
    return (_by_debugger(process) or _by_kernel(process))[-MOST:]


def _by_debugger(process: int) -> str:
    """Return gdb's lines of threads and frames, innermost first, with file names instead of paths."""
    debugger = shutil.which("gdb")
    if debugger is None:
        return ""
    command = [debugger, "-p", str(process), "-batch", "-nx", "-iex", "set debuginfod enabled off", "-iex", "set auto-load no",
               "-ex", "thread apply all bt 24"]  # fmt: skip
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = done.stdout.splitlines()
    return base_names("\n".join(line for line in lines if line.startswith(("Thread ", "#"))))


def _by_kernel(process: int) -> str:
    """Return a line for each thread: its name, its state, and the kernel function in which it waits, if this user may read it."""
    return "\n".join(map(_thread, sorted(Path("/proc", str(process), "task").glob("*"))))


def _thread(task: Path) -> str:
    states = (line for line in _read(task / "status").splitlines() if line.startswith("State:"))
    state = next(states, "State: unknown").partition(":")[2].strip()
    waits = _read(task / "wchan")
    place = f"the kernel's {waits}" if waits not in ("", "0") else "user code"
    return f"Thread {task.name} {_read(task / 'comm')}: {state}, in {place}"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
