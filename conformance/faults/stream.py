"""Faults of the family ``stream``: what is said about a stream, and what is done with somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

from conformance.reference.exporter import Exporter
from conformance.reference.importer import Imported, Importer
from conformance.reference.streams import LEGACY, PER_THREAD, Current, WorkStream, current

from . import fault

# -- what is published


@fault("stream.published", bugs="stream-06 stream-08")
class PublishesZero(Exporter):
    """The default stream is published as 0, which the interface forbids."""

    def cai_stream(self) -> int | None:
        """As the runtime has it."""
        published = super().cai_stream()
        return 0 if published == LEGACY else published


@fault("stream.published", bugs="stream-24")
class PublishesDefault(Exporter):
    """The default stream is published, whatever stream the array was written on."""

    def cai_stream(self) -> int | None:
        """Never the writer's."""
        return LEGACY


@fault("stream.published")
class PublishesNoStream(Exporter):
    """The number that is published is no stream's handle."""

    def cai_stream(self) -> int | None:
        """Off by a little."""
        return None if self.writer is None else self.writer.handle + 8


@fault("stream.none-means-done")
class PublishesNoneOfViews(Exporter):
    """No stream is published of a strided view though writes of its elements are queued."""

    def cai_stream(self) -> int | None:
        """Only of packed arrays."""
        return super().cai_stream() if self.contiguous else None


@fault("stream.none-means-done", bugs="stream-10")
class PublishesNone(Exporter):
    """No stream is published though writes are queued."""

    def cai_stream(self) -> int | None:
        """Says that nothing is pending."""
        return None


@fault("stream.none-means-done", bugs="stream-10")
class PublishesNoneForDefault(Exporter):
    """The default stream is not named, as if everybody waited for it anyway."""

    def cai_stream(self) -> int | None:
        """Only a stream that was made."""
        published = super().cai_stream()
        return None if published in (LEGACY, PER_THREAD) else published


@fault("stream.none-means-done", bugs="stream-10")
class PublishesInsideOnly(Exporter):
    """The stream that was written on is named only while it is the current one."""

    def cai_stream(self) -> int | None:
        """Forgotten with the end of the block."""
        published = super().cai_stream()
        return published if published == current() else None


@fault("stream.published", "ordering.handover", bugs="stream-02")
class PublishesCurrent(Exporter):
    """The stream that is current when the dictionary is read is published, not the one that was written on."""

    def cai_stream(self) -> int | None:
        """The caller's."""
        return current()


@fault("stream.outlives", bugs="stream-09")
class KeepsBareHandle(Exporter):
    """The stream that is published lives no longer than its user's object."""

    def fill(self, value: int, stream: WorkStream) -> None:
        """Remembers a number, not what it belongs to."""
        super().fill(value, stream)
        self.writer = WorkStream(self.memory.streams(), stream.handle)


@fault("stream.outlives", bugs="stream-09")
class PublishesPassingStream(Exporter):
    """Each dictionary names a stream of its own, which has waited for the writes and goes with the object made for it."""

    def cai_stream(self) -> int | None:
        """Destroyed on return."""
        if self.writer is None:
            return None
        streams = self.memory.streams()
        passing = WorkStream(streams)
        streams.wait(passing.handle, self.writer.handle)
        return passing.handle


@fault("stream.published", "stream.outlives")
class PublishesIdleStream(Exporter):
    """Each array has a stream of its own and names that one, though nothing is ever queued on it."""

    idle: WorkStream | None = None

    def cai_stream(self) -> int | None:
        """A live one that comes after nothing."""
        self.idle = self.idle or WorkStream(self.memory.streams())
        return self.idle.handle


# -- the stream of a call of __dlpack__


@fault("stream.passed-on", bugs="stream-12")
class PassesDefault(Importer):
    """The default stream is passed to the producer, whatever stream the import is used on."""

    def stream(self) -> int | None:
        """Never the current one."""
        return LEGACY


@fault("stream.passed-on", bugs="stream-08")
class PassesZero(Importer):
    """The default stream is passed to the producer as 0."""

    def stream(self) -> int | None:
        """As the runtime has it."""
        return 0 if self.work_stream == LEGACY else self.work_stream


@fault("stream.passed-on")
class PassesMinusOne(Importer):
    """The producer is told not to synchronise, and nobody else does."""

    def stream(self) -> int | None:
        """Opts out of order."""
        return -1


@fault("stream.not-kept")
class NeedsConsumersStream(Exporter):
    """After an export every write of the producer waits for the consumer's stream, which may be gone."""

    consumers: int | None = None

    def order(self, stream: int | None) -> None:
        """Remembers whom it was exported for."""
        super().order(stream)
        self.consumers = stream

    def fill(self, value: int, stream: WorkStream) -> None:
        """A way back that DLPack has not."""
        if self.consumers is not None:
            self.memory.streams().wait(stream.handle, self.consumers)
        super().fill(value, stream)


@fault("stream.not-kept")
class DestroysConsumersStream(Exporter):
    """The consumer's stream is wrapped in an object that owns it, and destroyed with that object."""

    def order(self, stream: int | None) -> None:
        """Owns what it was only told."""
        super().order(stream)
        if stream is not None and stream > LEGACY:
            self.memory.streams().destroy(stream)


@fault("stream.not-kept")
class WritesOnConsumersStream(Exporter):
    """After an export the producer works on the consumer's stream, and does not notice when that is gone."""

    consumers: int | None = None

    def order(self, stream: int | None) -> None:
        """Remembers whom it was exported for."""
        super().order(stream)
        self.consumers = stream

    def fill(self, value: int, stream: WorkStream) -> None:
        """Where the array was last seen."""
        if self.consumers is None:
            super().fill(value, stream)
        else:
            with suppress(Exception):
                self.memory.streams().fill(self.element0(), self.view.size, value, self.consumers)


# -- __cuda_stream__ of an exporter


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
    """A number with a type of its own."""


class _Typed(WorkStream):
    def __cuda_stream__(self) -> Any:
        return 0, _Handle(self.handle)


class _Raises(WorkStream):
    def __cuda_stream__(self) -> Any:
        raise KeyError("handle")


@fault("stream.protocol-form")
class StreamWithoutProtocol(Exporter):
    """Streams have no ``__cuda_stream__``."""

    stream_class = _NoMethod


@fault("stream.protocol-form")
class StreamAsAttribute(Exporter):
    """``__cuda_stream__`` is an attribute, not a method."""

    stream_class = _Attribute


@fault("stream.protocol-form")
class StreamAsHandle(Exporter):
    """``__cuda_stream__`` gives the handle without a version."""

    stream_class = _HandleAlone


@fault("stream.protocol-form")
class StreamAsText(Exporter):
    """``__cuda_stream__`` gives the handle as text."""

    stream_class = _Text


@fault("stream.protocol-form")
class StreamOfAnotherVersion(Exporter):
    """``__cuda_stream__`` gives a version that there is not."""

    stream_class = _Version


@fault("stream.protocol-form", "stream.protocol-work", bugs="stream-13")
class StreamAsDefault(Exporter):
    """``__cuda_stream__`` gives the default stream's handle for every stream."""

    stream_class = _Default


@fault("stream.protocol-form")
class DefaultStreamAsZero(Exporter):
    """``__cuda_stream__`` gives 0 for the default stream."""

    stream_class = _Zero


@fault("stream.protocol-form")
class StreamRaises(Exporter):
    """``__cuda_stream__`` raises."""

    stream_class = _Raises


@fault("stream.protocol-form")
class StreamAsTypedHandle(Exporter):
    """``__cuda_stream__`` gives the handle as a number of another type than int, if derived from it."""

    stream_class = _Typed


# -- __cuda_stream__ of an importer


@fault("stream.protocol-handle", "stream.protocol-work", bugs="stream-13")
class MakesAnotherStream(Importer):
    """An imported stream is a new one."""

    def foreign_stream(self, handle: int, owner: Any) -> WorkStream:
        """As a constructor may that knows no other way."""
        return WorkStream(self.memory.streams())


@fault("stream.protocol-handle", "stream.protocol-work")
class TakesOwnStreamsOnly(Importer):
    """Streams of other libraries are refused although they follow the protocol."""

    def take_stream(self, source: Any) -> WorkStream:
        """By type, not by protocol."""
        raise TypeError("not a stream of ours")


@fault("stream.protocol-refusal")
class TakesEveryVersion(Importer):
    """The version in the answer of ``__cuda_stream__`` is not looked at."""

    def stream_handle(self, answer: Any) -> int:
        """The last of two."""
        return super().stream_handle((0, answer[1]) if isinstance(answer, tuple) and len(answer) == 2 else answer)


@fault("stream.protocol-refusal")
class TakesAnyHandle(Importer):
    """A handle that is no int is made one."""

    def stream_handle(self, answer: Any) -> int:
        """``int`` of anything."""
        return super().stream_handle(
            (answer[0], int(answer[1])) if isinstance(answer, tuple) and len(answer) == 2 else answer
        )


@fault("stream.protocol-refusal")
class StumblesOverShortAnswers(Importer):
    """An answer of ``__cuda_stream__`` that is too short ends in an ``IndexError``."""

    def stream_handle(self, answer: Any) -> int:
        """Believes what it gets."""
        return super().stream_handle((answer[0], answer[1]))


@fault("stream.protocol-refusal")
class TakesNoStreamForDefault(Importer):
    """What is no stream becomes the default stream."""

    def take_stream(self, source: Any) -> WorkStream:
        """Rather than an exception."""
        try:
            return super().take_stream(source)
        except TypeError:
            return self.foreign_stream(LEGACY, source)


@fault("stream.protocol-refusal")
class StumblesAfterRefusal(Importer):
    """The stream that is imported after one that was refused becomes the default stream."""

    stumbled: ClassVar[bool] = False

    def take_stream(self, source: Any) -> WorkStream:
        """What went wrong before shows now."""
        stumbled, StumblesAfterRefusal.stumbled = self.stumbled, True
        taken = super().take_stream(source)
        StumblesAfterRefusal.stumbled = False
        return self.foreign_stream(LEGACY, source) if stumbled else taken


@fault("stream.protocol-owner")
class ForgetsOwner(Importer):
    """The object that a stream was imported from is not kept."""

    def foreign_stream(self, handle: int, owner: Any) -> WorkStream:
        """Only the handle."""
        return super().foreign_stream(handle, None)


class _Owning(WorkStream):
    def __init__(self, streams: Any, handle: int, owner: Any) -> None:
        super().__init__(streams, handle, owner)
        self._owned = True


@fault("stream.protocol-owner")
class DestroysImported(Importer):
    """An imported stream is destroyed with the object that was made for it."""

    def foreign_stream(self, handle: int, owner: Any) -> WorkStream:
        """As if it were ours."""
        return _Owning(self.memory.streams(), handle, owner)


# -- which stream is current


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
    """A block that raises leaves its stream current."""

    current_class = _RestoresUnlessRaising


@fault("stream.nested")
class ForgetsOuterBlock(Importer):
    """A block leaves the default stream current, not that of the block around it."""

    current_class = _RestoresDefault


@fault("stream.nested")
class EndsWithItsStream(Importer):
    """A block of the stream that is current already ends the block around it: behind it the default stream is current."""

    current_class = _EndsWithItsStream


@fault("stream.nested")
class SwallowsInBlock(Importer):
    """A block swallows what is raised in it."""

    current_class = _Swallows


@fault("stream.current-unchanged", bugs="stream-01")
class ImportChangesCurrent(Importer):
    """An import leaves the default stream current."""

    def take_capsule(self, offered: Any) -> Imported:
        """Works on the default stream and does not go back."""
        if self.current is not None:
            self.current.handle = LEGACY
        return super().take_capsule(offered)


@fault("stream.current-unchanged")
class RefusalChangesCurrent(Importer):
    """An import that fails does not restore the stream that was current."""

    def take_cai(self, source: Any) -> Imported:
        """Restores only in the end."""
        if self.current is None:
            return super().take_cai(source)
        before, self.current.handle = self.current.handle, LEGACY
        taken = super().take_cai(source)
        self.current.handle = before
        return taken
