"""Stream capture of the simulated device: work is recorded, and what CUDA forbids meanwhile breaks it (CUD-07 to CUD-10)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NoReturn

from conformance.cuda.capture import Capturing, Mode

Action = Callable[[], object]


class CaptureError(RuntimeError):
    """What the simulated device answers to a call that a capture forbids; the text begins with CUDA's name for it."""


class Recording:
    """One capture, from the stream that it began on to all that were drawn in by waiting for a recorded one.

    The order in which work was recorded is one that its dependencies allow, so a replay does it in that order.
    """

    def __init__(self, origin: int, mode: Mode) -> None:
        self.origin = origin
        self.mode = mode
        self.thread = threading.get_ident()
        self.broken = False
        self.actions: list[Action] = []
        self._reached: dict[int, set[int]] = {origin: set()}
        """For each stream the numbers of those actions that its next one comes after."""

    @property
    def streams(self) -> tuple[int, ...]:
        """Those that are being captured."""
        return tuple(self._reached)

    @property
    def state(self) -> Capturing:
        """How each of them stands."""
        return Capturing.INVALIDATED if self.broken else Capturing.ACTIVE

    def add(self, action: Action, stream: int) -> None:
        """Record work of a stream."""
        self.check()
        self._reached[stream].add(len(self.actions))
        self.actions.append(action)

    def follow(self, waiter: int, other: int) -> None:
        """Later work of ``waiter``, which is drawn in if it was not, comes after what ``other`` has recorded."""
        self.check()
        self._reached.setdefault(waiter, set()).update(self._reached[other])

    def check(self) -> None:
        """Nothing can be recorded any more once the capture is broken."""
        if self.broken:
            raise CaptureError("cudaErrorStreamCaptureInvalidated: the capture was broken by an earlier call")

    def breaks(self, why: str) -> NoReturn:
        """A forbidden call: it fails, and so does the capture (CUD-10)."""
        self.broken = True
        raise CaptureError(why)

    def end(self) -> list[Action]:
        """All that was recorded; raises if the capture is broken, or work of other streams is left unjoined."""
        self.check()
        if self._reached[self.origin] != set(range(len(self.actions))):
            raise CaptureError("cudaErrorStreamCaptureUnjoined: the first stream does not come after all the others")
        return self.actions

    def forbids(self, thread: int) -> bool:
        """Whether a thread may not make calls that are unsafe in a capture, such as an allocation."""
        return self.mode is Mode.GLOBAL or (self.mode is Mode.THREAD_LOCAL and thread == self.thread)
