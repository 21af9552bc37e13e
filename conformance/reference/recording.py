"""Stream capture of the simulated device: work is recorded, and calls that CUDA forbids invalidate the capture (CUD-07 to CUD-10)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NoReturn

from conformance.cuda.capture import Capturing, Mode

Action = Callable[[], object]


class CaptureError(RuntimeError):
    """Raised by the simulated device for a call that a capture forbids. The message begins with CUDA's name of the error."""


class Recording:
    """One capture, of the stream that it began on and of all streams that joined it by waiting for a captured stream.

    Work is recorded in an order that its dependencies allow, and a replay keeps that order.
    """

    def __init__(self, origin: int, mode: Mode) -> None:
        self.origin = origin
        self.mode = mode
        self.thread = threading.get_ident()
        self.broken = False
        self.actions: list[Action] = []
        self._reached: dict[int, set[int]] = {origin: set()}
        """For each stream, the indices of the actions that its next action depends on."""

    @property
    def streams(self) -> tuple[int, ...]:
        """The streams that are being captured."""
        return tuple(self._reached)

    @property
    def state(self) -> Capturing:
        """The state of the capture, which all its streams share."""
        return Capturing.INVALIDATED if self.broken else Capturing.ACTIVE

    def add(self, action: Action, stream: int) -> None:
        """Record work of a stream."""
        self.check()
        self._reached[stream].add(len(self.actions))
        self.actions.append(action)

    def follow(self, waiter: int, other: int) -> None:
        """Make later work of ``waiter`` depend on the recorded work of ``other``. The waiter joins the capture."""
        self.check()
        self._reached.setdefault(waiter, set()).update(self._reached[other])

    def check(self) -> None:
        """Raise :class:`CaptureError` if the capture is invalidated."""
        if self.broken:
            raise CaptureError("cudaErrorStreamCaptureInvalidated: an earlier call invalidated the capture")

    def breaks(self, why: str) -> NoReturn:
        """Invalidate the capture because of a forbidden call, and raise (CUD-10)."""
        self.broken = True
        raise CaptureError(why)

    def end(self) -> list[Action]:
        """Return the recorded work. Raise if the capture is invalidated or if other streams are unjoined."""
        self.check()
        if self._reached[self.origin] != set(range(len(self.actions))):
            raise CaptureError("cudaErrorStreamCaptureUnjoined: the first stream does not wait for all others")
        return self.actions

    def forbids(self, thread: int) -> bool:
        """Return ``True`` if a thread must not make calls that are unsafe in this capture, such as an allocation."""
        return self.mode is Mode.GLOBAL or (self.mode is Mode.THREAD_LOCAL and thread == self.thread)
