"""Being asked to stop, outside the cells: the first signal is noted or, while something is being prepared, raised; a second one is told."""

from __future__ import annotations

from types import FrameType

from conformance import signals


class Stops(signals.Stops):
    """While it is entered, ``number`` is the signal that asked to stop, and ``again`` whether one more did."""

    def __init__(self) -> None:
        super().__init__()
        self.again = False
        self.raises = False
        """Whether the first signal interrupts what is under way."""

    def noted(self, number: int, frame: FrameType | None) -> None:
        """Cells are stopped first, and killed when it comes again."""
        self.again = self.number is not None
        self.number = self.number or number
        if self.raises:
            raise KeyboardInterrupt
