"""Progress lines on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from .screen import columns


class Progress:
    """A progress line. On a terminal it is rewritten in place. Otherwise a line is printed for every tenth of the work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rewrites = stream.isatty()
        self._tenth = -1

    def show(self, done: int, planned: int, text: str, newest: str = "") -> None:
        """Show the progress: ``done`` of ``planned`` as a bar, a text, and the newest item."""
        if self._rewrites:
            self._rewrite(done, planned, f"{text}  {newest}")
        elif done * 10 // max(planned, 1) > self._tenth:
            self._tenth = done * 10 // max(planned, 1)
            print(text, file=self._stream, flush=True)

    def _rewrite(self, done: int, planned: int, text: str) -> None:
        width = columns(80)
        filled = 20 * done // max(planned, 1)
        line = f"[{'█' * filled}{'·' * (20 - filled)}] {text}"[: width - 1]
        end = "\n" if done >= planned else ""
        if end and self._tenth == planned:
            return
        self._tenth = done
        self._stream.write(f"\r\033[K{line}{end}")
        self._stream.flush()


@contextmanager
def waiting(stream: TextIO, text: str) -> Iterator[None]:
    """Show a text on a terminal while the context runs, and erase it afterwards."""
    if stream.isatty():
        stream.write(text)
        stream.flush()
    yield
    if stream.isatty():
        stream.write("\r\033[K")
        stream.flush()
