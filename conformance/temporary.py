"""The folder for temporary files: what goes wrong in it is told as that, and never as trouble with the results or with a library."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from conformance.exits import why


class NoTemporaryFiles(Exception):
    """Nothing can be written to the folder for temporary files. The text is one sentence for the user."""


@contextmanager
def room() -> Iterator[None]:
    """Inside, temporary files are written, and nothing else: raises :class:`NoTemporaryFiles` where that is not possible."""
    try:
        yield
    except OSError as error:
        raise NoTemporaryFiles(
            f"temporary files cannot be written to {place()}: {why(error)}; make room there, or name another folder by TMPDIR"
        ) from error


def place() -> str:
    """The folder for temporary files."""
    try:
        return tempfile.gettempdir()
    except OSError:  # there is none that can be written to
        return "any folder for temporary files"
