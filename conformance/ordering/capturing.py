"""Steps that run while a stream is being captured: whether the capture stays valid, and what a replay of it does.

The state of the stream after each step shows which step broke the capture. Allocating or freeing memory can break a capture by itself.
So all objects that a step needs are made before the capture, and all objects that it leaves are kept until after it.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cache, partial
from typing import Any

from conformance.adapters.base import Adapter, CAIOffer, Device, DLPackOffer, Protocol, Trait, peek, poke
from conformance.checks.exchange import brief
from conformance.checks.garbage import uncollected
from conformance.checks.outcomes import Failure, Inconclusive
from conformance.cuda.capture import Capturing, Mode
from conformance.protocols.clauses import Role
from conformance.protocols.dtypes import DLCode, DType
from conformance.reference.streams import LEGACY, Graph, Streams

from .handover import REFERENCE, SHAPE, elements, past_operand, stream_of
from .histories import History, fresh

END = "the end of the capture"

Step = tuple[str, Callable[[], object]]
"""The name of a step in a verdict, and its action."""


@dataclass
class Captured:
    """The result of a capture: a graph, or the step that failed.

    ``step`` is the failed step, and ``raised`` its exception. ``invalidated`` is true if CUDA invalidated the capture, and false if only the library
    refused. ``joined`` are the streams that the steps drew into the capture. The suite joined them again, which every program that captures has to do.
    """

    graph: Graph | None = None
    step: str = ""
    raised: str = ""
    invalidated: bool = False
    joined: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.graph is not None:
            return "a valid graph"
        how = "broke the capture" if self.invalidated else "raised, and the capture stayed valid"
        return f"{self.step} {how}" + (f": {self.raised}" if self.raised else ", and raised nothing")


def captured(
    streams: Streams, stream: int, steps: Sequence[Step], *, mode: Mode = Mode.GLOBAL, join: Sequence[int] = ()
) -> Captured:
    """Capture these steps on a stream, up to the first that fails. The capture is ended in every case.

    Streams in ``join`` that the steps drew into the capture are joined again. A :class:`Failure` of a step propagates.
    """
    seen = Captured()
    # Keeps the frames of the exceptions: freeing their objects during the capture could break it.
    errors: list[Exception] = []
    with uncollected():
        streams.begin_capture(stream, mode)
        try:
            _run(streams, stream, steps, seen, errors)
            if not seen.step:
                seen.joined = tuple(s for s in {*join} - {stream, LEGACY} if streams.capturing(s) is not Capturing.NO)
                for drawn_in in seen.joined:
                    streams.wait(stream, drawn_in)
        finally:
            _end(streams, stream, seen)
    findings = [error for error in errors if isinstance(error, Failure)]
    errors.clear()
    if findings:
        raise findings[0]
    return seen


def _run(streams: Streams, stream: int, steps: Sequence[Step], seen: Captured, errors: list[Exception]) -> None:
    for name, action in steps:
        try:
            action()
        except Exception as error:  # every exception is a result
            errors.append(error)
            seen.step, seen.raised = name, brief(error)
        if streams.capturing(stream) is not Capturing.ACTIVE:
            seen.step, seen.invalidated = name, True
        if seen.step:
            return


def _end(streams: Streams, stream: int, seen: Captured) -> None:
    try:
        graph = streams.end_capture(stream)
    except Exception as error:  # CUDA reports a broken capture when it is ended
        if not seen.step:
            seen.step, seen.raised, seen.invalidated = END, brief(error), True
        return
    if seen.step:
        graph.close()
    else:
        seen.graph = graph


@contextmanager
def unraisable() -> Iterator[list[str]]:
    """Collect the exceptions that destructors raise inside the block. Python does not propagate them."""
    told: list[str] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda raised: told.append(
        brief(raised.exc_value if isinstance(raised.exc_value, Exception) else None)
    )
    try:
        yield told
    finally:
        sys.unraisablehook = before


def streams_of(device: Device) -> Streams:
    """Return the streams of a device."""
    return REFERENCE.memory(device).streams()


@cache
def our_stream(device: Device, *, blocking: bool = False) -> int:
    """Return the handle of the suite's stream for captures. It is made once and kept, because a library may use it again later."""
    return streams_of(device).create(blocking=blocking)


@cache
def control(device: Device, *, blocking: bool = False) -> str:
    """Prove once that a host synchronization breaks a capture of this stream. Raise :class:`Inconclusive` if it does not."""
    streams, stream = streams_of(device), our_stream(device, blocking=blocking)
    seen = captured(streams, stream, [("a host synchronisation", lambda: streams.synchronize(stream))])
    if seen.graph is not None:
        seen.graph.close()
        raise Inconclusive(
            "the control did not fail, so a pass proves nothing: a capture stays valid through a host synchronization"
        )
    return str(seen)


# -- data that every operation copies exactly


@cache
def content(kind: DType, seed: int) -> bytes:
    """Return the elements of an operand: small whole numbers, another sequence for each seed from 0 to 3."""
    return b"".join(_element(kind, i, seed) for i in range(SHAPE[1]))


def _element(kind: DType, index: int, seed: int) -> bytes:
    if kind.code is DLCode.BOOL:
        return bytes([index >> seed & 1])
    number = (7 * index + 23 * seed) % 97 + 1
    if kind.code in (DLCode.INT, DLCode.UINT):
        return number.to_bytes(kind.itemsize, "little")
    if kind.code is DLCode.COMPLEX:
        return struct.pack({64: "<2f", 128: "<2d"}[kind.bits], number, -number)
    if kind.code is DLCode.BFLOAT:
        return struct.pack("<f", number)[2:]
    return struct.pack({16: "<e", 32: "<f", 64: "<d"}[kind.bits], number)


# -- the exchange


class Stand(str, Enum):
    """The stream that is captured, and the streams on which the two sides work."""

    SAME = "same"
    """The stream of both sides: they work on one stream."""
    CONSUMER = "consumer"
    """The consumer's stream. The producer's current stream is idle."""
    PRODUCER = "producer"
    """The producer's stream. The consumer works on a stream of its own."""
    NOBODY = "own"
    """A stream of the suite. Both sides work on streams of their own."""
    DEFAULTS = "default"
    """A stream of the suite. Both sides work on their default streams."""


@dataclass(frozen=True)
class Watch:
    """The state of the captured stream, for use while the producer answers."""

    streams: Streams
    stream: int

    @property
    def broken(self) -> bool:
        """Whether CUDA has invalidated the capture."""
        return self.streams.capturing(self.stream) is Capturing.INVALIDATED


class WatchedDLPack(DLPackOffer):
    """An offer that records whether the producer's method broke the capture. ``raised`` is the exception of its last call."""

    def __init__(self, source: Any, watch: Watch) -> None:
        super().__init__(source)
        self._watch = watch
        self.broke = False

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        before, self.raised = self._watch.broken, None
        try:
            return super().__dlpack__(*args, **kwargs)
        finally:
            self.broke = self.broke or (self._watch.broken and not before)


class WatchedCAI(CAIOffer):
    """An offer that records whether reading the producer's attribute broke the capture."""

    def __init__(self, source: Any, watch: Watch) -> None:
        super().__init__(source)
        self._watch = watch
        self.broke = False
        self.published: int | None = None
        """The stream in the newest dictionary."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        before = self._watch.broken
        try:
            described = super().__cuda_array_interface__
            self.published = described.get("stream")
            return described
        finally:
            self.broke = self.broke or (self._watch.broken and not before)


@dataclass(frozen=True)
class Sides:
    """The libraries of an exchange, the protocol, the device, and the array."""

    producer: Adapter
    consumer: Adapter
    protocol: Protocol
    device: Device
    kind: DType
    history: History = History.FRESH
    """The history of the producer's array."""


class Handover:
    """One exchange with its arrays and streams, prepared before a capture.

    ``captured`` is the handle of the stream to capture. It is ``captured_stream`` where the stream belongs to neither side.
    """

    def __init__(self, sides: Sides, stand: Stand, captured_stream: int = 0) -> None:
        self.sides = sides
        self.streams = streams_of(sides.device)
        self.stand = stand
        self.write_on, self.read_on = _streams_of(sides, stand)
        self.reader = sides.consumer.handle(self.read_on)
        self.writer = self.reader if self.write_on is None else sides.producer.handle(self.write_on)
        self.captured = captured_stream or (self.writer if stand is Stand.PRODUCER else self.reader)
        self.own_copy = not copies_in_capture(sides.consumer, sides.device, sides.kind)
        """Whether the consumer's own operation makes the copy. The suite copies where that operation cannot be captured."""
        fresh(sides.consumer)
        self.array = past_operand(sides.producer, sides.kind, sides.device, sides.history)
        self.into = sides.consumer.operand(sides.kind, SHAPE, sides.device)
        self._source = sides.producer.describe(self.array).address
        self._target = sides.consumer.describe(self.into).address
        self._nbytes = SHAPE[1] * sides.kind.itemsize
        self.watch = Watch(self.streams, self.captured)
        self.offers: list[WatchedDLPack | WatchedCAI] = []
        self.taken: list[Any] = []
        """All imports. The last one is used; the others are kept, because freeing them could break the capture."""

    # -- the steps

    def take(self) -> None:
        """Import the array, with each side on its stream."""
        sides = self.sides
        exporter = sides.producer.exporter(self.array, sides.protocol)
        offered = WatchedDLPack if sides.protocol is Protocol.DLPACK else WatchedCAI
        self.offers.append(offered(exporter, self.watch))
        with ExitStack() as current:
            if self.write_on is not None:
                current.enter_context(sides.producer.using(self.write_on))
            current.enter_context(sides.consumer.using(self.read_on))
            self.taken.append(sides.consumer.take_operand(self.offers[-1], sides.protocol, sides.device))

    def copy(self) -> None:
        """Queue a copy of the import to the consumer's own operand, on the consumer's stream."""
        if self.own_copy:
            self.sides.consumer.copy(self.into, self.taken[-1], self.read_on)
        else:
            address = self.sides.consumer.describe(self.taken[-1]).address
            self.streams.copy(self._target, address, self._nbytes, self.reader)

    def write(self, value: int) -> None:
        """Queue the producer's write of int32 elements, on its stream."""
        stream = self.read_on if self.write_on is None else self.write_on
        self.sides.producer.fill(self.array, value, stream)

    def write_by_ours(self, value: int) -> None:
        """Queue a write by the suite instead."""
        self.streams.fill(self._source, SHAPE[1], value, self.writer)

    @property
    def steps(self) -> list[Step]:
        """The steps of the exchange: the import and the copy."""
        return [("the exchange", self.take), (self.copying, self.copy)]

    @property
    def copying(self) -> str:
        """The name of the copy in a verdict."""
        return "the consumer's own copy" if self.own_copy else "the suite's copy"

    # -- the data

    def change(self, data: bytes) -> None:
        """Write this content to the source, and zeros to the target. Both are done on return."""
        poke(self._source, data, self.sides.device)
        poke(self._target, bytes(self._nbytes), self.sides.device)

    def read(self) -> bytes:
        """Return the content of the target. All work is done by then."""
        return peek(self._target, self._nbytes, self.sides.device)

    # -- outside of any capture

    def rehearse(self) -> None:
        """Run the exchange once, so that no lazy initialization happens in the capture. Exceptions of the exchange propagate.

        If the consumer's own copy does not give the same bytes, the suite copies from here on.
        """
        self.change(content(self.sides.kind, 0))
        self.take()
        if self.own_copy and not self._copies_right():
            self.own_copy = False
        if not self.own_copy and not self._copies_right():
            raise Inconclusive("the exchange gives wrong data even without a capture")

    def _copies_right(self) -> bool:
        try:
            self.copy()
            return self._done() == content(self.sides.kind, 0)
        except Exception:
            if self.own_copy:  # a library may lack the operation for this element type
                return False
            raise

    def repeat(self) -> tuple[str, Role | None]:
        """Repeat the exchange after the capture. Return the error, empty if there is none, and the side that raised."""
        self.change(content(self.sides.kind, 3))
        try:
            self.take()
            self.copy()
            data = self._done()
        except Exception as error:  # every exception is a result
            by_producer = bool(self.offers) and self.offers[-1].raised is not None
            return brief(error), Role.PRODUCER if by_producer else Role.CONSUMER
        return "" if data == content(self.sides.kind, 3) else "the data are wrong", None

    def _done(self) -> bytes:
        self.streams.synchronize_device()
        return self.read()

    # -- what was seen

    def published(self) -> int | None:
        """Return the stream in the producer's newest dictionary."""
        return self.offers[-1].published if self.offers and isinstance(self.offers[-1], WatchedCAI) else None

    def asked_streams(self) -> set[int | None]:
        """Return the stream of the consumer's last call of ``__dlpack__``, ``None`` where it passed no stream."""
        calls = self.offers[-1].calls if self.offers and isinstance(self.offers[-1], WatchedDLPack) else []
        return {keywords.get("stream", arguments[0] if arguments else None) for arguments, keywords in calls[-1:]}

    def blame(self, seen: Captured) -> tuple[Role, str]:
        """Return the side that broke the capture, and the place."""
        in_export = bool(self.offers) and (self.offers[-1].broke or self.offers[-1].raised is not None)
        if seen.step == "the exchange" and in_export:
            return Role.PRODUCER, f"{self.sides.producer.name}'s export"
        if seen.step == END:
            return Role.CONSUMER, "a stream that was drawn into the capture and not joined again"
        return Role.CONSUMER, f"{self.sides.consumer.name}'s import" if seen.step == "the exchange" else seen.step


def _streams_of(sides: Sides, stand: Stand) -> tuple[Any, Any]:
    """Return the producer's stream, ``None`` where it is the same object as the consumer's, and the consumer's stream."""
    producer, consumer, device = sides.producer, sides.consumer, sides.device
    if stand is Stand.DEFAULTS:
        return producer.default_stream(device), consumer.default_stream(device)
    if stand is not Stand.SAME:
        return stream_of(producer, "producer", device), stream_of(consumer, "consumer", device)
    if producer is consumer:
        return None, stream_of(consumer, "consumer", device)
    if Trait.FOREIGN_STREAM in producer.traits:
        read_on = stream_of(consumer, "consumer", device)
        return producer.foreign_stream(consumer.handle(read_on), device), read_on
    write_on = stream_of(producer, "producer", device)
    return write_on, consumer.foreign_stream(producer.handle(write_on), device)


@cache
def copies_in_capture(library: Adapter, device: Device, kind: DType) -> str:
    """Return why a library's copy between two arrays of its own cannot be captured, or an empty text if it can."""
    streams, stream = streams_of(device), stream_of(library, "consumer", device)
    handle, nbytes = library.handle(stream), SHAPE[1] * kind.itemsize
    array, into = (library.operand(kind, SHAPE, device) for _ in range(2))
    source, target = library.describe(array).address, library.describe(into).address

    def copied(seed: int, act: Callable[[], object]) -> bool:
        poke(source, content(kind, seed), device)
        poke(target, bytes(nbytes), device)
        act()
        streams.synchronize_device()
        return peek(target, nbytes, device) == content(kind, seed)

    copy = partial(library.copy, into, array, stream)
    try:
        if not copied(0, copy):
            return "it does not give the same bytes"
    except Exception as error:  # a library may lack the operation for this element type
        return brief(error)
    seen = captured(streams, handle, [("a copy of its own array", copy)])
    if seen.graph is None:
        return str(seen)
    right = copied(1, partial(seen.graph.launch, handle))
    seen.graph.close()
    return "" if right else "its replay does not copy"


@cache
def writes_in_capture(library: Adapter, device: Device, kind: DType) -> str:
    """Return why a library's write to an array of its own cannot be captured, or an empty text if it can."""
    streams, stream = streams_of(device), stream_of(library, "producer", device)
    handle, array = library.handle(stream), library.operand(kind, SHAPE, device)
    library.fill(array, 1, stream)
    streams.synchronize_device()
    seen = captured(streams, handle, [("a write to its own array", partial(library.fill, array, 2, stream))])
    if seen.graph is None:
        return str(seen)
    seen.graph.launch(handle)
    streams.synchronize_device()
    seen.graph.close()
    right = peek(library.describe(array).address, 4 * SHAPE[1], device) == elements(2)
    return "" if right else "its replay does not write"


def replayed(work: Handover, graph: Graph, *, times: int = 1) -> str:
    """Change the source and launch the graph, ``times`` times, then close the graph.

    Return a description of the data that arrived wrongly, or an empty text.
    """
    try:
        for seed in range(1, times + 1):
            new = content(work.sides.kind, seed)
            work.change(new)
            graph.launch(work.captured)
            work.streams.synchronize(work.captured)
            if (arrived := work.read()) != new:
                return _told(work, arrived, seed)
    finally:
        graph.close()
    return ""


def _told(work: Handover, arrived: bytes, seed: int) -> str:
    if arrived == bytes(len(arrived)):
        return "no data: the target is unchanged"
    older = [s for s in range(seed) if arrived == content(work.sides.kind, s)]
    return "the old data" if older else f"neither the old nor the new data: {arrived[:16].hex()} …"
