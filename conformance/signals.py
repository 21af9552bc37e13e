"""Signals that stop a command: the first one requests an orderly stop, a second one kills the process.

Used inside and outside the cells.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

ASKED_TO_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stops:
    """Context that handles the stop signals. ``number`` is the first signal received, or ``None``."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stops:
        for number in ASKED_TO_STOP:
            self._before[number] = signal.signal(number, self.noted)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def noted(self, number: int, frame: FrameType | None) -> None:
        """Record the signal. Restore the default handlers, so that the next signal ends the process."""
        self.number = number
        for again in ASKED_TO_STOP:
            signal.signal(again, signal.SIG_DFL)
