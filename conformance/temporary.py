"""The folder for temporary files. Its errors are never reported as errors of the results or of a library."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from conformance.exits import why


class NoTemporaryFiles(Exception):
    """The folder for temporary files cannot be written to. The text is one sentence for the user."""


@contextmanager
def room() -> Iterator[None]:
    """Raise :class:`NoTemporaryFiles` if a write fails. The context must write only temporary files."""
    try:
        yield
    except OSError as error:
        raise NoTemporaryFiles(
            f"temporary files cannot be written to {place()}: {why(error)}; make room there, or set TMPDIR to another folder"
        ) from error


def place() -> str:
    """Return the folder for temporary files, or a description if there is none."""
    try:
        return tempfile.gettempdir()
    except OSError:  # no folder is writable
        return "any folder for temporary files"
