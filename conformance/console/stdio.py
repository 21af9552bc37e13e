"""Standard output and error, whose reader may go away before a command has said all, as ``| head`` does.

A command is then to come to its own end, with its own exit code: a gate that is red stays red whoever listens.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO, TextIOWrapper
from typing import Any, TextIO, cast


class Patient:
    """A stream that drops what cannot be written any more. ``full`` is why, unless nobody reads it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.full: OSError | None = None

    def write(self, text: str) -> int:
        """As many characters as there are, written or not."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """What was written so far."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        if not isinstance(error, BrokenPipeError):
            self.full = self.full or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(
            nowhere, self._stream.fileno()
        )  # what is buffered goes there, too, or Python's own end would fail on it
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def patient() -> Iterator[Patient]:
    """Inside, both are such streams, and what a library says is no text that they could not show. Gives standard output."""
    streams = [stream or StringIO() for stream in (sys.stdout, sys.stderr)]  # None where the caller has closed it
    for stream in streams:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    out, err = map(Patient, streams)
    with redirect_stdout(cast(TextIO, out)), redirect_stderr(cast(TextIO, err)):
        try:
            yield out
        finally:
            out.flush()
            err.flush()
