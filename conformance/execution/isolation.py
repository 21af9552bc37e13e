"""Cases in child processes: a server that has imported the libraries forks them.

Importing costs seconds and forking milliseconds, so the server imports once what may be imported before a
fork. It never touches CUDA. For every worker it forks a monitor, which forks children, waits for them and
tells what became of them; the monitor survives whatever a child does.

Starting CUDA is slow, and one process at a time does it, so cases that are merely risky share a child until
something goes wrong in it. Whatever is not a pass or a refusal then has to show again as the first in a new one.
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
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from conformance.protocols.clauses import Level
from conformance.suite import children, deadline
from conformance.suite.catalogue import Case, Isolation, catalogue
from conformance.suite.outcomes import Outcome

from .results import STDERR_CHARACTERS, Result, death
from .workbench import Workbench, preload

SOCKET = "CONFORMANCE_ISOLATION"
"""Environment variable with the path of the server's socket."""
START_SECONDS = 120.0
"""How long the server may take to import everything."""


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
                preexec_fn=children.die_with_parent,
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


class Client:
    """A worker's line to the server. Risky cases of one worker share a child for as long as all goes well."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        _connect(self._socket, os.environ[SOCKET])
        self._answers = self._socket.makefile("rb")

    def run(self, case: Case, isolation: Isolation) -> Result:
        """Have the server run a case; whatever becomes of the child is a result."""
        self._socket.sendall(_line({"case": case.to_json(), "isolation": isolation.value}))
        answer = self._answers.readline()
        if not answer:
            return Result(case, Outcome.LOST, Level.MUST, reason="the isolation server ended")
        return Result.from_json(json.loads(answer))


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(data).encode() + b"\n"


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
        connection.close()


def _monitor(connection: socket.socket) -> NoReturn:
    """Serve one worker until it hangs up."""
    shared: Child | None = None
    for line in connection.makefile("rb"):
        request = json.loads(line)
        case, isolation = Case.from_json(request["case"]), Isolation(request["isolation"])
        first: Result | None = None
        if isolation is Isolation.RISKY:
            if shared is None:
                shared = Child(connection)
            result = shared.run(case)
            if result.outcome not in _TRUSTED and not shared.is_new:
                first = result
                shared.end()
                shared = Child(connection)
                result = shared.run(case)
            if shared.died:
                shared = None
        else:
            result = Child(connection).run(case, last=True)
        connection.sendall(_line(_after(first, result).to_json()))
    os._exit(0)


_TRUSTED = frozenset({Outcome.PASS, Outcome.REFUSED})
"""What a risky case may say in company; everything else it has to say again as the first of a new child."""


def _after(first: Result | None, alone: Result) -> Result:
    """The result alone is the one that counts; what had been seen in company is kept beside it."""
    if first is None or (first.outcome, first.reason) == (alone.outcome, alone.reason):
        return alone
    told = f"{first.outcome.value}: {first.reason}"
    return replace(alone, attachments={**alone.attachments, "in company": told})


class Child:
    """A forked child that runs the cases it is sent, one after the other."""

    def __init__(self, connection: socket.socket) -> None:
        self._asked = 0
        self.died = False
        self._hung_up = False
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - the child writes to it after we have moved on
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(requests)
            os.close(answers)
            return
        os.close(self._requests)
        os.close(self._answers)
        connection.close()
        os.dup2(self._stderr.fileno(), 2)
        os.dup2(self._stderr.fileno(), 1)
        _serve_cases(requests, answers)

    def run(self, case: Case, *, last: bool = False) -> Result:
        """The case's result, or what became of the child. ``last``: wait for the child's end too, it belongs to the case."""
        started = time.perf_counter()
        self._asked += 1
        os.ftruncate(self._stderr.fileno(), 0)
        try:
            os.write(self._requests, _line(case.to_json()))
        except BrokenPipeError:
            last = True
        if last:
            self._hang_up()
        answer, in_time = self._collect(until_the_end=last)
        if not last and answer.endswith(b"\n"):
            return Result.from_json(json.loads(answer)).lasting(time.perf_counter() - started)
        stderr = children.tail(self._stderr, STDERR_CHARACTERS)
        result = _conclude(case, answer, in_time, self._reap(), stderr)
        return result.lasting(time.perf_counter() - started)

    @property
    def is_new(self) -> bool:
        """Whether it has run one case only."""
        return self._asked == 1

    def end(self) -> None:
        """Kill the child if it still lives."""
        if not self.died:
            os.kill(self._pid, signal.SIGKILL)
            self._reap()

    def _hang_up(self) -> None:
        """No more cases: the child ends when it has run what it has."""
        if not self._hung_up:
            os.close(self._requests)
            self._hung_up = True

    def _reap(self) -> int:
        """Wait for the child's end and let go of all that belonged to it; its wait status."""
        _, status = os.waitpid(self._pid, 0)
        self.died = True
        self._hang_up()
        os.close(self._answers)
        self._stderr.close()
        return status

    def _collect(self, *, until_the_end: bool) -> tuple[bytes, bool]:
        """What the child wrote, up to a whole line or to its end, and whether that was before the deadline."""
        end = time.monotonic() + deadline.seconds()
        answer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            while selector.select(max(0.0, end - time.monotonic())):
                piece = os.read(self._answers, 65536)
                answer += piece
                if not piece or (answer.endswith(b"\n") and not until_the_end):
                    return answer, True
        os.kill(self._pid, signal.SIGUSR1)
        time.sleep(0.5)
        os.kill(self._pid, signal.SIGKILL)
        return answer, False


def _serve_cases(requests: int, answers: int) -> NoReturn:
    """Inside the child: run what is sent, then end; by the interpreter's own exit, if that belongs to the case."""
    faulthandler.enable(file=2)
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    bench = Workbench()
    isolation = Isolation.RISKY
    with os.fdopen(requests, "rb") as lines:
        for line in lines:
            case = Case.from_json(json.loads(line))
            invariant = catalogue()[case.invariant]
            isolation = invariant.isolation
            if invariant.exclusive and isolation is Isolation.RISKY:  # heard when the first case of a child starts CUDA
                os.environ.setdefault(children.QUEUES, children.MOST_QUEUES)
            _send(answers, _line(bench.run(case, invariant).to_json()))
    if isolation is not Isolation.EXIT:
        os._exit(0)
    del bench  # the exit below must find no more alive than a script's would
    sys.exit(0)


def _send(writer: int, data: bytes) -> None:
    while data:
        data = data[os.write(writer, data) :]


def _conclude(case: Case, answer: bytes, in_time: bool, status: int, stderr: str) -> Result:
    """What the end of a child says; its answer counts only if it then ended well."""
    clauses = catalogue()[case.invariant].clauses
    if not in_time:
        reason = f"no end after {deadline.seconds():g} s" + (", at the interpreter's exit" if answer else "")
        return death(case, clauses, Outcome.HANG, reason, stderr)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        when = "at the interpreter's exit, after the check had ended" if answer else "during the check"
        return death(case, clauses, Outcome.CRASH, f"{name} {when}", stderr, seen=name)
    code = os.WEXITSTATUS(status)
    if code or not answer:
        reason = f"the process ended by itself with exit code {code}"
        return death(case, clauses, Outcome.CRASH, reason, stderr, seen=f"exit code {code}")
    return Result.from_json(json.loads(answer))


if __name__ == "__main__":
    serve(sys.argv[1], tuple(sys.argv[2:]))
