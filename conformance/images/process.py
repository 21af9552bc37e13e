"""Running an engine's commands: each is shown with ``+`` before it runs."""

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


@dataclass(frozen=True)
class Answer:
    """What a short command said."""

    code: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.code == 0

    @property
    def complaint(self) -> str:
        """The last line of what it complained of."""
        lines = [line for line in (self.stderr or self.stdout).splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"exit code {self.code}"


class Shell:
    """Runs commands one after the other or side by side, and prints whole lines."""

    def __init__(self, stream: TextIO, environment: Mapping[str, str], *, dry_run: bool = False) -> None:
        self._stream = stream
        self.environment = dict(environment)
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self.dry_run = dry_run

    def say(self, line: str) -> None:
        """Print one line, never within another."""
        with self._lock:
            print(line, file=self._stream, flush=True)

    def ask(self, command: Command) -> Answer:
        """Run a short command that changes nothing; a dry run does so too."""
        self.say(f"+ {shlex.join(command)}")
        try:
            done = subprocess.run(
                command, env=self.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
            )
        except OSError as error:
            return Answer(127, "", f"{command[0]}: {error.strerror}")
        return Answer(done.returncode, done.stdout, done.stderr)

    def do(self, command: Command) -> Answer:
        """Run a short command that changes something; a dry run shows it only."""
        if self.dry_run:
            self.say(f"+ {shlex.join(command)}")
            return Answer(0, "", "")
        return self.ask(command)

    def follow(self, command: Command, log: Path, limit: float) -> int | None:
        """Run a long command and keep its output in a file.

        Returns its exit code, or None where ``limit`` seconds were not enough.
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
        """A process that ``stop`` reaches, from its first moment on."""
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
        """End the long commands that run, and those that would still be started."""
        with self._lock:
            self._stopped = True
            for process in tuple(self._running):
                process.terminate()


def _end(process: subprocess.Popen[str], late: threading.Event) -> None:
    late.set()
    process.terminate()
