"""CUDA streams of every kind, and events. Handles are plain integers, as in the protocols."""

from __future__ import annotations

import ctypes
from enum import Enum

from .driver import NOT_READY, CudaError, call, status

LEGACY = 1
PER_THREAD = 2
_NON_BLOCKING = 1
_DISABLE_TIMING = 2


class StreamKind(str, Enum):
    """The four kinds of streams, which differ in their implicit order (CUD-01 to CUD-03)."""

    LEGACY = "legacy"
    PER_THREAD = "per-thread"
    BLOCKING = "blocking"
    NON_BLOCKING = "non-blocking"


class Stream:
    """A stream of the current context. :meth:`close` destroys it if it was created here."""

    def __init__(self, kind: StreamKind = StreamKind.NON_BLOCKING) -> None:
        self.kind = kind
        self._owned = kind in (StreamKind.BLOCKING, StreamKind.NON_BLOCKING)
        if self._owned:
            handle = ctypes.c_void_p()
            call("cuStreamCreate", ctypes.byref(handle), _NON_BLOCKING if kind is StreamKind.NON_BLOCKING else 0)
            self.handle = handle.value or 0
        else:
            self.handle = LEGACY if kind is StreamKind.LEGACY else PER_THREAD

    def synchronize(self) -> None:
        """Wait until all queued work is done."""
        call("cuStreamSynchronize", ctypes.c_void_p(self.handle))

    @property
    def done(self) -> bool:
        """``True`` if nothing is queued or running."""
        return is_done(self.handle)

    @property
    def context(self) -> int:
        """The handle of the stream's context."""
        return stream_context(self.handle)

    def wait(self, event: Event) -> None:
        """Make later work of this stream wait for the event."""
        call("cuStreamWaitEvent", ctypes.c_void_p(self.handle), ctypes.c_void_p(event.handle), 0)

    def close(self) -> None:
        """Destroy an owned stream. It is safe to call this twice."""
        if self._owned and self.handle:
            call("cuStreamDestroy_v2", ctypes.c_void_p(self.handle))
            self.handle = 0


class Event:
    """An event of the current context, without timing."""

    def __init__(self) -> None:
        handle = ctypes.c_void_p()
        call("cuEventCreate", ctypes.byref(handle), _DISABLE_TIMING)
        self.handle = handle.value or 0

    def record(self, stream: int) -> None:
        """Record the event on a stream. Both must belong to one context (CUD-06)."""
        call("cuEventRecord", ctypes.c_void_p(self.handle), ctypes.c_void_p(stream))

    @property
    def done(self) -> bool:
        """``True`` if all work before the event is done."""
        code = status("cuEventQuery", ctypes.c_void_p(self.handle))
        if code not in (0, NOT_READY):
            raise CudaError("cuEventQuery", code)
        return code == 0

    def close(self) -> None:
        """Destroy the event. It is safe to call this twice."""
        if self.handle:
            call("cuEventDestroy_v2", ctypes.c_void_p(self.handle))
            self.handle = 0


def is_done(handle: int) -> bool:
    """Return ``True`` if nothing is queued or running on a stream."""
    code = status("cuStreamQuery", ctypes.c_void_p(handle))
    if code not in (0, NOT_READY):
        raise CudaError("cuStreamQuery", code)
    return code == 0


def stream_context(handle: int) -> int:
    """Return the context of a stream handle. For 1 and 2 it is the current context. Raise if the handle is not valid."""
    found = ctypes.c_void_p()
    call("cuStreamGetCtx", ctypes.c_void_p(handle), ctypes.byref(found))
    return found.value or 0


def stream_is_non_blocking(handle: int) -> bool:
    """Return ``True`` if the stream is non-blocking (CUD-02)."""
    flags = ctypes.c_uint()
    call("cuStreamGetFlags", ctypes.c_void_p(handle), ctypes.byref(flags))
    return bool(flags.value & _NON_BLOCKING)
