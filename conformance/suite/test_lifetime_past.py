"""Family ``lifetime``: memory of an array with a past, which earlier exports or owners must not affect."""

from __future__ import annotations

from typing import Any

from conformance.adapters.base import Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import every, invariant
from conformance.checks.changed_memory import COUNT, FLOAT32, PRESSURE, TRIES, Memory, fate
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Source, collect
from conformance.checks.libraries import REFERENCE, Pair
from conformance.checks.outcomes import Inconclusive, Refused, Side, fail
from conformance.checks.patterns import pattern
from conformance.checks.steps import Doing
from conformance.ordering.histories import History, Maker, pasts, with_past
from conformance.protocols.clauses import Level, Role
from conformance.protocols.strided import packed

_PASTS = {
    History.REEXPORT.value: "an import that is exported again",
    History.CACHED.value: "an array with the memory of one that is gone",
}


def _histories(pair: Pair) -> tuple[str, ...]:
    """Return an axis: the pasts that concern the memory of an array. A past write does not."""
    return tuple(name for name in pasts(pair) if name in _PASTS)


@invariant(
    "lifetime.past",
    producer="DLP-28",
    bugs="I19",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), history=_histories),
)
def test_past(exchange: Exchange) -> None:
    """A producer must keep the elements of an import after it drops its array, also if that array has a past.

    The array is an import that is exported again, or has the memory of an array that was exported before and is gone. A control shows that
    the memory is reused without an import.
    """
    name = exchange.option("history")
    exchange.special(_PASTS[name])
    source = _made(exchange, History(name))
    memory = Memory(source.address, source.block)
    taken = exchange.take(exchange.offer(source), promised="")
    if exchange.consumer.describe(taken).address != source.address:
        raise Refused(f"{exchange.producer.name} exports a copy, so the case cannot observe the memory")
    source.array = None
    lost = _under_pressure(exchange, memory)
    if lost:
        fail(
            Code.RELEASED_EARLY, "DLP-28", role=Role.PRODUCER, reason="the memory is reused while the import lives", expected="the elements of the import",
            seen=lost, accused=Side.PRODUCER,
        )  # fmt: skip
    del taken
    exchange.notes["control"] = _control(exchange, History(name))


def _made(exchange: Exchange, history: History) -> Source:
    """Return a vector of the producer with this past, filled with a pattern."""
    library, device, data = exchange.producer, exchange.device, pattern(FLOAT32, COUNT)
    reference = exchange.library(REFERENCE)
    assert isinstance(reference, ReferenceAdapter)

    def lend(protocol: Protocol) -> tuple[Any, int]:
        lent = reference.array(FLOAT32, (COUNT,), data, device)
        return reference.offer(lent, protocol), lent.element0()

    def write(array: Any) -> None:
        """Export the array once: this export is its past."""
        reference.take(library.offer(array, Protocol.DLPACK), Protocol.DLPACK, device)

    maker = Maker(
        library,
        lambda: library.array(FLOAT32, (COUNT,), data, device),
        lend,
        lambda offer, protocol: library.take(offer, protocol, device),
        write,
    )
    with exchange.step(Doing.IMPORT, Role.CONSUMER, library.name, is_lent=True):
        array = with_past(maker, history)
    return Source(array, FLOAT32, packed((COUNT,)), library.describe(array).address, data)


def _under_pressure(exchange: Exchange, memory: Memory) -> str:
    """Return what happened to ``memory`` after both libraries have made arrays of its size; empty if nothing."""
    collect()
    others = []
    for seed in range(1, PRESSURE + 1):
        for library in (exchange.producer, exchange.library(REFERENCE)):
            data = pattern(FLOAT32, COUNT, seed)
            array = library.array(FLOAT32, (COUNT,), data, exchange.device)
            others.append(Source(array, FLOAT32, packed((COUNT,)), library.describe(array).address, data))
    return fate(exchange, memory, others)


def _control(exchange: Exchange, history: History) -> str:
    for _ in range(TRIES):
        source = _made(exchange, history)
        memory = Memory(source.address, source.block)
        source.array = None
        exchange.producer.let_go()
        lost = _under_pressure(exchange, memory)
        if lost:
            return f"without an import: {lost}"
    raise Inconclusive("the memory also stays unchanged without an import, so the case proves nothing")
