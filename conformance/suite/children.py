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
CANDIDATES = "CONFORMANCE_CANDIDATES"
"""Environment variable: folders that stand in front of everything else in the path (``execution/candidates.py``)."""
STARTUP = "startup"
"""The folder beside this file whose ``sitecustomize`` hides what candidates replace."""
_SET_DEATH_SIGNAL = 1


def python() -> str:
    """The interpreter to start children with."""
    return sys.executable


def environment(**more: str) -> dict[str, str]:
    """Our own environment with this package's folder in front of the path, and candidates in front of that."""
    ours = str(Path(conformance.__file__).parent.parent)
    absolute = [os.path.abspath(p) for p in (*_front(), ours, *_folders("PYTHONPATH"))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(absolute)), **more}


def candidates() -> list[str]:
    """The folders of the candidates that stand in this cell."""
    return _folders(CANDIDATES)


def _front() -> list[str]:
    found = candidates()
    return [str(Path(__file__).with_name(STARTUP)), *found] if found else []


def _folders(variable: str) -> list[str]:
    return [path for path in os.environ.get(variable, "").split(os.pathsep) if path]


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
    """The last ``most`` bytes of what a child wrote, or has written so far: the place at which it goes on to write stays as it is."""
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), most, max(0, size - most)).decode(errors="replace")
