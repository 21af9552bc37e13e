"""Family ``native``: streams, lifetime, derived classes and looks at attributes of objects that are handed over as they are."""

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
    """A call that refuses ``None`` in the place of a stream refuses it for an object that is handed over as it is, too.

    ``None`` names no stream, so that on a GPU nothing would be ordered. On the host there is nothing to order, and a difference is observed.
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
        reason=f"{call.name} takes no stream for an object that is handed over as it is",
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
    """Inside the stream's context where the producer has one: its current stream is the one that it has written on."""
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
    """A consumer that takes an object as it is reads on its own stream what the producer has queued on its current stream.

    What goes out of order behind a protocol as well is told by the family ``ordering``, and is only observed here. So is a producer that
    has no current stream.
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
        raise Inconclusive(f"no protocol shows how the two exchange: {exchange.notes['protocols']}")
    is_own = setting.how is How.INSIDE and all(not trial.wrong for trial in trials)
    fail(
        Code.STALE_READ, "NAT-04", role=Role.CONSUMER, level=None if is_own else Level.OBSERVED,
        reason=f"{call.name} of an object as it is does not wait for the producer's pending write",
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
    consumer="NAT-06",
    context="DLP-28",
    bugs="I19",
    level=Level.SHOULD,
    isolation=Isolation.RISKY,
    cases=_watchable,
)
def test_keeps_memory(exchange: Exchange) -> None:
    """What a call made of an object as it is keeps the memory, though the object itself is dropped.

    The producer's array lies on memory of ours, whose deleter tells when everybody has let go. The memory is not read after that.
    """
    call, subject = call_of(exchange), watched(exchange)
    result = natively(exchange, subject.array)
    if result.view is None:
        raise Refused(f"{call.name}: {brief(result.error)}")
    if result.view.address != subject.address:
        exchange.notes["gives"] = "a copy, which keeps nothing"
        return
    subject.array = None
    collect()
    settle()
    if subject.released:
        fail(
            Code.RELEASED_EARLY, "NAT-06", role=Role.CONSUMER, reason=f"the memory is released while what {call.name} made of it lives",
            expected="memory that lives as long as the import", seen="the deleter is called", accused=Side.CONSUMER,
        )  # fmt: skip
    exchange.notes["gives"] = f"shared memory that lives as long as {type(result.taken).__name__}"


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
    """A call for DLPack asks the ``__dlpack__`` of an object's own class, and not the class that it is derived from.

    The own method refuses, as that of a class does whose elements are not what lies in memory.
    """
    call = call_of(exchange)
    asked: list[str] = []
    thing = exchange.producer.subclassed(exchange.source().array, lambda: asked.append(DLPACK))
    result = got(exchange, lambda: call.take(exchange.consumer, thing, exchange.device))
    if result.view is None:
        exchange.notes["asked"] = "yes" if asked else f"no, and refused: {brief(result.error)}"
        return
    fail(
        Code.SUBCLASS_BYPASSED, "NAT-07", role=Role.CONSUMER, reason=f"{call.name} takes an object whose own `__dlpack__` refuses",
        expected="its own `__dlpack__` is called, and its refusal counts",
        seen=f"{result}; `__dlpack__` was {'called' if asked else 'not called'}", given="", accused=Side.CONSUMER,
    )  # fmt: skip


# -- looks


def _once(env: Environment) -> Iterator[Pair]:
    """Each producer once on each device."""
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
    """A look whether an object offers a protocol is answered, or ends in ``AttributeError``; for a buffer in ``TypeError`` or ``BufferError``.

    Consumers look for several protocols before they find one. Whichever exception escapes ends the whole exchange.
    """
    thing = native(exchange, made(exchange).array)
    with exchange.step(Doing.EXPORT, Role.PRODUCER):
        raised = raised_by_looks(thing)
    exchange.check_context()
    if not raised:
        return
    exchange.notes["raised"] = "; ".join(f"{name}: {told}" for name, told in raised.items())
    name, told = next(iter(raised.items()))
    fail(
        Code.LOOKUP_RAISES, "PY-01", role=Role.PRODUCER, level=Level.OBSERVED, reason=f"a look for `{name}` raises",
        expected="an answer, or that there is none", seen=told, given=f"a look for `{name}`",
    )  # fmt: skip
