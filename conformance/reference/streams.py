"""Streams of the reference library and of the ordering checks: CUDA's, or queues of the simulated device.

Handles are plain integers, as in the protocols: 1 and 2 are the default streams. Higher handles come from :meth:`Streams.create` and are
non-blocking.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

from conformance.cuda import capture as cuda_capture
from conformance.cuda import context, kernels, latch
from conformance.cuda import memory as cuda_memory
from conformance.cuda import streams as cuda_streams
from conformance.cuda.capture import Capturing, Mode
from conformance.cuda.driver import CudaError, call

from . import gpus
from .recording import Action, CaptureError, Recording

LEGACY = cuda_streams.LEGACY
PER_THREAD = cuda_streams.PER_THREAD
_SLOWER = 20
"""The factor for the time limit of a latch on the simulated device. Its clock also runs while this process does not."""


class Latch(Protocol):
    """A latch: holds a stream until it is released or its time limit ends."""

    @property
    def held(self) -> bool:
        """``True`` if the stream's later work cannot have started."""

    @property
    def expired(self) -> bool:
        """``True`` if the time limit has ended the latch."""

    def release(self) -> None:
        """Release the stream."""

    def close(self) -> None:
        """Free the latch's resources. The stream must be idle."""


class Graph(Protocol):
    """Captured work that can be launched repeatedly."""

    def launch(self, stream: int) -> None:
        """Queue all of the work on a stream."""

    def close(self) -> None:
        """Destroy the graph. It is safe to call this twice."""


class Streams(Protocol):
    """The streams of one device. Every method returns at once unless its description says that it waits."""

    def create(self, *, blocking: bool = False) -> int:
        """Return the handle of a new stream. A ``blocking`` stream is ordered with the legacy stream (CUD-01, CUD-02)."""

    def destroy(self, stream: int) -> None:
        """Destroy a stream that :meth:`create` made."""

    def alive(self, stream: int) -> bool:
        """Return ``True`` if the handle names a stream. On CUDA, a handle that was never a stream may end the process."""

    def gpu_of(self, stream: int) -> int:
        """Return the GPU of a stream."""

    def fill(self, address: int, words: int, value: int, stream: int) -> None:
        """Queue a write of ``words`` 32-bit words."""

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        """Queue a copy of ``nbytes`` bytes."""

    def wait(self, waiter: int, other: int) -> None:
        """Make later work of ``waiter`` wait for the work that ``other`` has queued so far, by an event. The host does not wait."""

    def hold(self, stream: int, seconds: float) -> Latch:
        """Queue a latch."""

    def done(self, stream: int) -> bool:
        """Return ``True`` if nothing is queued or running on a stream."""

    def synchronize(self, stream: int) -> None:
        """Wait for a stream."""

    def synchronize_device(self) -> None:
        """Wait for all streams."""

    def round_trip(self) -> None:
        """Run a piece of work on a separate stream, and wait until it is done."""

    def begin_capture(self, stream: int, mode: Mode = Mode.GLOBAL) -> None:
        """Record the work of a stream from now on instead of running it. The legacy stream cannot be captured (CUD-07)."""

    def end_capture(self, stream: int) -> Graph:
        """End the capture and return its graph. Raise if a forbidden call has invalidated it (CUD-10); it ends in either case."""

    def capturing(self, stream: int) -> Capturing:
        """Return the capture state of a stream without disturbing the capture."""


class CudaStreams:
    """Streams of a GPU's primary context, by the driver API. Streams of other contexts are recognised by their handles."""

    def __init__(self, ordinal: int = 0) -> None:
        self._ordinal = ordinal
        self._witness = self.create()
        self._scratch = cuda_memory.allocate(4, ordinal=ordinal)

    def _owner(self, stream: int) -> int:
        """Return the context of a stream. Default streams belong to this GPU's primary context."""
        return cuda_streams.stream_context(stream) if stream > PER_THREAD else context.primary(self._ordinal)

    def gpu_of(self, stream: int) -> int:
        """Return the device of the stream's context."""
        with context.using(self._owner(stream)):
            ordinal = context.current_ordinal()
        assert ordinal is not None
        return ordinal

    def create(self, *, blocking: bool = False) -> int:
        kind = cuda_streams.StreamKind.BLOCKING if blocking else cuda_streams.StreamKind.NON_BLOCKING
        with context.using(context.primary(self._ordinal)):
            return cuda_streams.Stream(kind).handle

    def destroy(self, stream: int) -> None:
        call("cuStreamDestroy_v2", ctypes.c_void_p(stream))

    def alive(self, stream: int) -> bool:
        """Return ``True`` if ``cuStreamGetCtx`` accepts the handle. The default streams always exist."""
        if stream in (LEGACY, PER_THREAD):
            return True
        with context.using(context.primary(self._ordinal)):
            try:
                return cuda_streams.stream_context(stream) != 0
            except CudaError:
                return False

    def fill(self, address: int, words: int, value: int, stream: int) -> None:
        kernels.fill_words(address, words, value, stream, self._ordinal)

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        """Queue ``cuMemcpyDtoDAsync``, or ``cuMemcpyPeerAsync`` between two GPUs."""
        with context.using(self._owner(stream)):
            cuda_memory.copy(target, source, nbytes, stream)

    def wait(self, waiter: int, other: int) -> None:
        """Wait by an event of the other stream's context (CUD-06)."""
        with context.using(self._owner(other)):
            event = cuda_streams.Event()
            try:
                event.record(other)
                with context.using(self._owner(waiter)):
                    call("cuStreamWaitEvent", ctypes.c_void_p(waiter), ctypes.c_void_p(event.handle), 0)
            finally:
                event.close()

    def hold(self, stream: int, seconds: float) -> Latch:
        return latch.Latch(stream, seconds, self._ordinal)

    def done(self, stream: int) -> bool:
        with context.using(self._owner(stream)):
            return cuda_streams.is_done(stream)

    def synchronize(self, stream: int) -> None:
        with context.using(self._owner(stream)):
            call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def synchronize_device(self) -> None:
        """Synchronize the primary context of every GPU that is in use."""
        context.synchronize_gpus()

    def round_trip(self) -> None:
        """Launch a kernel of one word on a separate stream, and wait for it."""
        kernels.fill_words(self._scratch, 1, 0, self._witness)
        while not self.done(self._witness):
            pass

    def begin_capture(self, stream: int, mode: Mode = Mode.GLOBAL) -> None:
        with context.using(context.primary(self._ordinal)):
            cuda_capture.begin(stream, mode)

    def end_capture(self, stream: int) -> Graph:
        with context.using(context.primary(self._ordinal)):
            return cuda_capture.end(stream)

    def capturing(self, stream: int) -> Capturing:
        with context.using(context.primary(self._ordinal)):
            return cuda_capture.state(stream)


_current = threading.local()


def current() -> int:
    """Return this thread's current stream, which is the legacy default stream until one is chosen."""
    handle: int = getattr(_current, "handle", LEGACY)
    return handle


class Current:
    """The current stream of each thread: that of the innermost :meth:`using` block."""

    @property
    def handle(self) -> int:
        """The handle of the current stream."""
        return current()

    @handle.setter
    def handle(self, stream: int) -> None:
        _current.handle = stream

    @contextmanager
    def using(self, handle: int) -> Iterator[None]:
        """Make a stream current within the block. The previous stream is current again at the end, also after an exception."""
        before, self.handle = self.handle, handle
        try:
            yield
        finally:
            self.handle = before


class WorkStream:
    """A stream object that owns its stream, as libraries have. Without ``handle`` it creates a new stream.

    An object with a ``handle`` does not own the stream: it never destroys the stream, and it keeps ``owner`` alive.
    """

    def __init__(self, streams: Streams, handle: int = 0, owner: Any = None) -> None:
        self._streams = streams
        self._owner = owner
        self._owned = not handle
        self.handle = handle or streams.create()

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle

    def wait(self, other: WorkStream) -> None:
        """Make later work of this stream wait for the work that the other stream has queued so far, by an event."""
        self._streams.wait(self.handle, other.handle)

    def recorded_on(self, current_gpu: int) -> int:
        """Return the GPU of an event that is recorded now. A default stream belongs to the current GPU (CUD-02)."""
        return current_gpu if self.handle in (LEGACY, PER_THREAD) else self._streams.gpu_of(self.handle)

    def __del__(self) -> None:
        if self._owned:
            try:
                self._streams.destroy(self.handle)
            except Exception:  # noqa: BLE001 - the context may be destroyed at exit, and no caller can handle an error
                pass


class NoSuchStream(RuntimeError):
    """Raised by the simulated device for the handle of a stream that is destroyed or never existed."""

    def __init__(self, stream: int) -> None:
        super().__init__(f"cudaErrorInvalidResourceHandle: there is no stream {stream}")


class _Work:
    """A piece of queued work, which may wait for other pieces."""

    def __init__(self, action: Callable[[], object], after: Iterable[_Work]) -> None:
        self.action = action
        self.finished = False
        self.after = [work for work in after if not work.finished]

    def ready(self) -> bool:
        """Return ``True`` if all work that it waits for is done."""
        return all(work.finished for work in self.after)


class _Gate(_Work):
    """A latch of the simulated device."""

    def __init__(self, after: Iterable[_Work], seconds: float, settle: Callable[[], None]) -> None:
        super().__init__(lambda: None, after)
        self.end = time.monotonic() + _SLOWER * seconds
        self._released = False
        self._settle = settle

    def ready(self) -> bool:
        """Return ``True`` once the latch is released or its time limit has ended."""
        return super().ready() and (self._released or self.expired)

    @property
    def held(self) -> bool:
        return not self._released and not self.expired

    @property
    def expired(self) -> bool:
        """``True`` if the time limit has ended by the host's clock."""
        return not self._released and time.monotonic() >= self.end

    def release(self) -> None:
        """Release the latch, and run the work behind it."""
        self._released = True
        self._settle()

    def close(self) -> None:
        """Do nothing: a gate has no resources."""


class SimulatedStreams:
    """Queues in host memory. Work runs as soon as nothing holds it, in the next thread that calls a method."""

    def __init__(self) -> None:
        self._last: dict[int, list[_Work]] = {LEGACY: [], PER_THREAD: []}
        self._free: list[int] = []
        self._gpus: dict[int, int] = {}
        self._blocking = {PER_THREAD}
        self._recordings: dict[int, Recording] = {}
        self._pending: list[_Work] = []
        self._changed = threading.Condition(threading.RLock())

    def create(self, *, blocking: bool = False) -> int:
        """Return the handle of the stream that was destroyed last, as drivers do, or a new handle."""
        with self._changed:
            made = self._free.pop() if self._free else max(self._last) + 16
            self._last[made] = []
            self._gpus[made] = gpus.SIMULATED.current()
            if blocking:
                self._blocking.add(made)
            return made

    def destroy(self, stream: int) -> None:
        """Invalidate the handle. Work of the stream still runs."""
        with self._changed:
            del self._last[stream]
            self._blocking.discard(stream)
            if stream not in self._recordings:
                self._free.append(stream)

    def gpu_of(self, stream: int) -> int:
        """Return the GPU that was current at the stream's creation. Default streams belong to the current GPU."""
        return self._gpus.get(stream, gpus.SIMULATED.current())

    def alive(self, stream: int) -> bool:
        return stream in self._last

    def pending(self) -> Callable[[], bool]:
        """Return a function that reports whether all work that is pending now is done."""
        works = tuple(self._pending)
        return lambda: all(work.finished for work in works)

    def fill(self, address: int, words: int, value: int, stream: int) -> None:
        data = value.to_bytes(4, "little") * words
        self._do(lambda: ctypes.memmove(address, data, len(data)), stream)

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        self._do(lambda: ctypes.memmove(target, source, nbytes), stream)

    def wait(self, waiter: int, other: int) -> None:
        """Queue an empty piece of work after both streams. In a capture, record a dependency instead."""
        with self._changed:
            self._check_legacy(waiter, other)
            ours, theirs = self._recordings.get(waiter), self._recordings.get(other)
            if theirs is None:
                if ours is not None:
                    ours.breaks("cudaErrorStreamCaptureIsolation: an event of a stream that is not captured")
                self._queue(_Work(lambda: None, [*self._before(waiter), *self._before(other)]), waiter)
            elif waiter == LEGACY:
                theirs.breaks("cudaErrorStreamCaptureImplicit: the legacy stream cannot join a capture")
            elif ours not in (None, theirs):
                theirs.broken = True
                self._recordings[waiter].breaks("cudaErrorStreamCaptureMerge: the wait would merge two captures")
            else:
                theirs.follow(waiter, other)
                self._recordings[waiter] = theirs

    def hold(self, stream: int, seconds: float) -> Latch:
        """Queue a gate. Raise in a capture, in which no work runs."""
        if stream in self._recordings:
            raise CaptureError("a latch cannot be queued on a stream that is being captured")
        gate = _Gate(self._before(stream), seconds, self._settle)
        self._queue(gate, stream)
        return gate

    def done(self, stream: int) -> bool:
        """Return ``True`` if all work of the stream is done. This query invalidates a capture."""
        self._check_unrecorded(stream)
        self._settle()
        return all(work.finished for work in self._of(stream))

    def synchronize(self, stream: int) -> None:
        """Sleep until the stream is done. Other threads or time limits end gates. This call invalidates every capture that forbids it."""
        self._check_unrecorded(stream)
        self.unsafe_call()
        self._until(lambda: self.done(stream))

    def synchronize_device(self) -> None:
        """Sleep until all work is done. This call invalidates every capture (CUD-08)."""
        self._break(
            lambda recording: True, "cudaErrorStreamCaptureUnsupported: a captured stream belongs to the device"
        )
        self._until(lambda: not self._pending)

    def round_trip(self) -> None:
        """Run pending work; the device itself is never busy."""
        self._settle()

    def begin_capture(self, stream: int, mode: Mode = Mode.GLOBAL) -> None:
        with self._changed:
            if stream == LEGACY:
                raise CaptureError("cudaErrorStreamCaptureUnsupported: the legacy stream cannot be captured (CUD-07)")
            if stream in self._recordings:
                raise CaptureError("cudaErrorIllegalState: the stream is being captured already")
            self._recordings[stream] = Recording(stream, mode)

    def end_capture(self, stream: int) -> Graph:
        """End the capture for all of its streams, also if the result is an error."""
        with self._changed:
            recording = self._recordings.get(stream)
            if recording is None or recording.origin != stream:
                raise CaptureError("cudaErrorIllegalState: no capture began on this stream")
            for each in recording.streams:
                del self._recordings[each]
            return _SimulatedGraph(self, recording.end())

    def capturing(self, stream: int) -> Capturing:
        """Return the state of the stream's recording."""
        recording = self._recordings.get(stream)
        return Capturing.NO if recording is None else recording.state

    def unsafe_call(self) -> None:
        """Invalidate the captures with a mode that forbids an allocation to this thread."""
        thread = threading.get_ident()
        self._break(lambda recording: recording.forbids(thread), "cudaErrorStreamCaptureUnsupported: an unsafe call")

    def replay(self, actions: list[Action], stream: int) -> None:
        """Queue recorded work as one piece."""
        self._do(lambda: [action() for action in actions], stream)

    def _check_unrecorded(self, stream: int) -> None:
        """Invalidate the capture of this stream, because a query of a captured stream does that (CUD-08)."""
        self._check_legacy(stream)
        with self._changed:
            if stream in self._recordings:
                self._recordings[stream].breaks("cudaErrorStreamCaptureUnsupported: the stream is being captured")

    def _check_legacy(self, *used: int) -> None:
        """Invalidate the capture of a blocking stream, because use of the legacy stream does that (CUD-09)."""
        if LEGACY in used:
            self._break(
                lambda recording: not self._blocking.isdisjoint(recording.streams),
                "cudaErrorStreamCaptureImplicit: the legacy stream is used while a blocking stream is being captured",
            )

    def _break(self, which: Callable[[Recording], bool], why: str) -> None:
        """Invalidate these captures, and raise if there are any."""
        with self._changed:
            hit = [recording for recording in self._recordings.values() if which(recording)]
            for recording in hit:
                recording.broken = True
            if hit:
                raise CaptureError(why)

    def _before(self, stream: int) -> list[_Work]:
        """Return the work that new work of a stream waits for: its own, and that of streams it is implicitly ordered with."""
        with self._changed:
            others = self._blocking if stream == LEGACY else {LEGACY} if stream in self._blocking else set()
            return [*self._of(stream), *(work for other in others for work in self._of(other))]

    def _of(self, stream: int) -> list[_Work]:
        """Return a stream's last work. Raise :class:`NoSuchStream` for an unknown handle."""
        if stream not in self._last:
            raise NoSuchStream(stream)
        return self._last[stream]

    def _do(self, action: Action, stream: int) -> None:
        """Queue work, or record it in a capture."""
        with self._changed:
            self._check_legacy(stream)
            if stream in self._recordings:
                self._recordings[stream].add(action, stream)
            else:
                self._queue(_Work(action, self._before(stream)), stream)

    def _queue(self, work: _Work, stream: int) -> None:
        with self._changed:
            self._last[stream] = [work]
            self._pending.append(work)
        self._settle()

    def _settle(self) -> None:
        """Run all work that nothing holds."""
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


class _SimulatedGraph:
    """Recorded work, which runs as one piece."""

    def __init__(self, streams: SimulatedStreams, actions: list[Action]) -> None:
        self._streams = streams
        self._actions = actions

    def launch(self, stream: int) -> None:
        self._streams.replay(self._actions, stream)

    def close(self) -> None:
        """Do nothing: the graph has no resources."""


@cache
def cuda(ordinal: int = 0) -> Streams:
    """Return the streams of a GPU, which are created at first use."""
    return CudaStreams(ordinal)


@cache
def simulated() -> SimulatedStreams:
    """Return the streams of the simulated device."""
    return SimulatedStreams()
