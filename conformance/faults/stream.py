"""Faults of the family ``stream``: wrong statements about a stream, and misuse of another library's stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.streams import LEGACY, PER_THREAD, Current, WorkStream, current

from . import fault

# The stream that is published


@fault("stream.published", bugs="stream-06 stream-08")
class PublishesZero(Exporter):
    """Publishes the default stream as 0, which the interface forbids."""

    def cai_stream(self) -> int | None:
        published = super().cai_stream()
        return 0 if published == LEGACY else published


@fault("stream.published", bugs="stream-24")
class PublishesDefault(Exporter):
    """Publishes the default stream, whatever stream wrote the array."""

    def cai_stream(self) -> int | None:
        return LEGACY


@fault("stream.published")
class PublishesNoStream(Exporter):
    """Publishes a number that is not the handle of a stream."""

    def cai_stream(self) -> int | None:
        return None if self.writer is None else self.writer.handle + 8


@fault("stream.none-means-done")
class PublishesNoneOfViews(Exporter):
    """Publishes no stream for a strided view although writes are queued."""

    def cai_stream(self) -> int | None:
        return super().cai_stream() if self.contiguous else None


@fault("stream.none-means-done", bugs="stream-10")
class PublishesNone(Exporter):
    """Publishes no stream although writes are queued."""

    def cai_stream(self) -> int | None:
        return None


@fault("stream.none-means-done", bugs="stream-10")
class PublishesNoneForDefault(Exporter):
    """Publishes no stream if the writes are queued on a default stream."""

    def cai_stream(self) -> int | None:
        published = super().cai_stream()
        return None if published in (LEGACY, PER_THREAD) else published


@fault("stream.none-means-done", bugs="stream-10")
class PublishesInsideOnly(Exporter):
    """Publishes the writer's stream only while it is current."""

    def cai_stream(self) -> int | None:
        published = super().cai_stream()
        return published if published == current() else None


@fault("stream.published", "ordering.handover", bugs="stream-02")
class PublishesCurrent(Exporter):
    """Publishes the stream that is current at the time of the export in place of the writer's stream."""

    def cai_stream(self) -> int | None:
        return current()


@fault("stream.outlives", bugs="stream-09")
class KeepsBareHandle(Exporter):
    """Publishes a stream that is destroyed with its user's object."""

    def fill(self, value: int, stream: WorkStream) -> None:
        super().fill(value, stream)
        self.writer = WorkStream(self.memory.streams(), stream.handle)


@fault("stream.outlives", bugs="stream-09")
class PublishesPassingStream(Exporter):
    """Publishes a temporary stream for each dictionary and destroys it on return."""

    def cai_stream(self) -> int | None:
        if self.writer is None:
            return None
        streams = self.memory.streams()
        passing = WorkStream(streams)
        streams.wait(passing.handle, self.writer.handle)
        return passing.handle


@fault("stream.published", "stream.outlives")
class PublishesIdleStream(Exporter):
    """Publishes an idle stream of the array's own, on which no work is queued."""

    idle: WorkStream | None = None

    def cai_stream(self) -> int | None:
        self.idle = self.idle or WorkStream(self.memory.streams())
        return self.idle.handle


# The stream that is passed to __dlpack__


@fault("stream.passed-on", bugs="stream-12")
class PassesDefault(Importer):
    """Passes the default stream to the producer, whatever stream uses the import."""

    def stream(self) -> int | None:
        return LEGACY


@fault("stream.passed-on", bugs="stream-08")
class PassesZero(Importer):
    """Passes the default stream to the producer as 0."""

    def stream(self) -> int | None:
        return 0 if self.work_stream == LEGACY else self.work_stream


@fault("stream.passed-on")
class PassesMinusOne(Importer):
    """Passes -1 to the producer and does not synchronize itself."""

    def stream(self) -> int | None:
        return -1


@fault("stream.not-kept")
class NeedsConsumersStream(Exporter):
    """Makes every later write of the producer wait for the consumer's stream, which may be destroyed."""

    consumers: int | None = None

    def order(self, stream: int | None) -> None:
        super().order(stream)
        self.consumers = stream

    def fill(self, value: int, stream: WorkStream) -> None:
        if self.consumers is not None:
            self.memory.streams().wait(stream.handle, self.consumers)
        super().fill(value, stream)


@fault("stream.not-kept")
class DestroysConsumersStream(Exporter):
    """Destroys the consumer's stream after the export."""

    def order(self, stream: int | None) -> None:
        super().order(stream)
        if stream is not None and stream > LEGACY:
            self.memory.streams().destroy(stream)


@fault("stream.not-kept")
class WritesOnConsumersStream(Exporter):
    """Queues the producer's later work on the consumer's stream, and ignores errors once that stream is destroyed."""

    consumers: int | None = None

    def order(self, stream: int | None) -> None:
        super().order(stream)
        self.consumers = stream

    def fill(self, value: int, stream: WorkStream) -> None:
        if self.consumers is None:
            super().fill(value, stream)
        else:
            with suppress(Exception):
                self.memory.streams().fill(self.element0(), self.view.size, value, self.consumers)


# __cuda_stream__ of an exporter


class _NoMethod(WorkStream):
    __cuda_stream__ = property()


class _Attribute(WorkStream):
    @property
    def __cuda_stream__(self) -> Any:
        return 0, self.handle


class _HandleAlone(WorkStream):
    def __cuda_stream__(self) -> Any:
        return self.handle


class _Text(WorkStream):
    def __cuda_stream__(self) -> Any:
        return 0, hex(self.handle)


class _Version(WorkStream):
    def __cuda_stream__(self) -> Any:
        return 1, self.handle


class _Default(WorkStream):
    def __cuda_stream__(self) -> Any:
        return 0, LEGACY


class _Zero(WorkStream):
    def __cuda_stream__(self) -> Any:
        return 0, 0 if self.handle == LEGACY else self.handle


class _Handle(int):
    """A subclass of int."""


class _Typed(WorkStream):
    def __cuda_stream__(self) -> Any:
        return 0, _Handle(self.handle)


class _Raises(WorkStream):
    def __cuda_stream__(self) -> Any:
        raise KeyError("handle")


@fault("stream.protocol-form")
class StreamWithoutProtocol(Exporter):
    """Has no ``__cuda_stream__`` on its streams."""

    stream_class = _NoMethod


@fault("stream.protocol-form")
class StreamAsAttribute(Exporter):
    """Has ``__cuda_stream__`` as an attribute in place of a method."""

    stream_class = _Attribute


@fault("stream.protocol-form")
class StreamAsHandle(Exporter):
    """Returns the handle without a version from ``__cuda_stream__``."""

    stream_class = _HandleAlone


@fault("stream.protocol-form")
class StreamAsText(Exporter):
    """Returns the handle as a string from ``__cuda_stream__``."""

    stream_class = _Text


@fault("stream.protocol-form")
class StreamOfAnotherVersion(Exporter):
    """Returns version 1, which does not exist, from ``__cuda_stream__``."""

    stream_class = _Version


@fault("stream.protocol-form", "stream.protocol-work", bugs="stream-13")
class StreamAsDefault(Exporter):
    """Returns the default stream's handle from every ``__cuda_stream__``."""

    stream_class = _Default


@fault("stream.protocol-form")
class DefaultStreamAsZero(Exporter):
    """Returns 0 for the default stream from ``__cuda_stream__``."""

    stream_class = _Zero


@fault("stream.protocol-form")
class StreamRaises(Exporter):
    """Raises ``KeyError`` in ``__cuda_stream__``."""

    stream_class = _Raises


@fault("stream.protocol-form")
class StreamAsTypedHandle(Exporter):
    """Returns the handle as an instance of a subclass of int from ``__cuda_stream__``."""

    stream_class = _Typed


# __cuda_stream__ of an importer


@fault("stream.protocol-handle", "stream.protocol-work", bugs="stream-13")
class MakesAnotherStream(Importer):
    """Creates a new stream in place of importing one."""

    def foreign_stream(self, handle: int, owner: Any) -> WorkStream:
        return WorkStream(self.memory.streams())


@fault("stream.protocol-handle", "stream.protocol-work")
class TakesOwnStreamsOnly(Importer):
    """Refuses streams of other libraries although they have ``__cuda_stream__``."""

    def take_stream(self, source: Any) -> WorkStream:
        raise TypeError("not a stream of ours")


@fault("stream.protocol-refusal")
class TakesEveryVersion(Importer):
    """Ignores the version that ``__cuda_stream__`` returns."""

    def stream_handle(self, answer: Any) -> int:
        return super().stream_handle((0, answer[1]) if isinstance(answer, tuple) and len(answer) == 2 else answer)


@fault("stream.protocol-refusal")
class TakesAnyHandle(Importer):
    """Converts a handle that is not an int."""

    def stream_handle(self, answer: Any) -> int:
        return super().stream_handle(
            (answer[0], int(answer[1])) if isinstance(answer, tuple) and len(answer) == 2 else answer
        )


@fault("stream.protocol-refusal")
class StumblesOverShortAnswers(Importer):
    """Raises ``IndexError`` if ``__cuda_stream__`` returns a tuple that is too short."""

    def stream_handle(self, answer: Any) -> int:
        return super().stream_handle((answer[0], answer[1]))


@fault("stream.protocol-refusal")
class TakesNoStreamForDefault(Importer):
    """Imports an object that is not a stream as the default stream."""

    def take_stream(self, source: Any) -> WorkStream:
        try:
            return super().take_stream(source)
        except TypeError:
            return self.foreign_stream(LEGACY, source)


@fault("stream.protocol-refusal")
class StumblesAfterRefusal(Importer):
    """Imports the default stream in place of the stream that follows a refused one."""

    stumbled: ClassVar[bool] = False

    def take_stream(self, source: Any) -> WorkStream:
        stumbled, StumblesAfterRefusal.stumbled = self.stumbled, True
        taken = super().take_stream(source)
        StumblesAfterRefusal.stumbled = False
        return self.foreign_stream(LEGACY, source) if stumbled else taken


@fault("stream.protocol-owner")
class ForgetsOwner(Importer):
    """Holds no reference to the object that a stream was imported from."""

    def foreign_stream(self, handle: int, owner: Any) -> WorkStream:
        return super().foreign_stream(handle, None)


class _Owning(WorkStream):
    def __init__(self, streams: Any, handle: int, owner: Any) -> None:
        super().__init__(streams, handle, owner)
        self._owned = True


@fault("stream.protocol-owner")
class DestroysImported(Importer):
    """Destroys an imported stream."""

    def foreign_stream(self, handle: int, owner: Any) -> WorkStream:
        return _Owning(self.memory.streams(), handle, owner)


# The current stream


class _RestoresUnlessRaising(Current):
    @contextmanager
    def using(self, handle: int) -> Iterator[None]:
        before, self.handle = self.handle, handle
        yield
        self.handle = before


class _RestoresDefault(Current):
    @contextmanager
    def using(self, handle: int) -> Iterator[None]:
        self.handle = handle
        try:
            yield
        finally:
            self.handle = LEGACY


class _EndsWithItsStream(Current):
    @contextmanager
    def using(self, handle: int) -> Iterator[None]:
        before, self.handle = self.handle, handle
        try:
            yield
        finally:
            self.handle = LEGACY if before == handle else before


class _Swallows(Current):
    @contextmanager
    def using(self, handle: int) -> Iterator[None]:
        with suppress(Exception), super().using(handle):
            yield


@fault("stream.nested")
class StaysCurrentWhenRaising(Importer):
    """Leaves the stream of a ``with`` block current if the block raises."""

    current_class = _RestoresUnlessRaising


@fault("stream.nested")
class ForgetsOuterBlock(Importer):
    """Makes the default stream current at the end of a ``with`` block in place of the outer block's stream."""

    current_class = _RestoresDefault


@fault("stream.nested")
class EndsWithItsStream(Importer):
    """Makes the default stream current at the end of a ``with`` block if its stream was already current before it."""

    current_class = _EndsWithItsStream


@fault("stream.nested")
class SwallowsInBlock(Importer):
    """Suppresses exceptions that are raised in a ``with`` block."""

    current_class = _Swallows


@fault("stream.current-unchanged", bugs="stream-01")
class ImportChangesCurrent(Importer):
    """Leaves the default stream current after an import."""

    def take_capsule(self, offered: Any) -> Imported:
        if self.current is not None:
            self.current.handle = LEGACY
        return super().take_capsule(offered)


@fault("stream.current-unchanged")
class RefusalChangesCurrent(Importer):
    """Does not restore the current stream if an import by the array interface fails."""

    def take_cai(self, source: Any) -> Imported:
        if self.current is None:
            return super().take_cai(source)
        before, self.current.handle = self.current.handle, LEGACY
        taken = super().take_cai(source)
        self.current.handle = before
        return taken
