"""Fork server: it imports the libraries, never uses CUDA, and forks the monitors.

An import takes seconds and a fork milliseconds. So the server imports once all that may be imported before a fork.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from conformance.checks import children, gpu_turns
from conformance.checks.catalogue import catalogue

from .child import Child
from .jobs import Job
from .messages import encoded, listening
from .monitor import Monitor
from .workbench import preload

SOCKET = "CONFORMANCE_SERVER"
"""Environment variable with the path of the server's socket."""
HELLO = "hello"
"""Key of the request for the process id of a monitor, and of its answer."""
START_SECONDS = 900.0
"""Timeout of all imports in the server. The end of a server is detected at once."""


class Server:
    """Handle of the server in its parent process.

    ``output`` is the descriptor that receives the server's own errors. ``folder`` is its working folder. Its socket is at ``path``, and the lock
    for exclusive cases is beside it.
    """

    def __init__(self, libraries: tuple[str, ...], path: str, output: int, folder: Path) -> None:
        self.path = path
        self._process = children.start(
            "conformance.execution.forkserver",
            path,
            *libraries,
            folder=folder,
            output=output,
            before=children.die_with_parent,
            variables={gpu_turns.VARIABLE: f"{path}.turn"},
        )

    @property
    def has_begun(self) -> bool:
        """Whether the server has imported everything and listens."""
        return os.path.exists(self.path)

    @property
    def code(self) -> int | None:
        """Exit code of the server, negative for a signal; ``None`` while it runs."""
        return self._process.poll()

    @property
    def ended(self) -> str | None:
        """How the server ended; ``None`` while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def close(self) -> None:
        """End the server. Its monitors then end too, with all processes that they started."""
        self._process.kill()
        self._process.wait()

    def close_all(self) -> None:
        """Kill the monitors that are still running."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


# -- inside the server


def serve(path: str, libraries: tuple[str, ...]) -> None:
    """Import the libraries, then serve connections until killed."""
    problems = preload(libraries)
    _reopen()
    os.write(2, "".join(f"not preloaded: {problem}\n" for problem in problems).encode(errors="backslashreplace"))
    catalogue()
    gc.freeze()  # these objects live as long as the process, so no child needs to scan them
    # The kernel then reaps ended monitors, so none stays as a zombie. A monitor waits for its own children, so it resets this.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = listening(path)
    server = os.getpid()
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            children.die_with_parent(signal.SIGTERM)
            if os.getppid() != server:  # the server ended before the call above took effect
                os._exit(0)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _watch(connection)
        connection.close()


def _reopen() -> None:
    """Reopen the standard streams that a library closed, so that no later file gets their descriptors."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    while nowhere <= 2:
        nowhere = os.dup(nowhere)
    os.close(nowhere)


def _watch(connection: socket.socket) -> NoReturn:
    """Serve one connection until it closes or the server ends. Then end all processes that were started for it."""
    monitor = Monitor(Child, (connection.fileno(),))

    def end(number: int = 0, frame: FrameType | None = None) -> NoReturn:
        try:
            monitor.close()
        finally:
            os._exit(0)

    signal.signal(signal.SIGTERM, end)
    for line in connection.makefile("rb"):
        connection.sendall(encoded(_answer(monitor, json.loads(line))))
    end()


def _answer(monitor: Monitor, request: dict[str, Any]) -> dict[str, Any]:
    """Answer a request: the process id, the result of a case, or the trace of a case."""
    if HELLO in request:
        return {HELLO: os.getpid()}
    job = Job.from_json(request)
    if job.before:
        return {"traced": monitor.trace(job.case, job.before, job.suspects).to_json(), "process": 0}
    result = monitor.run(job.case, job.isolation, job.company)
    return {"result": result.to_json(), "process": monitor.process, "spent": monitor.spent}


if __name__ == "__main__":
    serve(sys.argv[1], tuple(sys.argv[2:]))
