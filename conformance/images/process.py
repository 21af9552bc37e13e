"""Run the commands of an engine. Each one is printed after ``+`` before it runs."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from conformance import files

from .commands import Command

ASK_SECONDS = 120.0
"""Timeout of a question. An engine that works answers in seconds, also on a busy machine."""
DO_SECONDS = 3600.0
"""Timeout of a command that loads or unpacks files."""


@dataclass(frozen=True)
class Answer:
    """Exit code and output of a short command."""

    code: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether the exit code is 0."""
        return self.code == 0

    @property
    def complaint(self) -> str:
        """Last line of the error output."""
        lines = [line for line in (self.stderr or self.stdout).splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"exit code {self.code}"


class Shell:
    """Runs commands, also from several threads, and prints whole lines."""

    def __init__(self, stream: TextIO, environment: Mapping[str, str], *, dry_run: bool = False) -> None:
        self._stream = stream
        self.environment = dict(environment)
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self.dry_run = dry_run

    def say(self, line: str) -> None:
        """Print one line. Lines of several threads never mix."""
        with self._lock:
            print(line, file=self._stream, flush=True)

    def ask(self, command: Command, limit: float | None = None) -> Answer:
        """Run a short command that changes nothing, also in a dry run.

        Bytes that are not UTF-8 are replaced. After ``limit`` seconds (default: ``ASK_SECONDS``) the command is killed,
        and the answer is an error.
        """
        self.say(f"+ {shlex.join(command)}")
        try:
            with subprocess.Popen(
                command, env=self.environment, text=True, encoding="utf-8", errors="replace",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            ) as process:  # fmt: skip
                return _answer(process, command, ASK_SECONDS if limit is None else limit)
        except OSError as error:
            return Answer(127, "", f"{command[0]}: {error.strerror}")

    def do(self, command: Command) -> Answer:
        """Run a command that changes something, with a timeout of ``DO_SECONDS``. A dry run only prints it."""
        if self.dry_run:
            self.say(f"+ {shlex.join(command)}")
            return Answer(0, "", "")
        return self.ask(command, DO_SECONDS)

    def follow(self, command: Command, log: Path, limit: float) -> int | None:
        """Run a long command and write its output to a file.

        Returns its exit code, or ``None`` if it reached the timeout of ``limit`` seconds.
        """
        self.say(f"+ {shlex.join(command)}")
        late = threading.Event()
        with (
            os.fdopen(files.own(log, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as file,
            self._started(command) as process,
        ):
            timer = threading.Timer(limit, _end, (process, late))
            timer.start()
            try:
                for line in process.stdout or ():
                    file.write(line)
                    file.flush()
            finally:
                timer.cancel()
        return None if late.is_set() else process.returncode

    @contextmanager
    def _started(self, command: Command) -> Iterator[subprocess.Popen[str]]:
        """Yield a new process. :meth:`stop` can end it from its start on."""
        with self._lock:
            process = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, text=True, errors="replace",
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            self._running.add(process)
            if self._stopped:
                process.terminate()
        try:
            with process:
                yield process
        finally:
            self._running.discard(process)

    def stop(self) -> None:
        """End the running long commands, and each one that starts later."""
        with self._lock:
            self._stopped = True
            for process in tuple(self._running):
                process.terminate()


def _answer(process: subprocess.Popen[str], command: Command, limit: float) -> Answer:
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        for stream in (process.stdout, process.stderr):  # a child of the command can keep the other ends open for ever
            if stream is not None:
                stream.close()
        return Answer(124, "", f"{command[0]} did not respond within {limit:g} s")
    except BaseException:
        process.kill()
        raise
    return Answer(process.returncode, out, err)


def _end(process: subprocess.Popen[str], late: threading.Event) -> None:
    late.set()
    process.terminate()
