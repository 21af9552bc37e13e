"""Stop signals outside the cells. The first signal is recorded, or raised during preparation. A second one is reported."""

from __future__ import annotations

from types import FrameType

from conformance import signals


class Stops(signals.Stops):
    """Context that handles the stop signals. ``number`` is the first signal received, and ``again`` is whether a second one followed."""

    def __init__(self) -> None:
        super().__init__()
        self.again = False
        self.raises = False
        """Whether a signal raises KeyboardInterrupt."""

    def noted(self, number: int, frame: FrameType | None) -> None:
        """Record the signal. The runner stops its cells after the first signal and kills them after a second one."""
        self.again = self.number is not None
        self.number = self.number or number
        if self.raises:
            raise KeyboardInterrupt
