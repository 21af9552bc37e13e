"""Family ``native``: streams, lifetime, subclasses and attribute lookups of objects that a user passes directly."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from conformance.adapters.base import Device, Protocol, Trait
from conformance.adapters.calls import DLPACK
from conformance.checks.catalogue import Draft, Isolation, Needs, every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, brief, collect
from conformance.checks.libraries import REFERENCE, Environment, Pair, shows_one_library
from conformance.checks.native_handover import call_of, got, native, natively, raised_by_looks, shared_protocols
from conformance.checks.offers import watched
from conformance.checks.outcomes import Inconclusive, Refused, Side, fail
from conformance.checks.steps import Doing
from conformance.ordering.evidence import in_words, overtaken, seen_in, tried, without_wait
from conformance.ordering.handover import Forward, How, Setting, can_be_inside
from conformance.ordering.native_handover import Natively
from conformance.protocols.clauses import Level, Role
from conformance.reference.managed import settle

from .test_native import arrays, further, made, objects

# -- streams


def _stream_calls(pair: Pair) -> tuple[str, ...]:
    return pair.target.called.stream


@invariant(
    "native.stream-argument",
    consumer="NAT-03",
    level=Level.MUST,
    cases=lambda env: every(objects(env), call=_stream_calls),
)
def test_stream_argument(exchange: Exchange) -> None:
    """A call that refuses ``None`` as a stream behind a protocol must also refuse it for an object that a user passes directly.

    ``None`` names no stream, so on a GPU no work would be ordered. On the host the suite only records a difference.
    """
    call = call_of(exchange)
    on_stream = call.on_stream
    assert on_stream is not None
    source = exchange.source()
    thing = native(exchange, source.array, call)
    offer = exchange.producer.offer(source.array, exchange.protocol)
    behind = got(exchange, lambda: on_stream(exchange.consumer, offer, exchange.device, None))
    itself = got(exchange, lambda: on_stream(exchange.consumer, thing, exchange.device, None))
    exchange.notes["behind a protocol"], exchange.notes["as it is"] = str(behind), str(itself)
    if itself.view is None:
        return
    level = Level.OBSERVED if exchange.device is Device.HOST else None if behind.view is None else Level.SHOULD
    fail(
        Code.NOT_REFUSED, "NAT-03", role=Role.CONSUMER, level=level,
        reason=f"{call.name} accepts `None` as the stream for an object that is handed over as it is",
        expected=f"a refusal, as behind a protocol: {behind}" if behind.view is None else "a refusal", seen=str(itself),
        given="no stream for an object that is handed over as it is", accused=Side.CONSUMER,
    )  # fmt: skip


_ON = (Device.CUDA, Device.SIMULATED)


def _ordered(env: Environment) -> Iterator[Draft]:
    pairs = (
        pair
        for pair in objects(env)
        if pair.device in _ON and pair.producer.has(Trait.STREAMS) and pair.consumer.has(Trait.STREAMS)
    )
    return every(pairs, quick=shows_one_library, call=lambda pair: pair.target.called.queued, how=_how)


def _how(pair: Pair) -> tuple[str, ...]:
    """Return an axis: inside the producer's stream context if it has one, so that its current stream is the one of the write."""
    return ((How.INSIDE if can_be_inside(pair.producer, pair.consumer, pair.protocol) else How.OUTSIDE).value,)


@invariant(
    "native.ordering",
    consumer="NAT-04",
    context="CAI-18 DLP-35",
    bugs="I14",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_ordered,
    exclusive=True,
)
def test_ordering(exchange: Exchange) -> None:
    """A consumer that gets an object directly must see, on its own stream, all work that the producer queued on its current stream.

    If a protocol shows the same race, the family ``ordering`` reports it and the suite only records it here. The same holds for a producer
    without a current stream.
    """
    call = call_of(exchange)
    how = How(exchange.option("how"))
    setting = Setting(exchange.producer, exchange.consumer, exchange.protocol, exchange.device, how)
    seen = seen_in(exchange, setting.streams, lambda: Natively(setting, call))
    if seen.in_order:
        exchange.notes["control"] = overtaken(setting.streams, without_wait(setting, Forward, seen))
        return
    trials = [
        tried(f"behind {protocol.value}", setting.but(protocol=protocol), Forward)
        for protocol in shared_protocols(exchange)
    ]
    exchange.notes["protocols"] = "; ".join(map(str, trials))
    if not any(trial.seen is not None for trial in trials):
        raise Inconclusive(f"no protocol works between the two libraries: {exchange.notes['protocols']}")
    is_own = setting.how is How.INSIDE and all(not trial.wrong for trial in trials)
    fail(
        Code.STALE_READ, "NAT-04", role=Role.CONSUMER, level=None if is_own else Level.OBSERVED,
        reason=f"{call.name} of an object that is handed over as it is does not wait for the producer's pending write",
        expected="the consumer reads the new value", seen=in_words(seen, setting), given="",
        accused=Side.CONSUMER if is_own else Side.NEITHER,
    )  # fmt: skip


# -- lifetime


def _watchable(env: Environment) -> Iterator[Draft]:
    pairs = (pair for pair in objects(env) if pair.protocol is Protocol.DLPACK)
    return every(pairs, call=lambda pair: pair.target.called.calls)


@invariant(
    "native.keeps-memory",
    long=True,
    producer="DLP-28",
    consumer="NAT-06",
    bugs="I19",
    level=Level.SHOULD,
    isolation=Isolation.RISKY,
    cases=_watchable,
)
def test_keeps_memory(exchange: Exchange) -> None:
    """An import of an object that a user passes directly should keep the memory after the object is dropped.

    The producer's array is on memory of the suite, whose deleter records the release. The case does not read the memory after that.
    """
    call, subject = call_of(exchange), watched(exchange)
    result = natively(exchange, subject.array)
    if result.view is None:
        raise Refused(f"{call.name}: {brief(result.error)}")
    if result.view.address != subject.address:
        exchange.notes["gives"] = "a copy, which does not need the memory"
        return
    subject.array = None
    collect()
    settle()
    if subject.released and not _is_kept_by_capsule(exchange):
        fail(
            Code.RELEASED_EARLY, "DLP-28", role=Role.PRODUCER, level=Level.MUST,
            reason=f"the memory is released while the result of {call.name} lives, and also while a capsule of the producer lives",
            expected="memory that lives until the deleter of the capsule runs", seen="the deleter of the memory is called",
            accused=Side.PRODUCER,
        )  # fmt: skip
    if subject.released:
        fail(
            Code.RELEASED_EARLY, "NAT-06", role=Role.CONSUMER, reason=f"the memory is released while the result of {call.name} lives",
            expected="memory that lives as long as the import", seen="the deleter is called", accused=Side.CONSUMER,
        )  # fmt: skip
    exchange.notes["gives"] = f"shared memory that lives as long as {type(result.taken).__name__}"


def _is_kept_by_capsule(exchange: Exchange) -> bool:
    """Return whether the memory lives as long as the reference holds a capsule of the producer's array.

    This is the control: a consumer cannot keep memory that the producer releases under its own capsule.
    """
    subject, reference = watched(exchange), exchange.library(REFERENCE)
    with exchange.step(Doing.IMPORT, Role.CONSUMER, REFERENCE):
        taken = reference.take(
            exchange.producer.offer(subject.array, Protocol.DLPACK), Protocol.DLPACK, exchange.device
        )
    subject.array = None
    collect()
    settle()
    is_kept = not subject.released
    del taken  # here, and not before the look
    return is_kept


# -- derived classes


def _derived(pair: Pair) -> tuple[str, ...]:
    return pair.source.called.derived


@invariant(
    "native.subclass",
    consumer="NAT-07",
    level=Level.SHOULD,
    cases=lambda env: every(
        (pair for pair in objects(env) if Protocol.DLPACK in pair.source.exports),
        call=lambda pair: pair.target.called.dlpack, array=_derived,
    ),
)  # fmt: skip
def test_subclass(exchange: Exchange) -> None:
    """A call for DLPack should use the ``__dlpack__`` of the object's own class, not that of its base class.

    The method of the subclass refuses, like that of a class with elements that differ from its memory.
    """
    call = call_of(exchange)
    asked: list[str] = []
    thing = exchange.producer.subclassed(exchange.source().array, lambda: asked.append(DLPACK))
    result = got(exchange, lambda: call.take(exchange.consumer, thing, exchange.device))
    if result.view is None:
        exchange.notes["asked"] = "yes" if asked else f"no, and refused: {brief(result.error)}"
        return
    fail(
        Code.SUBCLASS_BYPASSED, "NAT-07", role=Role.CONSUMER, reason=f"{call.name} accepts an object whose own `__dlpack__` refuses",
        expected="a call of its own `__dlpack__`, and a refusal",
        seen=f"{result}; `__dlpack__` was {'called' if asked else 'not called'}", given="", accused=Side.CONSUMER,
    )  # fmt: skip


# -- attribute lookups


def _once(env: Environment) -> Iterator[Pair]:
    """Yield each producer once on each device."""
    return (pair for pair in objects(env) if pair.consumer.name == REFERENCE)


@invariant(
    "native.protocol-lookup",
    producer="PY-01",
    level=Level.OBSERVED,
    cases=lambda env: chain(
        every(_once(env), dtype=lambda pair: pair.source.dtypes),
        every(_once(env), quick=lambda pair: False, array=lambda pair: (*arrays(pair)[1:], *further(pair))),
    ),
)
def test_protocol_lookup(exchange: Exchange) -> None:
    """The suite records whether a lookup of a protocol attribute raises an exception other than ``AttributeError``.

    A request for a buffer may also raise ``TypeError`` or ``BufferError``. Consumers look for several protocols before they find one, and
    an unexpected exception ends the whole exchange.
    """
    thing = native(exchange, made(exchange).array)
    with exchange.step(Doing.EXPORT, Role.PRODUCER):
        raised = raised_by_looks(thing)
    exchange.check_context()
    if not raised:
        return
    exchange.notes["raised"] = "; ".join(f"{name}: {error}" for name, error in raised.items())
    name, error = next(iter(raised.items()))
    fail(
        Code.LOOKUP_RAISES, "PY-01", role=Role.PRODUCER, level=Level.OBSERVED, reason=f"a lookup of `{name}` raises an exception",
        expected="the attribute, or AttributeError (for a buffer TypeError or BufferError)", seen=error, given=f"a look for `{name}`",
    )  # fmt: skip
