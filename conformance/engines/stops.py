"""Being asked to stop, outside the cells: the first signal is noted or, while something is being prepared, raised; a second one kills."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stops:
    """While it is entered, ``number`` is the signal that asked to stop, and ``again`` whether one more did."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.again = False
        self.raises = False
        """Whether the first signal interrupts what is under way."""
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stops:
        for number in ASKED:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.again = self.number is not None
        self.number = self.number or number
        if self.raises:
            raise KeyboardInterrupt
