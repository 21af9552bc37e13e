"""Family ``stream``: streams that producers publish and consumers pass, ``__cuda_stream__``, and the current stream.

The family ``ordering`` checks the order of the work itself. This family uses a latch only where a handle alone proves
nothing: a producer may publish any stream that covers the pending work.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NoReturn

from conformance.adapters.base import Adapter, CAIOffer, Device, DLPackOffer, Protocol, Trait, Unsupported
from conformance.checks.catalogue import Draft, Isolation, Needs, every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import UNCLEAN, Exchange, brief, collect
from conformance.checks.libraries import Environment, Library, Pair
from conformance.checks.outcomes import Inconclusive, Refused, Side, fail
from conformance.checks.steps import Doing
from conformance.ordering import wording
from conformance.ordering.evidence import overtaken, published_duty
from conformance.ordering.handover import (
    NEW,
    OLD,
    REFERENCE,
    Forward,
    How,
    Setting,
    external_stream,
    filled,
    holds,
    stream_of,
)
from conformance.ordering.observation import Seen, Work, observe
from conformance.ordering.published_streams import (  # fmt: skip
    Dropped,
    Gone,
    OnImported,
    Published,
    described_while_pending,
    is_given_out_again,
    named,
)
from conformance.protocols.clauses import Level, Role
from conformance.protocols.strided import Index
from conformance.reference.importer import Importer
from conformance.reference.streams import LEGACY, PER_THREAD, Streams

_ON = (Device.CUDA, Device.SIMULATED)


def _roles(library: Library) -> tuple[str, ...]:
    """Return the kinds of streams that a library has: its own, its default one, the per-thread one, and an external one."""
    found = ["stream", "default"]
    if library.has(Trait.PER_THREAD_STREAM):
        found.append("per-thread")
    if library.has(Trait.FOREIGN_STREAM):
        found.append("foreign")
    return tuple(found)


def _producers(env: Environment) -> Iterator[Pair]:
    """Yield every library with streams that publishes arrays, once."""
    return (pair for pair in env.exports(Protocol.CAI, on=_ON) if pair.producer.has(Trait.STREAMS))


def _importers(pairs: Iterator[Pair]) -> Iterator[Pair]:
    """Yield pairs whose consumer imports objects with ``__cuda_stream__``."""
    return (pair for pair in pairs if pair.consumer.has(Trait.STREAM_PROTOCOL))


def _written(pair: Pair) -> tuple[str, ...]:
    return _roles(pair.producer)


def _read(pair: Pair) -> tuple[str, ...]:
    """Return the values of ``read``. A library without a current stream can only be ``inside``."""
    return ("inside", "elsewhere") if pair.producer.has(Trait.CURRENT_STREAM) else ("inside",)


def _stream(library: Adapter, role: str, device: Device) -> Any:
    return stream_of(library, "producer" if role == "stream" else role, device)


def _streams(exchange: Exchange) -> Streams:
    return REFERENCE.memory(exchange.device).streams()


# -- the stream that a producer publishes


def _published(exchange: Exchange, *, instead: int | None = None) -> Published:
    producer, device = exchange.producer, exchange.device
    write_on = _stream(producer, exchange.option("written"), device)
    inside = exchange.option("read") == "inside"
    current = write_on if inside else stream_of(producer, "elsewhere", device)
    step = _EVERY_SECOND if exchange.option("part", "") == "strided" else None
    return Published(producer, device, write_on, current, instead=instead, step=step)


_EVERY_SECOND = Index((slice(None), slice(None, None, 2)))
"""The step that makes a strided view."""


def _publishing(env: Environment) -> Iterator[Draft]:
    """Yield cases with whole arrays, then one with a strided view."""
    yield from every(_producers(env), written=_written, read=_read)
    strided = (pair for pair in _producers(env) if "stepped" in pair.source.layouts)
    yield from every(strided, written=lambda pair: _written(pair)[:1], read=("inside",), part=("strided",))


@invariant(
    "stream.published",
    producer="CAI-22 CAI-16",
    context="CAI-30",
    bugs="I14 I16",
    level=Level.MUST,
    needs=Needs.GPU,
    exclusive=True,
    cases=_publishing,
)
def test_published(exchange: Exchange) -> None:
    """A producer must publish a live stream other than 0, and a wait for that stream must cover every pending write.

    A latch holds the stream of the write, and the write is queued behind it. The dictionary is read while that stream
    is current, or while another one is. The producer may name any stream that covers the write.
    """
    streams = _streams(exchange)
    made = _published(exchange)
    made.before()
    stream = _live(exchange, _described(exchange, made), known=(made.writer, made.current))
    seen = _seen(exchange, lambda: _published(exchange))
    if not seen.in_order:
        current = "its current stream, " if stream == made.current else ""
        fail(
            Code.STREAM_NOT_COVERING,
            "CAI-22",
            role=Role.PRODUCER,
            reason="the published stream does not cover the pending write",
            expected=f"a stream that comes after {wording.stream(made.writer)}, on which the write is pending",
            seen=f"the producer publishes {current}{wording.stream(stream)}; {seen.told} after a wait for that stream",
            given="",
        )
    exchange.notes["control"] = overtaken(
        streams, [("the same, without a wait", lambda: _published(exchange, instead=0))]
    )
    if stream != made.writer:  # the producer must have ordered that stream, and not the device by chance
        exchange.notes["control of the stream"] = overtaken(
            streams, [("the same, without reading the dictionary", lambda: _published(exchange, instead=stream))]
        )


@invariant(
    "stream.none-means-done",
    producer="CAI-22",
    context="CAI-23 CAI-30",
    level=Level.MUST,
    needs=Needs.GPU,
    exclusive=True,
    cases=_publishing,
)
def test_none_means_done(exchange: Exchange) -> None:
    """A producer must publish a stream while work on the array is pending, if its dictionary has version 3 or newer.

    A latch holds the stream of the write while the dictionary is read. A read that overtakes the write proves that the write was pending.
    Dictionaries of version 2 promise nothing.
    """
    try:
        described = described_while_pending(_streams(exchange), lambda: _published(exchange))
    except (Inconclusive, Unsupported):
        raise
    except Exception as error:
        _refuse(exchange, error)
    if described is None:
        exchange.notes["seen"] = "reading the dictionary waits for the write"
        return
    if described.get("version", 0) < 3:
        raise Refused(
            f"{exchange.producer.name} publishes version {described.get('version')}, which defines no stream (CAI-30)"
        )
    if described.get("stream") is None:
        exchange.notes["pending"] = overtaken(
            _streams(exchange), [("a read that waits for nothing", lambda: _published(exchange, instead=0))]
        )
        duty = published_duty(described)
        fail(
            duty.code,
            duty.clause,
            role=Role.PRODUCER,
            level=duty.level,
            reason="the producer publishes no stream while its write is pending",
            expected="a stream that covers the write, or a dictionary that is returned after the write",
            seen=f"version {described['version']}, stream {described.get('stream', 'absent')!r}",
            given="",
        )


@invariant(
    "stream.outlives",
    producer="CAI-28 CAI-22 CAI-16",
    level=Level.MUST,
    needs=Needs.GPU,
    exclusive=True,
    isolation=Isolation.RISKY,
    cases=lambda env: every(_producers(env)),
)
def test_outlives(exchange: Exchange) -> None:
    """A producer must keep the published stream alive as long as the array, even if no object of the user holds the stream.

    The producer writes on a stream whose object is dropped once the dictionary has been read. If the driver gives the handle to a new stream
    while the array lives, the published stream was destroyed. The handle itself is not used before that is known. As a control, the suite destroys
    a stream of its own at the same moment, and sees its handle reused. If the stream is alive, a wait for it has to cover a write that a latch
    holds.
    """
    streams, producer, device = _streams(exchange), exchange.producer, exchange.device
    gone = Gone(streams, lambda: Dropped(producer, device))
    try:
        gone.look()
    except (Inconclusive, Unsupported):
        raise
    except Exception as error:
        _refuse(exchange, error)
    stream = _live(exchange, gone.described)
    if gone.is_destroyed:
        fail(
            Code.STREAM_DESTROYED,
            "CAI-28",
            role=Role.PRODUCER,
            reason="the producer destroys the published stream while the array lives",
            expected="a stream that lives as long as the array",
            seen=f"the driver gives the handle {stream:#x} to a new stream after the object of the published one is dropped",
            given="",
            accused=Side.PRODUCER,
        )
    exchange.notes["control of the handle"] = gone.control
    seen = _seen(exchange, lambda: Dropped(producer, device))
    if not seen.in_order:
        fail(
            Code.STREAM_NOT_COVERING,
            "CAI-22",
            role=Role.PRODUCER,
            reason="the published stream does not cover the pending write after the stream's object is dropped",
            expected=f"a stream that comes after {wording.stream(seen.writer)}, on which the write is pending",
            seen=f"{seen.told} after a wait for the published stream",
            given="",
        )
    exchange.notes["control"] = overtaken(
        streams, [("the same, without a wait", lambda: Dropped(producer, device, instead=0))]
    )


def _described(exchange: Exchange, made: Published) -> dict[str, Any]:
    """Return the dictionary after a write. The write is done on return."""
    try:
        described = made.described()
    except Exception as error:
        _refuse(exchange, error)
    _streams(exchange).synchronize_device()
    return described


def _live(exchange: Exchange, described: dict[str, Any], *, known: tuple[int, ...] | None = None) -> int:
    """Return the stream that a dictionary names. A dictionary that names none ends the case as refused.

    ``known`` are handles of live streams. For any other handle the driver is asked, unless ``known`` is ``None``.
    """
    stream = named(described)
    if stream is None:
        raise Refused(f"{exchange.producer.name} publishes no stream: version {described.get('version')}")
    is_handle = isinstance(stream, int) and stream > 0
    if not is_handle or not (known is None or stream in known or _streams(exchange).alive(stream)):
        fail(
            Code.INVALID_STREAM,
            "CAI-16",
            role=Role.PRODUCER,
            reason="the producer publishes a value that is no live stream",
            expected="1, 2 or the handle of a live stream",
            seen=wording.stream(stream),
            given="",
            accused=Side.PRODUCER,
        )
    return int(stream)


def _seen(exchange: Exchange, make: Callable[[], Work]) -> Seen:
    """Observe the work. A refusal ends the case."""
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            seen = observe(_streams(exchange), make)
    except (Inconclusive, Unsupported):
        raise
    except Exception as error:
        _refuse(exchange, error)
    exchange.notes["seen"] = str(seen)
    return seen


def _refuse(exchange: Exchange, error: Exception) -> NoReturn:
    exchange.check_context(error)
    raise Refused(f"the exchange was refused: {brief(error)}") from error


# -- the stream that a consumer passes to __dlpack__


@invariant(
    "stream.passed-on",
    consumer="DLP-35 DLP-31",
    bugs="I15",
    level=Level.MUST,
    needs=Needs.GPU,
    exclusive=True,
    cases=lambda env: every(
        (pair for pair in env.imports(Protocol.DLPACK, on=_ON) if pair.consumer.has(Trait.STREAMS)),
        current=lambda pair: _roles(pair.consumer),
    ),
)
def test_passed_on(exchange: Exchange) -> None:
    """A consumer must pass its current stream to ``__dlpack__``, or order its reads by another wait.

    The current stream is of each kind that the library has. If the consumer passes another stream and still waits correctly, the suite only records it.
    """
    consumer, device, role = exchange.consumer, exchange.device, exchange.option("current")
    stream = stream_of(consumer, "consumer" if role == "stream" else role, device)
    source = exchange.source()
    offer = exchange.offer(source)
    try:
        with consumer.using(stream):
            consumer.take(offer, Protocol.DLPACK, device)
    except Exception as error:
        exchange.check_context(error)
        if not offer.calls:
            raise Refused(f"{consumer.name} refused without calling __dlpack__: {brief(error)}") from error
    wanted, passed = consumer.handle(stream), _passed(offer.calls[-1])
    if passed == wanted or (passed is None and wanted == LEGACY):
        return
    if passed is not None and (not isinstance(passed, int) or passed == 0 or passed < -1):
        fail(
            Code.INVALID_STREAM, "DLP-31", role=Role.CONSUMER, reason="the consumer passes a stream value that the protocol does not allow",
            expected=f"stream={wanted}", seen=f"stream={passed!r}", given="", accused=Side.CONSUMER,
        )  # fmt: skip
    setting = Setting(REFERENCE, consumer, Protocol.DLPACK, device, How.OUTSIDE, role)
    seen = _seen(exchange, lambda: Forward(setting))
    fail(
        Code.NO_STREAM_NAMED if passed is None else Code.WRONG_STREAM_NAMED,
        "DLP-35",
        role=Role.CONSUMER,
        level=Level.OBSERVED if seen.in_order else None,
        reason="the consumer passes another stream than its current one"
        + (", and waits by other means" if seen.in_order else ", and reads before the producer's write is done"),
        expected=f"stream={wanted:#x}",
        seen=f"stream={passed:#x}" if isinstance(passed, int) else f"stream={passed!r}",
        given="",
    )


def _passed(call: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
    """Return ``stream`` of a call, also of one that passes it by position."""
    positional, keywords = call
    return positional[0] if positional else keywords.get("stream")


@invariant(
    "stream.not-kept",
    producer="DLP-34",
    level=Level.SHOULD,
    needs=Needs.GPU,
    exclusive=True,
    isolation=Isolation.RISKY,
    cases=lambda env: every(
        (pair for pair in env.exports(Protocol.DLPACK, on=_ON) if pair.producer.has(Trait.STREAMS)),
        end=("destroyed", "kept"),
    ),
)
def test_not_kept(exchange: Exchange) -> None:
    """A producer should neither use nor destroy the consumer's stream after the export.

    With ``destroyed`` the stream is destroyed right after the export, and both sides go on. With ``kept`` all objects are dropped, and the stream
    must still exist.
    """
    streams, producer, device = _streams(exchange), exchange.producer, exchange.device
    ours, second = streams.create(), streams.create()
    destroyed = exchange.option("end") == "destroyed"
    array = filled(producer, OLD, device)
    write_on = stream_of(producer, "producer", device)
    producer.fill(array, NEW, write_on)
    taken = _export(exchange, array, write_on, ours)
    _expect_left(streams, ours)
    try:
        if destroyed:
            streams.destroy(ours)
        producer.fill(array, OLD, write_on)
        again = _export(exchange, array, write_on, second)
        streams.synchronize_device()
        written = holds(producer, array, OLD, device)
        taken.release()
        again.release()
        del array
        collect()
        streams.synchronize_device()
    except Refused:
        raise
    except Exception as error:
        exchange.check_context(error)
        _keeps(f"{brief(error)}, with the stream {exchange.option('end')}")
    if not written:
        _keeps("the producer's next write did not reach the array")
    for stream in (second,) if destroyed else (ours, second):
        _expect_left(streams, stream)
        streams.destroy(stream)


def _expect_left(streams: Streams, stream: int) -> None:
    if is_given_out_again(streams, stream):
        _keeps("the consumer's stream was destroyed: the driver gives its handle to a new stream")


def _export(exchange: Exchange, array: Any, write_on: Any, stream: int) -> Any:
    """Export for a stream, and return the reference's import. A refusal ends the case."""
    offer = DLPackOffer(exchange.producer.exporter(array, Protocol.DLPACK))
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER), exchange.producer.using(write_on):
            exported = offer.__dlpack__(stream=stream)
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"{exchange.producer.name} refused stream={stream}: {brief(error)}") from error
    return Importer(REFERENCE.memory(exchange.device), stream).take_capsule(exported)


def _keeps(seen: str) -> NoReturn:
    fail(
        Code.STREAM_NOT_LEFT,
        "DLP-34",
        role=Role.PRODUCER,
        reason="the producer uses or destroys the consumer's stream after the export",
        expected="no dependence on the stream after the export",
        seen=seen,
        given="",
    )


# -- __cuda_stream__


@invariant(
    "stream.protocol-form",
    producer="STR-01 STR-02 STR-03",
    context="G8",
    level=Level.MUST,
    needs=Needs.GPU,
    exclusive=True,
    cases=lambda env: every(_producers(env), stream=_written),
)
def test_protocol_form(exchange: Exchange) -> None:
    """A stream object must return two ints from its method ``__cuda_stream__``: version 0 and the stream's handle.

    The method itself is recommended. If a default stream is given as 0, whose meaning depends on the reader, the suite only records it.
    """
    producer, role = exchange.producer, exchange.option("stream")
    stream = _stream(producer, role, exchange.device)
    if stream is None:
        raise Refused(f"{producer.name} has no object for its default stream")
    if role != "stream" and not hasattr(stream, "__cuda_stream__"):
        raise Refused(f"{producer.name}'s streams have no __cuda_stream__")
    answer = _answer(stream)
    if not isinstance(answer, tuple) or len(answer) != 2:
        _malformed("STR-01", "a tuple of two", repr(answer))
    if not all(isinstance(part, int) for part in answer):
        _malformed("STR-02", "two ints", repr(answer))
    if answer[0] != 0:
        _malformed("STR-01", "version 0", repr(answer))
    handle = producer.handle(stream)
    if handle in (LEGACY, PER_THREAD) and answer[1] == 0:
        _malformed("G8", f"{handle}, which means the same to every reader (CUD-04)", repr(answer), Level.OBSERVED)
    if answer[1] != handle:
        _malformed("STR-01", f"the stream's handle, {handle:#x}", repr(answer))
    if not all(type(part) is int for part in answer):
        _malformed("STR-02", "two ints of no subclass", repr(answer), Level.OBSERVED)


def _answer(stream: Any) -> Any:
    """Return the result of the method. A missing method, another attribute and an exception are failures."""
    if not hasattr(stream, "__cuda_stream__"):
        fail(
            Code.STREAM_PROTOCOL_MISSING, "STR-01", role=Role.PRODUCER, level=Level.SHOULD, reason="the stream object has no `__cuda_stream__`",
            expected="a method `__cuda_stream__`", seen=f"{type(stream).__qualname__} has none", given="", accused=Side.PRODUCER,
        )  # fmt: skip
    method = stream.__cuda_stream__
    if not callable(method):
        _malformed("STR-03", "a method", f"an attribute: {method!r}")
    try:
        return method()
    except Exception as error:
        _malformed("STR-01", "(0, handle)", brief(error))


def _malformed(cited: str, expected: str, seen: str, level: Level | None = None) -> NoReturn:
    fail(
        Code.STREAM_PROTOCOL_MALFORMED,
        cited,
        role=Role.PRODUCER,
        level=level,
        reason="`__cuda_stream__` does not return (0, handle)",
        expected=expected,
        seen=seen,
        given="",
        accused=Side.PRODUCER,
    )


class _Offered:
    """An external stream that only has ``__cuda_stream__``."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def __cuda_stream__(self) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class _Attribute:
    """A stream with the older form of the protocol: an attribute and no method (STR-03)."""

    def __init__(self, answer: Any) -> None:
        self.__cuda_stream__ = answer


_EXTERNAL = "a stream of another library"


class _UnknownError(Exception):
    """An exception type that no library knows."""


def _import(exchange: Exchange, source: Any) -> Any:
    """Import a stream object with the consumer. Its warnings are ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return exchange.consumer.import_stream(source, exchange.device)


def _imported(exchange: Exchange, source: Any, cited: str = "STR-04", given: str = _EXTERNAL) -> Any:
    """Import an object that follows the protocol. A refusal is a failure."""
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            return _import(exchange, source)
    except Exception as error:
        exchange.check_context(error)
        fail(
            Code.STREAM_REFUSED,
            cited,
            role=Role.CONSUMER,
            reason="the consumer refuses a stream that follows the protocol",
            expected="a stream",
            seen=brief(error),
            given=given,
        )


@invariant(
    "stream.protocol-handle",
    consumer="STR-04 STR-05",
    context="G8 STR-01",
    level=Level.SHOULD,
    needs=Needs.GPU,
    exclusive=True,
    cases=lambda env: every(
        _importers(env.imports(Protocol.CAI, on=_ON)), given=("handle", "legacy", "per-thread", "zero")
    ),
)
def test_protocol_handle(exchange: Exchange) -> None:
    """A consumer should give an imported stream the handle that ``__cuda_stream__`` returned.

    For the special handles 0, 1 and 2 the suite only records the result.
    """
    name = exchange.option("given")
    ours = external_stream(exchange.device).handle
    handle = {"legacy": LEGACY, "per-thread": PER_THREAD, "zero": 0}.get(name, ours)
    allowed = {0: (LEGACY, PER_THREAD)}.get(handle, (handle,))
    grey = name != "handle"
    given = f"the {name} default stream" if handle in (LEGACY, PER_THREAD) else "the handle 0" if grey else _EXTERNAL
    offered = _Offered((0, handle))
    seen = exchange.consumer.handle(_imported(exchange, offered, "G8" if grey else "STR-04", given))
    if seen not in allowed:
        _changed(exchange, "G8" if grey else "STR-05", given, handle, seen)


def _changed(exchange: Exchange, cited: str, given: str, handle: int, seen: int) -> NoReturn:
    fail(
        Code.STREAM_CHANGED,
        cited,
        role=Role.CONSUMER,
        reason="the imported stream has another handle",
        expected=f"handle {handle:#x}",
        seen=f"handle {seen:#x}",
        given=given,
    )


@invariant(
    "stream.protocol-work",
    producer="STR-01",
    consumer="STR-04 STR-05",
    level=Level.MUST,
    needs=Needs.GPU,
    exclusive=True,
    cases=lambda env: every(
        pair for pair in _importers(env.pairs(Protocol.CAI, on=_ON)) if pair.producer.has(Trait.STREAMS)
    ),
)
def test_protocol_work(exchange: Exchange) -> None:
    """A consumer must run work for an imported stream on the stream that the producer's object offered.

    A latch holds that stream, a write by the suite is queued behind it, and the consumer reads on its imported stream.
    """
    producer, consumer, device = exchange.producer, exchange.consumer, exchange.device
    offered = stream_of(producer, "producer", device)
    if not hasattr(offered, "__cuda_stream__"):
        raise Refused(f"{producer.name}'s streams have no __cuda_stream__")
    handle = producer.handle(offered)
    _expect_offered(exchange, offered, handle)
    _imported(exchange, offered)
    seen = _seen(exchange, lambda: OnImported(consumer, device, offered, handle))
    if not seen.in_order:
        fail(
            Code.STREAM_CHANGED,
            "STR-05",
            role=Role.CONSUMER,
            reason="work on the imported stream does not run on the stream that was offered",
            expected=f"work on {wording.stream(handle)}",
            seen=f"{seen.told}; its work does not wait for {wording.stream(handle)}",
            given=_EXTERNAL,
            accused=Side.CONSUMER,
        )
    exchange.notes["control"] = overtaken(
        _streams(exchange),
        [("on another stream", lambda: OnImported(consumer, device, offered, handle, elsewhere=True))],
    )


def _expect_offered(exchange: Exchange, offered: Any, handle: int) -> None:
    """Fail for the producer unless its object returns its stream's handle."""
    try:
        answer = offered.__cuda_stream__() if callable(offered.__cuda_stream__) else offered.__cuda_stream__
    except Exception as error:
        exchange.check_context(error)
        _malformed("STR-01", "(0, handle)", brief(error))
    told = answer[1] if isinstance(answer, tuple) and len(answer) == 2 else answer
    if told != handle and not (told == 0 and handle in (LEGACY, PER_THREAD)):
        _malformed("STR-01", f"(0, {handle:#x})", repr(answer))


_BAD: dict[str, tuple[str, Level]] = {
    "missing": ("STR-04", Level.SHOULD),
    "none": ("STR-04", Level.SHOULD),
    "short": ("STR-04", Level.SHOULD),
    "long": ("STR-04", Level.SHOULD),
    "version": ("STR-04", Level.SHOULD),
    "raises": ("STR-04", Level.SHOULD),
    "attribute": ("STR-04", Level.OBSERVED),
    "text-handle": ("STR-04", Level.OBSERVED),
    "float-handle": ("STR-04", Level.OBSERVED),
}
_BAD_GIVEN = {
    "missing": "an object without `__cuda_stream__`",
    "none": "a `__cuda_stream__` that returns `None`",
    "short": "a `__cuda_stream__` that returns a tuple of one",
    "long": "a `__cuda_stream__` that returns a tuple of three",
    "version": "a `__cuda_stream__` of version 1",
    "raises": "a `__cuda_stream__` that raises",
    "attribute": "a `__cuda_stream__` that is an attribute",
    "text-handle": "a `__cuda_stream__` with a handle as text",
    "float-handle": "a `__cuda_stream__` with a handle as a float",
}
"""Objects that are no streams by the protocol, the clause that forbids them, and the level of accepting them.

The protocol binds the exporter of a stream. For an importer it only names the objects to refuse (STR-04).
"""


def _bad(kind: str, handle: int) -> Any:
    """Return a malformed stream object. Its handle is that of a live stream, so that accepting it does no harm."""
    answers: dict[str, Any] = {
        "none": None, "short": (0,), "long": (0, handle, 0), "version": (1, handle), "raises": _UnknownError("no stream today"),
        "text-handle": (0, str(handle)), "float-handle": (0, float(LEGACY)),
    }  # fmt: skip
    if kind == "missing":
        return object()
    return _Attribute((0, handle)) if kind == "attribute" else _Offered(answers[kind])


@invariant(
    "stream.protocol-refusal",
    consumer="STR-04 STR-05",
    context="STR-02 STR-03",
    level=Level.SHOULD,
    needs=Needs.GPU,
    exclusive=True,
    cases=lambda env: every(_importers(env.imports(Protocol.CAI, on=_ON)), offered=tuple(_BAD)),
)
def test_protocol_refusal(exchange: Exchange) -> None:
    """A consumer should refuse an object that breaks the stream protocol with a clean exception, and accept a valid stream afterwards."""
    kind = exchange.option("offered")
    cited, level = _BAD[kind]
    handle = external_stream(exchange.device).handle
    exchange.special(_BAD_GIVEN[kind])
    _refused_cleanly(exchange, _bad(kind, handle), cited, level)
    exchange.special("a stream of another library after a refusal")
    after = exchange.consumer.handle(_imported(exchange, _Offered((0, handle)), given=exchange.given))
    if after != handle:
        _changed(exchange, "STR-05", exchange.given, handle, after)


def _refused_cleanly(exchange: Exchange, source: Any, cited: str, level: Level) -> None:
    """Fail unless the object is refused, by an exception type that means a refusal."""
    code, reason = Code.NOT_REFUSED, f"the consumer accepts {exchange.given}"
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            made = _import(exchange, source)
        seen = f"a {type(made).__name__} with handle {exchange.consumer.handle(made):#x}"
    except UNCLEAN as error:
        exchange.check_context(error)
        code, reason = (
            Code.WRONG_EXCEPTION,
            f"the consumer refuses {exchange.given} with an exception type that signals a defect",
        )
        seen = brief(error)
    except Exception as error:
        exchange.check_context(error)
        return
    fail(
        code, cited, role=Role.CONSUMER, level=level, reason=reason,
        expected="TypeError, ValueError, RuntimeError or the like", seen=seen, accused=Side.CONSUMER,
    )  # fmt: skip


@invariant(
    "stream.protocol-owner",
    consumer="STR-05 STR-04",
    context="LIB-12",
    level=Level.SHOULD,
    needs=Needs.GPU,
    exclusive=True,
    isolation=Isolation.RISKY,
    cases=lambda env: every(_importers(env.imports(Protocol.CAI, on=_ON)), part=("held", "not-destroyed")),
)
def test_protocol_owner(exchange: Exchange) -> None:
    """A consumer should keep the source object of an imported stream alive, and should not destroy its stream."""
    streams = _streams(exchange)
    handle = streams.create()
    offered = _Offered((0, handle))
    watched = weakref.ref(offered)
    made = _imported(exchange, offered)
    if exchange.option("part") == "held":
        del offered
        collect()
        kept = watched() is not None
        del made
        collect()
        if is_given_out_again(streams, handle):
            _loses(*_DESTROYED)
        streams.destroy(handle)
        if not kept:
            _loses(
                "an object that lives as long as the imported stream", "the object was freed while the import is alive"
            )
        return
    del made
    gone = is_given_out_again(streams, handle)
    collect()
    if gone or is_given_out_again(streams, handle):
        _loses(*_DESTROYED)
    streams.destroy(handle)


_DESTROYED = (
    "a stream that its owner can still use",
    "the driver gives the handle to a new stream: the consumer destroyed the stream with its import",
)


def _loses(expected: str, seen: str) -> NoReturn:
    fail(
        Code.STREAM_NOT_KEPT,
        "STR-05",
        role=Role.CONSUMER,
        reason="the consumer does not keep the owner of the imported stream alive, or destroys the stream",
        expected=expected,
        seen=seen,
        given="",
        accused=Side.CONSUMER,
    )


# -- the current stream


@invariant(
    "stream.nested",
    context="DLP-35",
    level=Level.OBSERVED,
    needs=Needs.GPU,
    exclusive=True,
    cases=lambda env: every(
        (pair for pair in _producers(env) if pair.producer.has(Trait.CURRENT_STREAM)),
        inner=_written,
        leaves=("quietly", "raising"),
    ),
)
def test_nested(exchange: Exchange) -> None:
    """The suite records whether nested blocks that make a stream current restore the previous stream, also after an exception.

    Exports are ordered with the current stream, and imports pass it to the producer. No interchange protocol defines how it is chosen.
    """
    library, device = exchange.producer, exchange.device
    outer, inner = stream_of(library, "elsewhere", device), _stream(library, exchange.option("inner"), device)
    leaving = _UnknownError("out of the block")
    wanted = [library.handle(stream) for stream in (outer, inner, outer)]
    before = library.current_stream(device)
    seen: list[int] = []
    again: list[int] = []
    with library.using(outer):
        with library.using(outer):
            again.append(library.current_stream(device))
        again.append(library.current_stream(device))
        seen.append(library.current_stream(device))
        out = None
        try:
            with library.using(inner):
                seen.append(library.current_stream(device))
                with library.using(outer):
                    seen.append(library.current_stream(device))
                seen.append(library.current_stream(device))
                if exchange.option("leaves") == "raising":
                    raise leaving
        except Exception as error:
            out = error
        seen.append(library.current_stream(device))
    seen.append(library.current_stream(device))
    expected = [*wanted, wanted[1], wanted[0], before]
    if out is not (leaving if exchange.option("leaves") == "raising" else None):
        _not_current(
            "the exception that leaves a block is not the one that was raised in it",
            exchange.option("leaves"),
            brief(out),
        )
    if again != [wanted[0]] * 2:
        _not_current("a nested block of the current stream does not restore it", [wanted[0]] * 2, again)
    if seen != expected:
        _not_current("nested blocks do not restore the current stream", expected, seen)


def _not_current(reason: str, expected: object, seen: object) -> NoReturn:
    fail(
        Code.WRONG_CURRENT_STREAM, "DLP-35", role=Role.CONSUMER, level=Level.OBSERVED, reason=reason, expected=expected,
        seen=seen, given="",
    )  # fmt: skip


def _has_current(pair: Pair) -> bool:
    return pair.producer.has(Trait.CURRENT_STREAM) or pair.consumer.has(Trait.CURRENT_STREAM)


@invariant(
    "stream.current-unchanged",
    context="G10",
    level=Level.OBSERVED,
    needs=Needs.GPU,
    exclusive=True,
    cases=lambda env: every((pair for pair in env.pairs(on=_ON) if _has_current(pair)), ends=("taken", "refused")),
)
def test_current_unchanged(exchange: Exchange) -> None:
    """The suite records whether an exchange changes the current stream of either side, also when it is refused.

    Both sides have one of their own streams current. With ``refused``, the consumer gets an exception from the producer's method, and
    the producer gets a stream value that is invalid.
    """
    device = exchange.device
    sides = [
        lib for lib in dict.fromkeys((exchange.producer, exchange.consumer)) if lib.traits & {Trait.CURRENT_STREAM}
    ]
    source = exchange.source()
    with ExitStack() as current:
        for library in sides:
            current.enter_context(library.using(stream_of(library, "producer", device)))
        before = [library.current_stream(device) for library in sides]
        kept, error = _exchanged(exchange, source.array)
        after = [library.current_stream(device) for library in sides]
    exchange.check_context(error)
    if before != after:
        fail(
            Code.OTHER_STREAM_CURRENT,
            "G10",
            role=Role.CONSUMER,
            reason="the exchange changes the current stream",
            expected=", ".join(f"{lib.name}: {stream:#x}" for lib, stream in zip(sides, before)),
            seen=", ".join(f"{lib.name}: {stream:#x}" for lib, stream in zip(sides, after)),
        )
    if kept is None and exchange.option("ends") == "taken":
        raise Refused(f"the exchange was refused: {brief(error)}")


class _Refuses:
    """An object with both protocols, whose methods raise."""

    def __init__(self, device: tuple[int, int]) -> None:
        self._device = device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        raise BufferError("not today")

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        raise ValueError("not today")


def _exchanged(exchange: Exchange, array: Any) -> tuple[Any, Exception | None]:
    """Return the import, or ``None`` and the exception."""
    offer = exchange.producer.offer(array, exchange.protocol)
    if exchange.option("ends") == "refused":
        offer = _one_protocol(exchange, _Refuses((exchange.device.dlpack_type, 0)))
        if exchange.protocol is Protocol.DLPACK:
            _asked_nonsense(exchange, array)
    try:
        return exchange.consumer.take(offer, exchange.protocol, exchange.device), None
    except Exception as error:
        return None, error


def _one_protocol(exchange: Exchange, source: Any) -> Any:
    return DLPackOffer(source) if exchange.protocol is Protocol.DLPACK else CAIOffer(source)


def _asked_nonsense(exchange: Exchange, array: Any) -> None:
    """Export for an invalid stream value. Another family checks that it is refused."""
    offer = exchange.producer.offer(array, Protocol.DLPACK)
    try:
        offer.__dlpack__(stream="x")  # type: ignore[union-attr]
    except Exception as error:
        exchange.check_context(error)
