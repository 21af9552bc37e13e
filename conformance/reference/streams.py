"""The streams that the reference works on and the ordering checks look at: CUDA's, or queues of the simulated device.

Handles are plain integers, as the protocols pass them: 1 and 2 are the default streams, larger ones were made by
:meth:`Streams.create` and are non-blocking.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Protocol

from conformance.cuda import context, kernels, latch
from conformance.cuda import memory as cuda_memory
from conformance.cuda import streams as cuda_streams
from conformance.cuda.driver import call

LEGACY = cuda_streams.LEGACY
PER_THREAD = cuda_streams.PER_THREAD
_SLOWER = 20
"""How many times longer a latch holds on the simulated device: its clock runs on while this process does not."""


class Latch(Protocol):
    """Holds a stream until it is released, or until its time is up."""

    @property
    def held(self) -> bool:
        """Whether the stream's later work cannot have started."""

    @property
    def expired(self) -> bool:
        """Whether it let go by itself."""

    def release(self) -> None:
        """Let go."""

    def close(self) -> None:
        """Give back what it needed; the stream is idle."""


class Streams(Protocol):
    """The work of one device. Everything returns at once unless it says that it waits."""

    def create(self) -> int:
        """Handle of a new non-blocking stream."""

    def destroy(self, stream: int) -> None:
        """The end of a stream that :meth:`create` made."""

    def fill(self, address: int, words: int, value: int, stream: int) -> None:
        """Queue the writing of ``words`` 32-bit words."""

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        """Queue a copy of ``nbytes`` bytes."""

    def wait(self, waiter: int, other: int) -> None:
        """Later work of ``waiter`` starts when what ``other`` has queued by now is done: an event, no wait of the host."""

    def hold(self, stream: int, seconds: float) -> Latch:
        """Queue a latch."""

    def done(self, stream: int) -> bool:
        """Whether nothing is queued or running on a stream."""

    def synchronize(self, stream: int) -> None:
        """Wait for a stream."""

    def synchronize_device(self) -> None:
        """Wait for everything."""

    def round_trip(self) -> None:
        """Have the device do a piece of work on a stream that nobody else uses, and wait until it is done."""


class CudaStreams:
    """Streams of the primary context of device 0, by the driver API."""

    def __init__(self) -> None:
        self._witness = self.create()
        self._scratch = cuda_memory.allocate(4)

    def create(self) -> int:
        """``cuStreamCreate`` with the non-blocking flag."""
        with context.using(context.primary()):
            return cuda_streams.Stream().handle

    def destroy(self, stream: int) -> None:
        """``cuStreamDestroy``."""
        call("cuStreamDestroy_v2", ctypes.c_void_p(stream))

    def fill(self, address: int, words: int, value: int, stream: int) -> None:
        """A kernel."""
        kernels.fill_words(address, words, value, stream)

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        """``cuMemcpyDtoDAsync``."""
        with context.using(context.primary()):
            call(
                "cuMemcpyDtoDAsync_v2",
                ctypes.c_void_p(target),
                ctypes.c_void_p(source),
                ctypes.c_size_t(nbytes),
                ctypes.c_void_p(stream),
            )

    def wait(self, waiter: int, other: int) -> None:
        """An event of the other stream's context (CUD-06)."""
        owner = cuda_streams.stream_context(other) if other > PER_THREAD else context.primary()
        with context.using(owner):
            event = cuda_streams.Event()
            try:
                event.record(other)
                call("cuStreamWaitEvent", ctypes.c_void_p(waiter), ctypes.c_void_p(event.handle), 0)
            finally:
                event.close()

    def hold(self, stream: int, seconds: float) -> Latch:
        """:class:`conformance.cuda.latch.Latch`."""
        return latch.Latch(stream, seconds)

    def done(self, stream: int) -> bool:
        """``cuStreamQuery``."""
        with context.using(context.primary()):
            return cuda_streams.is_done(stream)

    def synchronize(self, stream: int) -> None:
        """``cuStreamSynchronize``."""
        with context.using(context.primary()):
            call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def synchronize_device(self) -> None:
        """``cuCtxSynchronize`` of the primary context."""
        with context.using(context.primary()):
            context.synchronize()

    def round_trip(self) -> None:
        """A kernel of one word on a stream of its own."""
        kernels.fill_words(self._scratch, 1, 0, self._witness)
        while not self.done(self._witness):
            pass


class WorkStream:
    """A stream as an object that owns it, as the libraries have one; without ``handle`` it is a new one."""

    def __init__(self, streams: Streams, handle: int = 0) -> None:
        self._streams = streams
        self._owned = not handle
        self.handle = handle or streams.create()

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle

    def __del__(self) -> None:
        if self._owned:
            try:
                self._streams.destroy(self.handle)
            except Exception:  # noqa: BLE001 - the context may be gone at exit; there is nobody left to tell
                pass


class _Work:
    """A piece of queued work, which may wait for other pieces."""

    def __init__(self, action: Callable[[], object], after: Iterable[_Work]) -> None:
        self.action = action
        self.finished = False
        self.after = [work for work in after if not work.finished]

    def ready(self) -> bool:
        """Whether nothing that it waits for is left."""
        return all(work.finished for work in self.after)


class _Gate(_Work):
    """A latch of the simulated device."""

    def __init__(self, after: Iterable[_Work], seconds: float, settle: Callable[[], None]) -> None:
        super().__init__(lambda: None, after)
        self.end = time.monotonic() + _SLOWER * seconds
        self._released = False
        self._settle = settle

    def ready(self) -> bool:
        """Only when released, or when the time is up."""
        return super().ready() and (self._released or self.expired)

    @property
    def held(self) -> bool:
        """Neither released nor expired."""
        return not self._released and not self.expired

    @property
    def expired(self) -> bool:
        """By the host's clock: there is no other."""
        return not self._released and time.monotonic() >= self.end

    def release(self) -> None:
        """Let go, and let the device go on."""
        self._released = True
        self._settle()

    def close(self) -> None:
        """Nothing to give back."""


class SimulatedStreams:
    """Queues in host memory: work is done as soon as nothing holds it, in the thread that looks next."""

    def __init__(self) -> None:
        self._last: dict[int, list[_Work]] = {LEGACY: [], PER_THREAD: []}
        self._pending: list[_Work] = []
        self._changed = threading.Condition(threading.RLock())

    def create(self) -> int:
        """The next number."""
        with self._changed:
            made = max(self._last) + 16
            self._last[made] = []
            return made

    def destroy(self, stream: int) -> None:
        """Its work goes on, its handle is dead."""
        with self._changed:
            del self._last[stream]

    def alive(self, stream: int) -> bool:
        """Whether the handle names a stream."""
        return stream in self._last

    def fill(self, address: int, words: int, value: int, stream: int) -> None:
        """A store to host memory."""
        data = value.to_bytes(4, "little") * words
        self._queue(_Work(lambda: ctypes.memmove(address, data, len(data)), self._before(stream)), stream)

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        """A copy in host memory."""
        self._queue(_Work(lambda: ctypes.memmove(target, source, nbytes), self._before(stream)), stream)

    def wait(self, waiter: int, other: int) -> None:
        """A piece of work that does nothing, after both."""
        self._queue(_Work(lambda: None, [*self._before(waiter), *self._before(other)]), waiter)

    def hold(self, stream: int, seconds: float) -> Latch:
        """A gate."""
        gate = _Gate(self._before(stream), seconds, self._settle)
        self._queue(gate, stream)
        return gate

    def done(self, stream: int) -> bool:
        """Whether all of its work has been done."""
        self._settle()
        return all(work.finished for work in self._last[stream])

    def synchronize(self, stream: int) -> None:
        """Sleep until it is done; gates end by other threads, or by time."""
        self._until(lambda: self.done(stream))

    def synchronize_device(self) -> None:
        """Sleep until all is done."""
        self._until(lambda: not self._pending)

    def round_trip(self) -> None:
        """Nothing: the device is never busy."""
        self._settle()

    def _before(self, stream: int) -> list[_Work]:
        """What new work of a stream comes after: its own, and for the default streams each other's (CUD-03)."""
        with self._changed:
            other = {LEGACY: PER_THREAD, PER_THREAD: LEGACY}.get(stream)
            return [*self._last[stream], *(self._last[other] if other else ())]

    def _queue(self, work: _Work, stream: int) -> None:
        with self._changed:
            self._last[stream] = [work]
            self._pending.append(work)
        self._settle()

    def _settle(self) -> None:
        """Do everything that nothing holds."""
        with self._changed:
            while ready := next((work for work in self._pending if work.ready()), None):
                ready.action()
                ready.finished = True
                self._pending.remove(ready)
            self._changed.notify_all()

    def _until(self, reached: Callable[[], bool]) -> None:
        with self._changed:
            self._settle()
            while not reached():
                ends = [work.end for work in self._pending if isinstance(work, _Gate)]
                self._changed.wait(max(0.0, min(ends) - time.monotonic()) if ends else None)
                self._settle()


@cache
def cuda() -> Streams:
    """The streams of device 0, made at first use."""
    return CudaStreams()


@cache
def simulated() -> Streams:
    """The streams of the simulated device."""
    return SimulatedStreams()
