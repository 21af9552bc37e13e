"""Standard output and error that survive a reader that closes early, such as ``| head``.

The command then runs to its end and returns its own exit code, so that a failed gate never looks like a passed one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO, TextIOWrapper
from typing import Any, TextIO, cast


class Patient:
    """A stream that discards text after a write error. ``full`` is this error, unless the reader has closed the pipe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.full: OSError | None = None

    def write(self, text: str) -> int:
        """Write the text, or discard it after an error. Return its length in both cases."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Flush the stream, or discard the buffer after an error."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        if not isinstance(error, BrokenPipeError):
            self.full = self.full or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        # The buffered text goes there too. Otherwise Python would fail to flush it when the interpreter exits.
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def patient() -> Iterator[Patient]:
    """Replace standard output and error by :class:`Patient` streams that can encode every text. Yield standard output."""
    streams = [stream or StringIO() for stream in (sys.stdout, sys.stderr)]  # None if the caller has closed the stream
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
