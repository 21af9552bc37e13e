"""Child processes that run this interpreter and this copy of the package, and import nothing from the working folder."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import IO, Any

from conformance import launcher

from . import environment_variables

QUEUES = "CUDA_DEVICE_MAX_CONNECTIONS"
"""Environment variable with the number of hardware queues for the streams of a process. CUDA reads it at its start. The default is 8.

Streams that share a queue wait for each other. Each queue adds 20 to 40 ms to the start of CUDA on an H200, and the driver starts one process
at a time.
"""
FEWEST_QUEUES = "2"
"""Number of queues for processes that do not check stream order."""
IMPORTING = "importing"
"""Key of a program's record that starts an import. The time up to the next record does not count for the case."""
NO_TURN = "no turn"
"""Key of the record of a program that did not get exclusive use of the GPU. Its case is inconclusive."""
EXITING = "the exit of the interpreter"
"""The last step of a program."""
LAUNCHER = launcher.__file__
MOST_FILE_BYTES = 4 << 30
"""Maximum size of a file that a child writes, in bytes. Shared memory counts as a file."""
_SET_DEATH_SIGNAL = 1
_STANDARD_OUTPUT = 1


def python() -> str:
    """Return the path of the interpreter for child processes."""
    return sys.executable


def command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module of this copy of the package."""
    return [python(), LAUNCHER, module, *arguments]


def environment(**more: str) -> dict[str, str]:
    """Return the environment variables of a child."""
    return environment_variables.variables(os.environ, **more)


def candidates() -> list[str]:
    """Return the folders of the candidates in this cell."""
    return environment_variables.candidates(os.environ)


def start(
    module: str,
    *arguments: str,
    folder: str | os.PathLike[str] | None = None,
    stdin: int = subprocess.DEVNULL,
    output: int | IO[bytes] = subprocess.DEVNULL,
    answers: int | None = None,
    before: Callable[[], object] | None = None,
    variables: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a module of this copy of the package in a new session.

    ``output`` receives both standard streams. ``answers`` is a descriptor for :func:`tell`, so that other output of the
    process does not mix with the records. ``folder`` is the working folder, by default that of this process. ``before``
    runs in the child before its program begins.

    The process and its descendants write no core files and no file above :data:`MOST_FILE_BYTES`.
    """
    more = dict(variables or {})
    if answers is not None:
        more[environment_variables.ANSWERS] = str(answers)
    return subprocess.Popen(
        command(module, *arguments),
        stdin=stdin,
        stdout=output,
        stderr=output,
        pass_fds=() if answers is None else (answers,),
        start_new_session=True,
        preexec_fn=partial(_prepare, before),
        env=environment(**more),
        cwd=folder,
    )


def _prepare(before: Callable[[], object] | None) -> None:
    """Limit the files of the new process. Some libraries crash in hundreds of cases, and a core file contains all memory of a process."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, MOST_FILE_BYTES)
    if before is not None:
        before()


def _lower(limit: int, most: int) -> None:
    soft, hard = resource.getrlimit(limit)
    if soft == resource.RLIM_INFINITY or soft > most:
        resource.setrlimit(limit, (most, hard))


def tell(record: dict[str, Any]) -> None:
    """Send a record from a child to its parent, unbuffered, so that the record survives a crash.

    Without a descriptor for records it goes to standard output.
    """
    data = f"{json.dumps(record)}\n".encode()
    while data:  # os.write may write only a part
        data = data[os.write(int(os.environ.get(environment_variables.ANSWERS, _STANDARD_OUTPUT)), data) :]


def die_with_parent(by: int = signal.SIGKILL) -> None:
    """Ask the kernel to send this signal when the parent process ends for any reason. This works on Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, by)


def tail(file: IO[bytes], most: int) -> str:
    """Return the last ``most`` bytes of a child's output so far, without moving its write position."""
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), most, max(0, size - most)).decode(errors="replace")


def records(told: str) -> list[dict[str, Any]]:
    """Return the records of a child, oldest first. An incomplete line is skipped."""
    return [record for line in told.splitlines() if isinstance(record := _read(line), dict)]


def _read(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
