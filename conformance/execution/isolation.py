"""Cases in child processes of their own: a server that has imported the libraries forks one child for each.

Importing costs seconds and forking milliseconds, so the server imports once what may be imported before a
fork. It never touches CUDA. For every request it forks a monitor, which forks the child, waits for it and
tells what became of it; the monitor survives whatever the child does.
"""

from __future__ import annotations

import faulthandler
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from conformance.protocols.clauses import Level
from conformance.suite.catalogue import Case, Isolation, catalogue
from conformance.suite.outcomes import Outcome

from . import children, deadline
from .results import Result
from .workbench import Workbench, preload

SOCKET = "CONFORMANCE_ISOLATION"
"""Environment variable with the path of the server's socket."""
START_SECONDS = 120.0
"""How long the server may take to import everything."""
STDERR_BYTES = 4000


class Server:
    """The server as its starter sees it."""

    def __init__(self, libraries: tuple[str, ...], log: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="conformance-")
        self.path = str(Path(self._folder.name, "socket"))
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [children.python(), "-m", "conformance.execution.isolation", self.path, *libraries],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                start_new_session=True,
                env=children.environment(),
                cwd=children.folder(),
            )

    def close(self) -> None:
        """End the server and all its children."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        self._folder.cleanup()


def run(case: Case) -> Result:
    """Have the server run a case; whatever becomes of the child is a result."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        _connect(connection, os.environ[SOCKET])
        connection.sendall(json.dumps(case.to_json()).encode() + b"\n")
        answer = connection.makefile("rb").readline()
    if not answer:
        return Result(case, Outcome.LOST, Level.MUST, reason="the isolation server ended")
    return Result.from_json(json.loads(answer))


def _connect(connection: socket.socket, path: str) -> None:
    """The server may still be importing."""
    give_up = time.monotonic() + START_SECONDS
    while True:
        try:
            connection.connect(path)
            return
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > give_up:
                raise
            time.sleep(0.02)


# -- inside the server


def serve(path: str, libraries: tuple[str, ...]) -> None:
    """Import, then answer until killed."""
    for problem in preload(libraries):
        sys.stderr.write(f"not preloaded: {problem}\n")
    catalogue()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path + ".new")
    listener.listen(128)
    os.rename(path + ".new", path)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _monitor(connection)
            return
        connection.close()


def _monitor(connection: socket.socket) -> None:
    """Run one request; returns only in a child that is to end by the interpreter's own exit."""
    case = Case.from_json(json.loads(connection.makefile("rb").readline()))
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 - the child writes to it after we have moved on
    reader, writer = os.pipe()
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.close(reader)
        connection.close()
        os.dup2(stderr.fileno(), 2)
        os.dup2(stderr.fileno(), 1)
        _child(case, writer)
        return
    os.close(writer)
    answer, in_time = _collect(reader, child)
    _, status = os.waitpid(child, 0)
    result = _conclude(case, catalogue()[case.invariant].clauses, answer, in_time, status, _tail(stderr))
    connection.sendall(json.dumps(result.lasting(time.perf_counter() - started).to_json()).encode() + b"\n")
    os._exit(0)


def _child(case: Case, writer: int) -> None:
    faulthandler.enable(file=2)
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    invariant = catalogue()[case.invariant]
    result = Workbench().run(case, invariant)
    _send(writer, json.dumps(result.to_json()).encode() + b"\n")
    if invariant.isolation is not Isolation.EXIT:
        os._exit(0)


def _send(writer: int, data: bytes) -> None:
    while data:
        data = data[os.write(writer, data) :]


def _collect(reader: int, child: int) -> tuple[bytes, bool]:
    """What the child wrote until its end of the pipe closed, and whether that was before the deadline."""
    end = time.monotonic() + deadline.seconds()
    answer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while selector.select(max(0.0, end - time.monotonic())):
            piece = os.read(reader, 65536)
            if not piece:
                return answer, True
            answer += piece
    os.kill(child, signal.SIGUSR1)
    time.sleep(0.5)
    os.kill(child, signal.SIGKILL)
    return answer, False


def _conclude(case: Case, clauses: tuple[str, ...], answer: bytes, in_time: bool, status: int, stderr: str) -> Result:
    attachments = {"stderr": stderr} if stderr else {}
    if not in_time:
        reason = f"no end after {deadline.seconds():g} s" + (", at the interpreter's exit" if answer else "")
        return Result(case, Outcome.HANG, Level.MUST, clauses, reason=reason, attachments=attachments)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        when = "at the interpreter's exit, after the check had ended" if answer else "during the check"
        return Result(
            case,
            Outcome.CRASH,
            Level.MUST,
            clauses,
            reason=f"{name} {when}",
            expected="a living process",
            seen=name,
            attachments=attachments,
        )
    code = os.WEXITSTATUS(status)
    if code or not answer:
        return Result(
            case,
            Outcome.CRASH,
            Level.MUST,
            clauses,
            reason=f"the process ended by itself with exit code {code}",
            expected="a living process",
            seen=f"exit code {code}",
            attachments=attachments,
        )
    return Result.from_json(json.loads(answer))


def _tail(file: Any) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - STDERR_BYTES))
    text: str = file.read().decode(errors="replace")
    return text


if __name__ == "__main__":
    serve(sys.argv[1], tuple(sys.argv[2:]))
