"""How child processes are started (this interpreter, this copy of the package, nothing of the working folder) and read."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import IO

import conformance

QUEUES = "CUDA_DEVICE_MAX_CONNECTIONS"
"""Environment variable: how many hardware queues a process has for its streams. Streams that share one wait for each other.

Every queue costs time and memory when CUDA starts, so only processes that look at order ask for all of them.
"""
MOST_QUEUES = "32"
_SET_DEATH_SIGNAL = 1


def python() -> str:
    """The interpreter to start children with."""
    return sys.executable


def environment(**more: str) -> dict[str, str]:
    """Our own environment with this package's folder in front of the path."""
    ours = str(Path(conformance.__file__).parent.parent)
    inherited = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    absolute = [os.path.abspath(p) for p in (ours, *inherited)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(absolute)), **more}


def folder() -> str:
    """Where children run: a folder in which no file of the user's can pass for a module."""
    neutral = Path(tempfile.gettempdir(), "conformance-children")
    neutral.mkdir(exist_ok=True)
    return str(neutral)


def die_with_parent(by: int = signal.SIGKILL) -> None:
    """Have the kernel send this signal when the process that started this one ends, however that ends; on Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, by)


def tail(file: IO[bytes], most: int) -> str:
    """The last ``most`` bytes of what a child wrote."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - most))
    return file.read().decode(errors="replace")
