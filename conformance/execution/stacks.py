"""Where a process stands that does not come back: what the kernel, and a debugger if there is one, can tell of its threads."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SECONDS = 15.0
"""What a debugger may take."""
MOST = 6000
"""Characters that are kept."""


def native(process: int) -> str:
    """Stacks of all threads of a living process by gdb; without it, or where it may not look, the kernel's few words."""
    return (_debugged(process) or _kernels_words(process))[-MOST:]


def _debugged(process: int) -> str:
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
    return "\n".join(line for line in lines if line.startswith(("Thread ", "#")))


def _kernels_words(process: int) -> str:
    """Name, state and the kernel's function of each thread, as far as this user may know."""
    words = []
    for task in sorted(Path("/proc", str(process), "task").glob("*")):
        state = next(
            (line for line in _read(task / "status").splitlines() if line.startswith("State:")), "State: unknown"
        )
        waits = _read(task / "wchan")
        words.append(
            f"thread {task.name} {_read(task / 'comm')}: {state}, in {waits if waits not in ('', '0') else 'user code'}"
        )
    return "\n".join(words)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
