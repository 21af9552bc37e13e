"""Family ``capture``: exchanges during the capture of a CUDA graph, and replays of the graph.

CUDA forbids calls that synchronize or query during a capture, and a forbidden call invalidates the whole capture. No document
requires an exchange to work in a capture. So the suite only records a broken capture, except where a clause forbids the wait
that broke it. A valid graph that replays with wrong data is a violation, because the memory is not shared.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

from conformance.adapters.base import Device, DLPackOffer, Protocol, Trait
from conformance.checks.catalogue import Isolation, Needs, every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, brief
from conformance.checks.libraries import REFERENCE as REFERENCE_NAME
from conformance.checks.libraries import Environment, Pair, shows_one_library
from conformance.checks.outcomes import ACCUSED, Inconclusive, Refused, Side, fail
from conformance.checks.steps import Doing
from conformance.cuda.capture import Mode
from conformance.ordering import capturing
from conformance.ordering.capturing import Captured, Handover, Sides, Stand, Step, captured, content
from conformance.ordering.handover import REFERENCE, SHAPE, elements, past_operand, stream_of
from conformance.ordering.histories import History, fresh, pasts
from conformance.protocols import capsule, dlpack, exchange_api
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import DELETER, DLManagedTensorVersioned
from conformance.protocols.dtypes import dtype
from conformance.reference.managed import Managed
from conformance.reference.streams import LEGACY, PER_THREAD, Streams

_ON = (Device.CUDA, Device.SIMULATED)
_KINDS = ("int32", "bool", "int8", "float16", "bfloat16", "float32", "float64", "complex64")
"""Element types for which a library may use different code paths."""
_INT32 = dtype("int32")
_OLD, _NEW, _OTHER = 11, 22, 33
_WRITE = "the producer's own write"


def _pairs(env: Environment, *protocols: Protocol) -> Iterator[Pair]:
    """Yield pairs of libraries that both have streams."""
    return (p for p in env.pairs(*protocols, on=_ON) if p.producer.has(Trait.STREAMS) and p.consumer.has(Trait.STREAMS))


def _separable(env: Environment) -> Iterator[Pair]:
    """Yield pairs whose two sides can work on different streams. A library has one current stream, except for the reference."""
    for pair in _pairs(env):
        alone = pair.producer.name == pair.consumer.name and pair.producer.has(Trait.CURRENT_STREAM)
        if not alone or pair.producer.name == REFERENCE_NAME:
            yield pair


def _on_one_stream(env: Environment) -> Iterator[Pair]:
    """Yield pairs in which one library can work on the other's stream."""
    for pair in _pairs(env):
        same = pair.producer.name == pair.consumer.name
        if same or pair.producer.has(Trait.FOREIGN_STREAM) or pair.consumer.has(Trait.FOREIGN_STREAM):
            yield pair


def _kinds(pair: Pair) -> tuple[str, ...]:
    """Return the element types that both sides have."""
    return tuple(n for n in _KINDS if n in pair.source.dtypes and n in pair.target.dtypes)


# -- exchanges

_replayed = partial(
    invariant,
    producer="CUD-08 DLP-43 CAI-05",
    consumer="CUD-08 DLP-35 DLP-43 DLP-58 CAI-32",
    context="CUD-10 DLP-33 CAI-17 CAI-18",
    bugs="I18",
    level=Level.MUST,
    needs=Needs.GPU,
    exclusive=True,
)
"""The declaration of an exchange on the captured stream and its replay, for a new array and for one with a history."""


@_replayed("capture.same-stream", cases=lambda env: every(_on_one_stream(env), quick=shows_one_library, dtype=_kinds))
def test_same_stream(exchange: Exchange) -> None:
    """Two libraries must exchange an array in a capture so that a replay reads the data that memory then holds.

    The suite records whether the capture stays valid. Both libraries work on the captured stream, as they do when a user captures a whole computation. The exchange and the consumer's
    own copy are captured, the source is changed, and the graph is launched.
    """
    work, seen = _captured_exchange(exchange, Stand.SAME)
    if seen.graph is None:
        _report_broken(exchange, work, seen)
    _expect_right(exchange, work, capturing.replayed(work, seen.graph))


@invariant(
    "capture.pipeline",
    producer="CUD-08 DLP-43 CAI-05",
    consumer="CUD-08 DLP-35 DLP-43 DLP-58 CAI-32",
    context="CUD-10 DLP-33 CAI-18",
    bugs="I18",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(_on_one_stream(env), quick=shows_one_library),
    exclusive=True,
)
def test_pipeline(exchange: Exchange) -> None:
    """Two libraries must keep the order of a captured write, exchange and read on one stream when the graph is replayed."""
    work, seen = _captured_exchange(exchange, Stand.SAME, writes=True)
    if seen.graph is None:
        _report_broken(exchange, work, seen)
    _expect_right(exchange, work, _replayed_write(work, seen))


@invariant(
    "capture.one-side",
    producer="CUD-08 DLP-43 CAI-05 DLP-33 CAI-23",
    consumer="CUD-08 DLP-43 DLP-58 CAI-18 CAI-32",
    context="CUD-10 CAI-17",
    bugs="I18",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(_separable(env), quick=shows_one_library, side=("consumer", "producer", "producer-writes")),
    exclusive=True,
)
def test_one_side(exchange: Exchange) -> None:
    """Two libraries must exchange the right data between a captured stream and another one.

    The suite records whether the capture stays valid. No work is pending, so no side has to wait. A wait would draw the other stream into the capture, or break it.
    With ``producer-writes`` the producer's write is captured, so the consumer's read has to be captured too.
    """
    side = exchange.option("side")
    stand, writes = Stand(side.partition("-")[0]), side.endswith("-writes")
    work, seen = _captured_exchange(exchange, stand, writes=writes)
    if seen.graph is None:
        _report_broken(exchange, work, seen)
    drawn_in = stand is Stand.CONSUMER or work.reader in seen.joined
    exchange.notes["reader"] = "captured" if drawn_in else "not captured: it read at once"
    if writes:
        wrong = _replayed_write(work, seen)
        if wrong and not drawn_in:
            _report_read_too_soon(work, wrong)
    elif drawn_in:
        wrong = capturing.replayed(work, seen.graph)
    else:
        seen.graph.close()
        wrong = "" if work.read() == content(work.sides.kind, 0) else "not the data that memory held the whole time"
    _expect_right(exchange, work, wrong)


@invariant(
    "capture.replay",
    producer="DLP-43 CAI-05 CUD-08",
    consumer="DLP-43 CAI-32 CUD-08",
    context="CUD-10",
    level=Level.MUST,
    needs=Needs.GPU,
    isolation=Isolation.RISKY,
    cases=lambda env: every(_on_one_stream(env), quick=shows_one_library),
    exclusive=True,
)
def test_replay(exchange: Exchange) -> None:
    """A consumer must read an earlier import in a capture so that every replay reads the data that the producer's memory then holds.

    The graph is launched twice, each time with other data.
    """
    work = _rehearsed(exchange, Stand.SAME)
    with exchange.step(Doing.USE, Role.CONSUMER):
        seen = captured(work.streams, work.captured, work.steps[1:], join=(work.writer, work.reader))
    exchange.notes["seen"] = str(seen)
    if seen.graph is None:
        _report_broken(exchange, work, seen)
    _report_wrong(exchange, work, capturing.replayed(work, seen.graph, times=2))


@_replayed("capture.past", cases=lambda env: every(_on_one_stream(env), quick=shows_one_library, history=pasts))
def test_past(exchange: Exchange) -> None:
    """Two libraries must exchange a reused array in a capture so that a replay reads the data that memory then holds.

    The array was written on another stream, is an import that is exported again, or reuses the memory of a dropped array. The suite records
    whether the capture stays valid. All other cases of this family use a new array, from a library with empty caches.
    """
    exchange.special(_PASTS[History(exchange.option("history"))])
    work, seen = _captured_exchange(exchange, Stand.SAME)
    if seen.graph is None:
        exchange.notes["new"] = _seen_with_a_new_array(exchange)
        _report_broken(exchange, work, seen)
    _expect_right(exchange, work, capturing.replayed(work, seen.graph))


def _expect_right(exchange: Exchange, work: Handover, wrong: str) -> None:
    """Raise unless the replay read the right data, both libraries still work, and a control breaks its capture."""
    _report_wrong(exchange, work, wrong)
    _expect_usable(exchange, work)
    exchange.notes["control"] = capturing.control(exchange.device)


_PASTS = {
    History.WRITTEN: "an array that was written on another stream",
    History.REEXPORT: "an import that is exported again",
    History.REEXPORT_CAI: "an import by the array interface that is exported again",
    History.CACHED: "an array that reuses the memory of a dropped one",
}


def _seen_with_a_new_array(exchange: Exchange) -> str:
    """Describe the result of the same capture with a new array."""
    try:
        again = Handover(replace(_sides(exchange), history=History.FRESH), Stand.SAME)
        again.rehearse()
    except Exception as error:
        exchange.check_context(error)
        return brief(error)
    seen = captured(again.streams, again.captured, again.steps, join=(again.writer, again.reader))
    if seen.graph is not None:
        seen.graph.close()
    return str(seen)


@invariant(
    "capture.blocking",
    producer="CUD-09",
    consumer="CUD-09 DLP-58 CAI-32",
    context="CUD-08 CUD-10",
    bugs="I18",
    level=Level.SHOULD,
    needs=Needs.GPU,
    cases=lambda env: every(_pairs(env), quick=shows_one_library, streams=("own", "default")),
    exclusive=True,
)
def test_blocking(exchange: Exchange) -> None:
    """A library should not use the legacy default stream in an exchange on other streams, which would break the capture of a blocking stream.

    With ``own`` both libraries work on streams of their own. With ``default`` they work on their default streams. There the exchange
    is tried alone, because CUDA forbids work on the legacy stream during such a capture.
    """
    stand, device = Stand(exchange.option("streams")), exchange.device
    streams, blocking = capturing.streams_of(device), capturing.our_stream(device, blocking=True)
    work = _rehearsed(exchange, stand, blocking)
    steps = work.steps if stand is Stand.NOBODY else work.steps[:1]
    work.change(content(work.sides.kind, 0))
    with exchange.step(Doing.IMPORT, Role.CONSUMER):
        seen = captured(streams, blocking, steps, join=(work.reader, work.writer))
    exchange.notes["seen"] = str(seen)
    if seen.graph is None:
        _report_broken(exchange, work, seen, "CUD-09")
    seen.graph.close()
    _expect_usable(exchange, work)
    exchange.notes["control"] = capturing.control(device, blocking=True)


def _sides(exchange: Exchange) -> Sides:
    kind = dtype(exchange.option("dtype", "int32"))
    history = History(exchange.option("history", History.FRESH.value))
    return Sides(exchange.producer, exchange.consumer, exchange.protocol, exchange.device, kind, history)


def _rehearsed(exchange: Exchange, stand: Stand, other: int = 0) -> Handover:
    """Return the exchange after one run without a capture. An exchange that is refused then ends the case as refused."""
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            work = Handover(_sides(exchange), stand, other)
            work.rehearse()
    except (Inconclusive, Refused):
        raise
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"the exchange is refused even without a capture: {brief(error)}") from error
    if not work.own_copy:
        why = capturing.copies_in_capture(exchange.consumer, exchange.device, work.sides.kind)
        exchange.notes["copy"] = (
            f"by the suite, not by {exchange.consumer.name}: {why or 'other bytes, or an exception'}"
        )
    return work


def _captured_exchange(exchange: Exchange, stand: Stand, *, writes: bool = False) -> tuple[Handover, Captured]:
    """Run the exchange in a capture. The suite's operations replace library operations that cannot be captured at all."""
    work = _rehearsed(exchange, stand)
    work.change(elements(_OLD) if writes else content(work.sides.kind, 0))
    steps = [*([_write_step(exchange, work)] if writes else []), *work.steps]
    with exchange.step(Doing.IMPORT, Role.CONSUMER):
        seen = captured(work.streams, work.captured, steps, join=(work.writer, work.reader))
    exchange.notes["seen"] = str(seen)
    joined = [(work.writer, "the producer's stream"), (work.reader, "the consumer's stream")]
    if seen.joined:
        exchange.notes["joined"] = " and ".join(name for handle, name in joined if handle in seen.joined)
    return work, seen


def _write_step(exchange: Exchange, work: Handover) -> Step:
    """Return the step that writes: the producer's own write, or the suite's where that cannot be captured."""
    sides = work.sides
    why = capturing.writes_in_capture(sides.producer, sides.device, sides.kind)
    if not why:
        return _WRITE, partial(work.write, _NEW)
    exchange.notes["write"] = f"by the suite, because the write of {sides.producer.name} cannot be captured: {why}"
    return "the suite's write", partial(work.write_by_ours, _NEW)


def _replayed_write(work: Handover, seen: Captured) -> str:
    """Replay a graph that writes and then reads. Return a description of wrong data, or an empty text."""
    assert seen.graph is not None
    read_before = work.read()
    work.change(elements(_OTHER))
    seen.graph.launch(work.captured)
    work.streams.synchronize(work.captured)
    seen.graph.close()
    arrived = work.read()
    if arrived == elements(_NEW):
        return ""
    names = {elements(_OTHER): "the data from before the write", elements(0): "no data: the target is unchanged"}
    early = "; before the launch, the data from before the write" if read_before == elements(_OLD) else ""
    return names.get(arrived, f"other data: {arrived[:16].hex()} …") + early


def _report_broken(exchange: Exchange, work: Handover, seen: Captured, cited: str = "CUD-08") -> NoReturn:
    """End a case whose capture gave no graph. It is a refusal if the library raised and the capture stayed valid.

    A broken capture is only observed, unless both sides work on the captured stream and the consumer passed another stream to the producer.
    That is a deviation, and no violation of DLP-35: the consumer may make its own stream wait for the stream that it passes.
    """
    role, where = work.blame(seen)
    asked, (afterwards, _) = work.asked_streams(), work.repeat()
    exchange.check_context()
    if not seen.invalidated:
        raise Refused(f"{where} is refused in a capture, and the capture stays valid: {seen.raised}")
    told = "; ".join(
        [
            seen.raised or "no exception",
            *([f"the consumer passed stream {_named(asked, work.captured)}"] if asked else []),
            *([f"after the capture: {afterwards}"] if afterwards else []),
        ]
    )
    if work.stand is Stand.SAME and role is Role.PRODUCER and asked - {work.captured, -1}:
        fail(
            Code.WRONG_STREAM_NAMED,
            "DLP-35",
            role=Role.CONSUMER,
            level=Level.SHOULD,
            reason=f"the consumer passes another stream than its own, and {where} for that stream breaks the capture",
            expected="the captured stream, or -1",
            seen=told,
            given="",
            accused=Side.CONSUMER,
        )
    fail(
        Code.CAPTURE_BROKEN,
        cited,
        role=role,
        level=Level.OBSERVED,
        reason=f"{where} breaks the capture",
        expected="a valid graph",
        seen=told,
    )


def _named(asked: set[int | None], stream: int) -> str:
    """Describe the streams that a consumer passed to the producer."""
    names = {stream: "captured", None: "None", 0: "0", LEGACY: "1", PER_THREAD: "2", -1: "-1"}
    return " and ".join(sorted(names.get(each, "another") for each in asked))


def _report_wrong(exchange: Exchange, work: Handover, wrong: str) -> None:
    """Fail for a valid graph whose replay uses wrong data. The consumer is at fault if it also does so with the reference, else the producer."""
    if not wrong:
        return
    role = Role.CONSUMER if _wrong_from_reference(work.sides) else Role.PRODUCER
    published = role is Role.PRODUCER and exchange.protocol is Protocol.CAI
    fail(
        Code.REPLAY_WRONG,
        "CAI-05" if published else exchange.sharing(),
        role=role,
        reason="the capture stays valid, but its replay uses wrong data",
        expected="the data that memory holds at the replay",
        seen=wrong,
        accused=Side.CONSUMER if role is Role.CONSUMER else None,
    )


def _wrong_from_reference(sides: Sides) -> bool:
    """Return whether the consumer also goes wrong with the reference as producer."""
    again = Handover(replace(sides, producer=REFERENCE, history=History.FRESH), Stand.SAME)
    try:
        again.rehearse()
    except Exception:  # this pair gives no evidence
        return False
    again.change(content(sides.kind, 0))
    seen = captured(again.streams, again.captured, again.steps, join=(again.writer, again.reader))
    return seen.graph is None or bool(capturing.replayed(again, seen.graph))


def _report_read_too_soon(work: Handover, wrong: str) -> NoReturn:
    """Fail for a read that was not captured behind the captured write.

    A dictionary without a stream says that no work is pending (CAI-23). If it names a stream, the consumer has to follow it.
    """
    if work.sides.protocol is Protocol.DLPACK:
        clause, role = "DLP-33", Role.PRODUCER
    else:
        clause, role = ("CAI-18", Role.CONSUMER) if work.published() is not None else ("CAI-23", Role.PRODUCER)
    fail(
        Code.READ_NOT_CAPTURED,
        clause,
        role=role,
        level=Level.OBSERVED,
        reason="the producer's write is captured but the consumer's read is not, so it runs at once and not at the replay",
        expected="a read that is captured behind the write, or an exception",
        seen=wrong,
    )


def _expect_usable(exchange: Exchange, work: Handover) -> None:
    """Raise unless the same exchange on the same streams works after the capture."""
    wrong, raised = work.repeat()
    if wrong:
        role = raised or _suspect(exchange)
        by_dlpack = exchange.protocol is Protocol.DLPACK
        fail(
            Code.UNUSABLE_AFTER_CAPTURE,
            exchange.reading() if role is Role.CONSUMER else "DLP-59" if by_dlpack else "CAI-05",
            role=role,
            level=Level.SHOULD,
            reason="after the capture the same exchange on the same streams no longer works",
            expected="the new data",
            seen=wrong,
            accused=ACCUSED[raised] if raised else None,
        )


def _suspect(exchange: Exchange) -> Role:
    """Return the side that is accused until the other one has been tried: the consumer, unless it is the reference."""
    return Role.PRODUCER if exchange.case.consumer == REFERENCE_NAME else Role.CONSUMER


# -- exports


@invariant(
    "capture.export-stream",
    producer="DLP-32 DLP-43 CUD-08 CUD-09",
    context="CUD-10",
    bugs="I18",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(
        (p for p in env.exports(Protocol.DLPACK, on=_ON) if p.producer.has(Trait.FOREIGN_STREAM)),
        stream=("minus-one", "handle", "none", "legacy"),
        captured=("current", "elsewhere", "blocking"),
        mode=("global", "thread-local"),
    ),
    exclusive=True,
)
def test_export_stream(exchange: Exchange) -> None:
    """A producer must not wait in an export for ``stream=-1``, so the export must leave a capture valid.

    The suite records the results for other streams. The captured stream is the producer's current one, or another one while the current one is idle,
    or a blocking one while the legacy default stream is current. It is passed by its handle, and the legacy stream by ``None`` and 1.
    """
    which, asked = exchange.option("captured"), exchange.option("stream")
    streams, producer, device = capturing.streams_of(exchange.device), exchange.producer, exchange.device
    stream = capturing.our_stream(device, blocking=which == "blocking")
    on_it = which == "current"
    standing = producer.foreign_stream(stream, device) if on_it else producer.default_stream(device)
    export = _Exporting(exchange, standing, {"minus-one": -1, "handle": stream, "none": None, "legacy": LEGACY}[asked])
    steps: list[Step] = [(f"__dlpack__(stream={_NAMES[asked]})", export)]
    if asked == "minus-one":
        export.write()
        if on_it and not capturing.writes_in_capture(producer, device, _INT32):
            steps.insert(0, (_WRITE, export.write))
    streams.synchronize_device()
    with producer.using(standing):  # entered before the capture, so that only the export runs in it
        attempt = partial(captured, streams, stream, steps)
        seen = attempt(mode=_mode(exchange))
        relaxed = seen.graph is None and _relaxed(attempt)
    exchange.notes["seen"] = str(seen)
    if seen.graph is None:
        _report_broken_export(exchange, seen, relaxed=relaxed)
    seen.graph.close()
    export.expect_shared()
    exchange.notes["control"] = capturing.control(device, blocking=which == "blocking")


_NAMES = {"minus-one": "-1", "handle": "the captured one", "none": "None", "legacy": "1"}


def _mode(exchange: Exchange) -> Mode:
    return {"global": Mode.GLOBAL, "thread-local": Mode.THREAD_LOCAL}[exchange.option("mode")]


class _Exporting:
    """A callable that exports, and keeps all capsules."""

    def __init__(self, exchange: Exchange, standing: Any, asked: int | None) -> None:
        self._producer, self._standing, self._asked = exchange.producer, standing, asked
        history = History(exchange.option("history", History.FRESH.value))
        self._array = past_operand(self._producer, _INT32, exchange.device, history)
        self._offer = DLPackOffer(self._producer.exporter(self._array, Protocol.DLPACK))
        self._exchange = exchange
        self._capsules: list[Any] = []
        try:
            with self._producer.using(standing):
                self()
        except Exception as error:
            exchange.check_context(error)
            told = f"{self._producer.name} refuses this stream even without a capture: {brief(error)}"
            raise Refused(told) from error

    def __call__(self) -> None:
        with self._exchange.step(Doing.EXPORT, Role.PRODUCER):
            self._capsules.append(self._offer.__dlpack__(stream=self._asked))

    def write(self) -> None:
        """Queue the producer's write, so that there is pending work to wait for."""
        self._producer.fill(self._array, _NEW, self._standing)

    def expect_shared(self) -> None:
        """Raise unless the last capsule has the array's own memory. A copy made in the capture would not change with the array."""
        seen = dlpack.decode(capsule.pointer(self._capsules[-1]), capsule.name(self._capsules[-1]))
        address = self._producer.describe(self._array).address
        if seen.element0 != address:
            fail(
                Code.NOT_SHARED,
                "DLP-43",
                role=Role.PRODUCER,
                reason="in a capture the producer exports other memory than the array's",
                expected=f"element 0 at {address:#x}",
                seen=f"element 0 at {seen.element0:#x}",
            )


def _report_broken_export(exchange: Exchange, seen: Captured, *, relaxed: bool) -> NoReturn:
    """Fail for an export that breaks the capture.

    For -1 it is a violation if a relaxed capture breaks too, because a relaxed capture only forbids waits. Otherwise only the capture's mode
    forbids the call.
    """
    exchange.check_context()
    if not seen.invalidated:
        raise Refused(
            f"{exchange.producer.name} refuses to export in a capture, and the capture stays valid: {seen.raised}"
        )
    if seen.step == _WRITE:
        raise Inconclusive(str(seen))
    waits = relaxed and exchange.option("stream") == "minus-one"
    legacy = exchange.option("stream") in ("none", "legacy")
    fail(
        Code.UNINVITED_WAIT if waits else Code.CAPTURE_BROKEN,
        "DLP-32" if waits else "CUD-09" if legacy else "CUD-08",
        role=Role.PRODUCER,
        level=None if waits else Level.OBSERVED,
        reason=f"{seen.step} breaks the capture" + ("" if relaxed else _NOT_RELAXED),
        expected="a valid capture",
        seen=seen.raised or "no exception",
    )


_NOT_RELAXED = ", but not a relaxed one: it makes a call that does not wait, but that the capture's mode forbids"


def _relaxed(attempt: Callable[..., Captured]) -> bool:
    """Return whether the same steps also break a relaxed capture."""
    seen = attempt(mode=Mode.RELAXED)
    if seen.graph is not None:
        seen.graph.close()
    return seen.graph is None


@invariant(
    "capture.past-export",
    producer="DLP-32 DLP-43 CUD-08 CUD-09",
    context="CUD-10",
    bugs="I18",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(
        (p for p in env.exports(Protocol.DLPACK, on=_ON) if p.producer.has(Trait.FOREIGN_STREAM)),
        history=pasts, stream=("minus-one", "handle"), captured=("current",), mode=("global", "thread-local"),
    ),
    exclusive=True,
)  # fmt: skip
def test_past_export(exchange: Exchange) -> None:
    """A producer must not wait in an export of a reused array for ``stream=-1``, so the export must leave a capture valid.

    The suite records the result of an export for the captured stream.
    """
    exchange.special(_PASTS[History(exchange.option("history"))])
    test_export_stream(exchange)


# -- the end of an import


@invariant(
    "capture.drop",
    producer="CUD-08",
    consumer="CUD-08",
    context="CUD-10",
    bugs="I18",
    level=Level.SHOULD,
    needs=Needs.GPU,
    cases=lambda env: every(_pairs(env), quick=shows_one_library, array=_arrays, thread=("same", "another")),
    exclusive=True,
)
def test_drop(exchange: Exchange) -> None:
    """A library should leave a capture valid and raise nothing when an import is dropped during it, on any thread.

    The drop runs the deleter. With ``kept`` the producer still has its array. With ``last`` the memory is freed too, which
    many allocators cannot do in a capture: the suite only records that.
    """
    streams = capturing.streams_of(exchange.device)
    stream = capturing.our_stream(exchange.device)
    scratch = REFERENCE.memory(exchange.device).allocate(4)
    drop = partial(_drop_in_capture, exchange, streams, stream, scratch.address)
    seen, raised = drop(mode=Mode.GLOBAL)
    exchange.notes["seen"] = str(seen)
    if seen.graph is None or raised:
        _report_drop(exchange, seen, raised, relaxed=_relaxed(lambda mode: drop(mode=mode)[0]))
    seen.graph.launch(stream)
    streams.synchronize(stream)
    seen.graph.close()
    if (written := REFERENCE.memory(exchange.device).read(scratch.address, 4)) != _NEW.to_bytes(4, "little"):
        raise Inconclusive(f"the control graph does not work: {written.hex()}")
    exchange.notes["control"] = capturing.control(exchange.device)


def _arrays(pair: Pair) -> tuple[str, ...]:
    """Return the parameter's values. The reference frees GPU memory by a call that CUDA forbids in a capture, so its array is kept there."""
    return ("kept",) if pair.producer.name == REFERENCE_NAME and pair.device is Device.CUDA else ("kept", "last")


def _drop_in_capture(
    exchange: Exchange, streams: Streams, stream: int, scratch: int, *, mode: Mode
) -> tuple[Captured, list[str]]:
    """Make one import before the capture and drop it inside. Return the result of the capture, and the exceptions of destructors."""
    sides = _sides(exchange)
    try:
        for library in (sides.producer, sides.consumer):
            fresh(library)
        array = sides.producer.operand(sides.kind, SHAPE, sides.device)
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            offer = sides.producer.offer(array, sides.protocol)
            held = [sides.consumer.take_operand(offer, sides.protocol, sides.device)]
            del offer
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"the exchange is refused even without a capture: {brief(error)}") from error
    arrays = [array]
    del array
    if exchange.option("array") == "last":
        arrays.clear()
    streams.synchronize_device()
    drop = held.clear if exchange.option("thread") == "same" else partial(_in_thread, held.clear)
    with capturing.unraisable() as raised:
        steps: list[Step] = [
            ("the suite's work before the drop", lambda: streams.fill(scratch, 1, _OLD, stream)),
            ("dropping the import", drop),
            ("the suite's work after the drop", lambda: streams.fill(scratch, 1, _NEW, stream)),
        ]
        return captured(streams, stream, steps, mode=mode), raised


def _in_thread(action: Callable[[], object]) -> None:
    thread = threading.Thread(target=action)
    thread.start()
    thread.join()


def _report_drop(exchange: Exchange, seen: Captured, raised: list[str], *, relaxed: bool) -> NoReturn:
    if seen.graph is not None:
        seen.graph.close()
    exchange.check_context()
    told = "; ".join([*([seen.raised] if seen.raised else []), *raised]) or "no exception"
    fail(
        Code.CAPTURE_BROKEN_BY_DROP,
        "CUD-08",
        role=_suspect(exchange),
        level=Level.SHOULD if exchange.option("array") == "kept" else Level.OBSERVED,
        reason="dropping an import "
        + ("raises in a capture" if seen.graph is not None else "breaks the capture of an unrelated stream")
        + ("" if relaxed else _NOT_RELAXED),
        expected="a valid graph, and no exception",
        seen=told,
    )


# -- the C exchange API

_FUNCTIONS = {
    "export": "managed_tensor_from_py_object_no_sync",
    "borrow": "dltensor_from_py_object_no_sync",
    "import": "managed_tensor_to_py_object_no_sync",
    "stream": "current_work_stream",
}


def _tabled(env: Environment) -> Iterator[Pair]:
    """Yield producers whose array type has the table of the C exchange API, on a device with streams."""
    for pair in env.exports(Protocol.DLPACK, on=_ON):
        if pair.producer.has(Trait.EXCHANGE_API) and pair.producer.has(Trait.FOREIGN_STREAM):
            yield pair


@invariant(
    "capture.exchange-api",
    producer="DLX-04 CUD-08",
    context="CUD-10",
    bugs="I18",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(_tabled(env), function=tuple(_FUNCTIONS), mode=("global", "thread-local")),
    exclusive=True,
)
def test_exchange_api(exchange: Exchange) -> None:
    """A producer must not synchronize in a function of the C exchange API, so a call must leave a capture of its current stream valid."""
    streams, producer, device = capturing.streams_of(exchange.device), exchange.producer, exchange.device
    stream = capturing.our_stream(device)
    calling = _Calling(exchange, exchange.option("function"))
    with producer.using(producer.foreign_stream(stream, device)):
        calling()
        attempt = partial(captured, streams, stream, [(_FUNCTIONS[exchange.option("function")], calling)])
        seen = attempt(mode=_mode(exchange))
        relaxed = seen.graph is None and _relaxed(attempt)
    exchange.notes["seen"] = str(seen)
    calling.release()
    if seen.graph is None:
        fail(
            Code.CAPTURE_BROKEN,
            "DLX-04" if relaxed else "CUD-08",
            role=Role.PRODUCER,
            level=None if relaxed else Level.OBSERVED,
            reason=f"{seen.step} breaks the capture" + ("" if relaxed else _NOT_RELAXED),
            expected="a valid capture",
            seen=seen.raised or "no exception",
        )
    seen.graph.close()
    exchange.notes["control"] = capturing.control(exchange.device)


@invariant(
    "capture.current-stream",
    producer="DLX-04",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(
        (p for p in _tabled(env) if p.producer.has(Trait.CURRENT_STREAM)), stream=("captured", "own", "default")
    ),
    exclusive=True,
)
def test_current_stream(exchange: Exchange) -> None:
    """A producer must return its current stream from ``current_work_stream``, also while that stream is captured."""
    streams, producer, device = capturing.streams_of(exchange.device), exchange.producer, exchange.device
    which = exchange.option("stream")
    standing = producer.default_stream(device) if which == "default" else stream_of(producer, "producer", device)
    handle = producer.handle(standing)
    calling = _Calling(exchange, "stream")
    with producer.using(standing):
        if which == "captured":
            seen = captured(streams, handle, [(_FUNCTIONS["stream"], calling)])
            if seen.graph is not None:
                seen.graph.close()
        else:
            calling()
    answer = calling.answers[-1] if calling.answers else None
    right = {handle, 0} if handle == LEGACY else {handle}
    if answer not in right:
        fail(
            Code.WRONG_CURRENT_STREAM, "DLX-04", role=Role.PRODUCER,
            reason="`current_work_stream` returns another stream than the current one",
            expected=f"{handle:#x}", seen="no stream" if answer is None else f"{answer:#x}",
        )  # fmt: skip


class _Calling:
    """A callable that calls one function of the table. It keeps all results until :meth:`release`."""

    def __init__(self, exchange: Exchange, function: str) -> None:
        self._exchange = exchange
        fresh(exchange.producer)
        self._thing = exchange.producer.tabled(exchange.producer.operand(_INT32, SHAPE, exchange.device))
        found = exchange_api.table(type(self._thing))
        assert found is not None, "planned only where the type has the attribute"
        name = _FUNCTIONS[function]
        if not found.functions.get(name):
            raise Refused(f"{exchange.producer.name} has no function {name}")
        self._address = found.functions[name]
        self._call = {"export": self._export, "borrow": self._borrow, "import": self._import, "stream": self._stream}[
            function
        ]
        self._device = exchange.device.dlpack_type
        self._reference = exchange.library(REFERENCE_NAME)
        self._sources = iter([exchange.make(self._reference) for _ in range(3)] if function == "import" else [])
        self._structs: list[int] = []
        self._kept: list[Any] = []
        self.answers: list[int] = []

    def __call__(self) -> None:
        with self._exchange.step(Doing.EXPORT, Role.PRODUCER):
            code = self._call()
        if code:
            raise RuntimeError(f"the function returns {code}")

    def _export(self) -> int:
        out = ctypes.c_void_p()
        code = int(exchange_api.FROM_PY(self._address)(self._thing, ctypes.byref(out)))
        self._structs += [out.value] if out.value else []
        return code

    def _borrow(self) -> int:
        managed = DLManagedTensorVersioned()
        self._kept.append(managed)
        return int(exchange_api.BORROW(self._address)(self._thing, ctypes.addressof(managed.dl_tensor)))

    def _import(self) -> int:
        source = next(self._sources)
        managed = Managed(source.array.table_fields(), source.array)
        out = ctypes.py_object()
        code = int(exchange_api.TO_PY(self._address)(managed.address, ctypes.byref(out)))
        if not code:
            self._kept.append(out.value)
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(self._kept[-1]))  # the function's own reference
            out.value = None
        self._kept += [managed, source]
        return code

    def _stream(self) -> int:
        out = ctypes.c_void_p()
        code = int(exchange_api.CURRENT_STREAM(self._address)(self._device, 0, ctypes.byref(out)))
        self.answers.append(out.value or 0)
        return code

    def release(self) -> None:
        """Release all results. This is only safe after the capture."""
        for address in self._structs:
            deleter = DLManagedTensorVersioned.from_address(address).deleter
            if deleter:
                DELETER(deleter)(address)
        self._structs.clear()
        self._kept.clear()
