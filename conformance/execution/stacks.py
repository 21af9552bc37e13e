"""The native stacks of a process that does not come back: by a debugger if there is one, else the few words that the kernel has of each thread.

A process that dies prints its own native stack (``crash_trace.py``).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .crash_trace import base_names

SECONDS = 15.0
"""What a debugger may take."""
MOST = 6000
"""Characters that are kept: the end, where gdb tells the first thread."""


def native(process: int) -> str:
    """The native stacks of all threads of a living process by gdb; without it, or where it may not look, what the kernel tells."""
    return (_by_debugger(process) or _by_kernel(process))[-MOST:]


def _by_debugger(process: int) -> str:
    """A line for each thread and for each frame, innermost first, with files named without their folders."""
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
    """A line for each thread: its name, its state, and the kernel's function that it waits in, as far as this user may know."""
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
