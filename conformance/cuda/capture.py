"""Stream capture and graphs (CUD-07 to CUD-10)."""

from __future__ import annotations

import ctypes
from enum import IntEnum

from . import context
from .driver import CudaError, call, status


class Mode(IntEnum):
    """The threads in which a forbidden call invalidates a capture: all threads, the capturing thread, or none."""

    GLOBAL = 0
    THREAD_LOCAL = 1
    RELAXED = 2


class Capturing(IntEnum):
    """The capture state of a stream."""

    NO = 0
    ACTIVE = 1
    INVALIDATED = 2


class Graph:
    """A captured graph. ``handle`` is the ``CUgraph``."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self._executable = 0

    @property
    def nodes(self) -> int:
        """The number of nodes."""
        count = ctypes.c_size_t()
        call("cuGraphGetNodes", ctypes.c_void_p(self.handle), None, ctypes.byref(count))
        return count.value

    def launch(self, stream: int) -> None:
        """Instantiate the graph at first use, and queue it on a stream of the primary context."""
        with context.using(context.primary()):
            if not self._executable:
                executable = ctypes.c_void_p()
                call(
                    "cuGraphInstantiateWithFlags",
                    ctypes.byref(executable),
                    ctypes.c_void_p(self.handle),
                    ctypes.c_ulonglong(0),
                )
                self._executable = executable.value or 0
            call("cuGraphLaunch", ctypes.c_void_p(self._executable), ctypes.c_void_p(stream))

    def close(self) -> None:
        """Destroy the graph. It is safe to call this twice."""
        if self._executable:
            call("cuGraphExecDestroy", ctypes.c_void_p(self._executable))
            self._executable = 0
        if self.handle:
            call("cuGraphDestroy", ctypes.c_void_p(self.handle))
            self.handle = 0


def begin(stream: int, mode: Mode = Mode.GLOBAL) -> None:
    """Capture the work that is queued on a stream from now on."""
    call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), int(mode))


def end(stream: int) -> Graph:
    """End the capture and return its graph. Raise :class:`conformance.cuda.driver.CudaError` if the capture was invalidated (CUD-10)."""
    graph = ctypes.c_void_p()
    code = status("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
    if code:
        raise CudaError("cuStreamEndCapture", code)
    return Graph(graph.value or 0)


def state(stream: int) -> Capturing:
    """Return the capture state of the stream without disturbing the capture."""
    found = ctypes.c_int()
    call("cuStreamIsCapturing", ctypes.c_void_p(stream), ctypes.byref(found))
    return Capturing(found.value)
