"""The streams that the reference works on and the ordering checks look at: CUDA's, or queues of the simulated device.

Handles are plain integers, as the protocols pass them: 1 and 2 are the default streams, larger ones were made by
:meth:`Streams.create` and are non-blocking.
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


class Graph(Protocol):
    """Work that was captured, to be done as often as it is launched."""

    def launch(self, stream: int) -> None:
        """Queue all of it on a stream."""

    def close(self) -> None:
        """Give it back; safe to call twice."""


class Streams(Protocol):
    """The work of one device. Everything returns at once unless it says that it waits."""

    def create(self, *, blocking: bool = False) -> int:
        """Handle of a new stream; a ``blocking`` one is ordered with the legacy stream (CUD-01, CUD-02)."""

    def destroy(self, stream: int) -> None:
        """The end of a stream that :meth:`create` made."""

    def alive(self, stream: int) -> bool:
        """Whether the handle names a stream. On CUDA one that never did may kill the process."""

    def gpu_of(self, stream: int) -> int:
        """The GPU that a stream was made on."""

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

    def begin_capture(self, stream: int, mode: Mode = Mode.GLOBAL) -> None:
        """Record what is queued on a stream from now on, instead of doing it; not on the legacy stream (CUD-07)."""

    def end_capture(self, stream: int) -> Graph:
        """What was recorded; raises if a forbidden call has broken the capture (CUD-10). Either way it is over."""

    def capturing(self, stream: int) -> Capturing:
        """How a stream stands; does not disturb a capture."""


class CudaStreams:
    """Streams of the primary context of a GPU, by the driver API. Streams of other contexts are told by their handles."""

    def __init__(self, ordinal: int = 0) -> None:
        self._ordinal = ordinal
        self._witness = self.create()
        self._scratch = cuda_memory.allocate(4, ordinal=ordinal)

    def _owner(self, stream: int) -> int:
        """The context that a stream belongs to; the default streams are meant as this GPU's."""
        return cuda_streams.stream_context(stream) if stream > PER_THREAD else context.primary(self._ordinal)

    def gpu_of(self, stream: int) -> int:
        """The device of the stream's context."""
        with context.using(self._owner(stream)):
            ordinal = context.current_ordinal()
        assert ordinal is not None
        return ordinal

    def create(self, *, blocking: bool = False) -> int:
        """``cuStreamCreate``."""
        kind = cuda_streams.StreamKind.BLOCKING if blocking else cuda_streams.StreamKind.NON_BLOCKING
        with context.using(context.primary(self._ordinal)):
            return cuda_streams.Stream(kind).handle

    def destroy(self, stream: int) -> None:
        """``cuStreamDestroy``."""
        call("cuStreamDestroy_v2", ctypes.c_void_p(stream))

    def alive(self, stream: int) -> bool:
        """``cuStreamGetCtx``; the default streams always are."""
        if stream in (LEGACY, PER_THREAD):
            return True
        with context.using(context.primary(self._ordinal)):
            try:
                return cuda_streams.stream_context(stream) != 0
            except CudaError:
                return False

    def fill(self, address: int, words: int, value: int, stream: int) -> None:
        """A kernel."""
        kernels.fill_words(address, words, value, stream, self._ordinal)

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        """``cuMemcpyDtoDAsync``, or ``cuMemcpyPeerAsync`` between two GPUs."""
        with context.using(self._owner(stream)):
            cuda_memory.copy(target, source, nbytes, stream)

    def wait(self, waiter: int, other: int) -> None:
        """An event of the other stream's context (CUD-06)."""
        with context.using(self._owner(other)):
            event = cuda_streams.Event()
            try:
                event.record(other)
                with context.using(self._owner(waiter)):
                    call("cuStreamWaitEvent", ctypes.c_void_p(waiter), ctypes.c_void_p(event.handle), 0)
            finally:
                event.close()

    def hold(self, stream: int, seconds: float) -> Latch:
        """:class:`conformance.cuda.latch.Latch`."""
        return latch.Latch(stream, seconds, self._ordinal)

    def done(self, stream: int) -> bool:
        """``cuStreamQuery``."""
        with context.using(self._owner(stream)):
            return cuda_streams.is_done(stream)

    def synchronize(self, stream: int) -> None:
        """``cuStreamSynchronize``."""
        with context.using(self._owner(stream)):
            call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def synchronize_device(self) -> None:
        """``cuCtxSynchronize`` of the primary context of every GPU that is in use."""
        context.synchronize_gpus()

    def round_trip(self) -> None:
        """A kernel of one word on a stream of its own."""
        kernels.fill_words(self._scratch, 1, 0, self._witness)
        while not self.done(self._witness):
            pass

    def begin_capture(self, stream: int, mode: Mode = Mode.GLOBAL) -> None:
        """``cuStreamBeginCapture``."""
        with context.using(context.primary(self._ordinal)):
            cuda_capture.begin(stream, mode)

    def end_capture(self, stream: int) -> Graph:
        """``cuStreamEndCapture``."""
        with context.using(context.primary(self._ordinal)):
            return cuda_capture.end(stream)

    def capturing(self, stream: int) -> Capturing:
        """``cuStreamIsCapturing``."""
        with context.using(context.primary(self._ordinal)):
            return cuda_capture.state(stream)


_current = threading.local()


def current() -> int:
    """The stream that is current in this thread, the legacy default stream unless one was chosen."""
    handle: int = getattr(_current, "handle", LEGACY)
    return handle


class Current:
    """The choice of a current stream: that of the innermost block of this thread."""

    @property
    def handle(self) -> int:
        """The stream that is current."""
        return current()

    @handle.setter
    def handle(self, stream: int) -> None:
        _current.handle = stream

    @contextmanager
    def using(self, handle: int) -> Iterator[None]:
        """Make a stream current; what was current before is so again afterwards, whatever happens in between."""
        before, self.handle = self.handle, handle
        try:
            yield
        finally:
            self.handle = before


class WorkStream:
    """A stream as an object that owns it, as the libraries have one; without ``handle`` it is a new one.

    One with a ``handle`` belongs to somebody else: it is never destroyed, and ``owner`` is kept alive.
    """

    def __init__(self, streams: Streams, handle: int = 0, owner: Any = None) -> None:
        self._streams = streams
        self._owner = owner
        self._owned = not handle
        self.handle = handle or streams.create()

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle

    def wait(self, other: WorkStream) -> None:
        """Later work of this stream comes after what the other has queued by now, by an event."""
        self._streams.wait(self.handle, other.handle)

    def recorded_on(self, current_gpu: int) -> int:
        """The GPU of an event that is recorded now: a default stream is that of the current one (CUD-02)."""
        return current_gpu if self.handle in (LEGACY, PER_THREAD) else self._streams.gpu_of(self.handle)

    def __del__(self) -> None:
        if self._owned:
            try:
                self._streams.destroy(self.handle)
            except Exception:  # noqa: BLE001 - the context may be gone at exit; there is nobody left to tell
                pass


class NoSuchStream(RuntimeError):
    """What the simulated device answers to the handle of a stream that is gone or never was."""

    def __init__(self, stream: int) -> None:
        super().__init__(f"cudaErrorInvalidResourceHandle: there is no stream {stream}")


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
        self._free: list[int] = []
        self._gpus: dict[int, int] = {}
        self._blocking = {PER_THREAD}
        self._recordings: dict[int, Recording] = {}
        self._pending: list[_Work] = []
        self._changed = threading.Condition(threading.RLock())

    def create(self, *, blocking: bool = False) -> int:
        """The number of the stream that was destroyed last, as drivers do, else the next one."""
        with self._changed:
            made = self._free.pop() if self._free else max(self._last) + 16
            self._last[made] = []
            self._gpus[made] = gpus.SIMULATED.current()
            if blocking:
                self._blocking.add(made)
            return made

    def destroy(self, stream: int) -> None:
        """Its work goes on, its handle is dead."""
        with self._changed:
            del self._last[stream]
            self._blocking.discard(stream)
            if stream not in self._recordings:
                self._free.append(stream)

    def gpu_of(self, stream: int) -> int:
        """The one that was current then; default streams are those of the current one."""
        return self._gpus.get(stream, gpus.SIMULATED.current())

    def alive(self, stream: int) -> bool:
        """Whether the handle names a stream."""
        return stream in self._last

    def pending(self) -> Callable[[], bool]:
        """Tells, whenever it is called, whether all that is pending now has been done."""
        works = tuple(self._pending)
        return lambda: all(work.finished for work in works)

    def fill(self, address: int, words: int, value: int, stream: int) -> None:
        """A store to host memory."""
        data = value.to_bytes(4, "little") * words
        self._do(lambda: ctypes.memmove(address, data, len(data)), stream)

    def copy(self, target: int, source: int, nbytes: int, stream: int) -> None:
        """A copy in host memory."""
        self._do(lambda: ctypes.memmove(target, source, nbytes), stream)

    def wait(self, waiter: int, other: int) -> None:
        """A piece of work that does nothing, after both; in a capture, an order between what is recorded."""
        with self._changed:
            self._check_legacy(waiter, other)
            ours, theirs = self._recordings.get(waiter), self._recordings.get(other)
            if theirs is None:
                if ours is not None:
                    ours.breaks("cudaErrorStreamCaptureIsolation: an event of a stream that is not captured")
                self._queue(_Work(lambda: None, [*self._before(waiter), *self._before(other)]), waiter)
            elif waiter == LEGACY:
                theirs.breaks("cudaErrorStreamCaptureImplicit: the legacy stream cannot be drawn into a capture")
            elif ours not in (None, theirs):
                theirs.broken = True
                self._recordings[waiter].breaks("cudaErrorStreamCaptureMerge: two captures would become one")
            else:
                theirs.follow(waiter, other)
                self._recordings[waiter] = theirs

    def hold(self, stream: int, seconds: float) -> Latch:
        """A gate; a captured stream has none, as nothing runs on it."""
        if stream in self._recordings:
            raise CaptureError("a latch holds back work, and a stream that is being captured has none")
        gate = _Gate(self._before(stream), seconds, self._settle)
        self._queue(gate, stream)
        return gate

    def done(self, stream: int) -> bool:
        """Whether all of its work has been done; asking breaks a capture."""
        self._check_unrecorded(stream)
        self._settle()
        return all(work.finished for work in self._of(stream))

    def synchronize(self, stream: int) -> None:
        """Sleep until it is done; gates end by other threads, or by time. Breaks a capture, also of another stream."""
        self._check_unrecorded(stream)
        self.unsafe_call()
        self._until(lambda: self.done(stream))

    def synchronize_device(self) -> None:
        """Sleep until all is done. Breaks every capture (CUD-08)."""
        self._break(
            lambda recording: True, "cudaErrorStreamCaptureUnsupported: a captured stream belongs to the device"
        )
        self._until(lambda: not self._pending)

    def round_trip(self) -> None:
        """Nothing: the device is never busy."""
        self._settle()

    def begin_capture(self, stream: int, mode: Mode = Mode.GLOBAL) -> None:
        """From now on work is recorded."""
        with self._changed:
            if stream == LEGACY:
                raise CaptureError("cudaErrorStreamCaptureUnsupported: the legacy stream cannot be captured (CUD-07)")
            if stream in self._recordings:
                raise CaptureError("cudaErrorIllegalState: the stream is being captured already")
            self._recordings[stream] = Recording(stream, mode)

    def end_capture(self, stream: int) -> Graph:
        """All of its streams are as before, whatever comes of it."""
        with self._changed:
            recording = self._recordings.get(stream)
            if recording is None or recording.origin != stream:
                raise CaptureError("cudaErrorIllegalState: no capture began on this stream")
            for each in recording.streams:
                del self._recordings[each]
            return _SimulatedGraph(self, recording.end())

    def capturing(self, stream: int) -> Capturing:
        """Whether there is a recording, and how it stands."""
        recording = self._recordings.get(stream)
        return Capturing.NO if recording is None else recording.state

    def unsafe_call(self) -> None:
        """What an allocation does to captures: it breaks those whose mode forbids it to this thread."""
        thread = threading.get_ident()
        self._break(lambda recording: recording.forbids(thread), "cudaErrorStreamCaptureUnsupported: an unsafe call")

    def replay(self, actions: list[Action], stream: int) -> None:
        """Queue recorded work again, as one piece."""
        self._do(lambda: [action() for action in actions], stream)

    def _check_unrecorded(self, stream: int) -> None:
        """Looking at a captured stream breaks the capture (CUD-08)."""
        self._check_legacy(stream)
        with self._changed:
            if stream in self._recordings:
                self._recordings[stream].breaks("cudaErrorStreamCaptureUnsupported: the stream is being captured")

    def _check_legacy(self, *used: int) -> None:
        """Use of the legacy stream breaks the capture of a blocking one (CUD-09)."""
        if LEGACY in used:
            self._break(
                lambda recording: not self._blocking.isdisjoint(recording.streams),
                "cudaErrorStreamCaptureImplicit: the legacy stream is used while a blocking stream is being captured",
            )

    def _break(self, which: Callable[[Recording], bool], why: str) -> None:
        """Break these captures, if there are any; the call that did fails."""
        with self._changed:
            hit = [recording for recording in self._recordings.values() if which(recording)]
            for recording in hit:
                recording.broken = True
            if hit:
                raise CaptureError(why)

    def _before(self, stream: int) -> list[_Work]:
        """What new work of a stream comes after: its own, and between the legacy and the blocking streams each other's."""
        with self._changed:
            others = self._blocking if stream == LEGACY else {LEGACY} if stream in self._blocking else set()
            return [*self._of(stream), *(work for other in others for work in self._of(other))]

    def _of(self, stream: int) -> list[_Work]:
        """A stream's last work; :class:`NoSuchStream` for a handle that names none."""
        if stream not in self._last:
            raise NoSuchStream(stream)
        return self._last[stream]

    def _do(self, action: Action, stream: int) -> None:
        """Queue work, or record it."""
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


class _SimulatedGraph:
    """Recorded work, done all at once when its stream is ready."""

    def __init__(self, streams: SimulatedStreams, actions: list[Action]) -> None:
        self._streams = streams
        self._actions = actions

    def launch(self, stream: int) -> None:
        """Queue it as one piece of work."""
        self._streams.replay(self._actions, stream)

    def close(self) -> None:
        """Nothing to give back."""


@cache
def cuda(ordinal: int = 0) -> Streams:
    """The streams of a GPU, made at first use."""
    return CudaStreams(ordinal)


@cache
def simulated() -> SimulatedStreams:
    """The streams of the simulated device."""
    return SimulatedStreams()
