"""Being asked to stop: the first signal is noted, so that what is under way can be put down in order; a second one kills.

Inside the cells and outside of them alike.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

ASKED_TO_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stops:
    """While it is entered, ``number`` is the signal that asked to stop, if any did."""

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
        """A signal has come; the next one does what it would have done without us."""
        self.number = number
        for again in ASKED_TO_STOP:
            signal.signal(again, signal.SIG_DFL)
