"""Family ``pointer``: arrays that a library's own calls make, with its own strides and addresses."""

from __future__ import annotations

import struct
from typing import Any

from conformance.adapters.base import Protocol
from conformance.adapters.making import Making
from conformance.adapters.special import named
from conformance.checks.catalogue import every, invariant
from conformance.checks.exchange import Exchange, Source, brief
from conformance.checks.libraries import REFERENCE, Pair
from conformance.checks.outcomes import Refused
from conformance.protocols.clauses import Level
from conformance.protocols.strided import Strided

STRIDES_OF_NOTHING = "an array without elements, with the strides that its library gives it"


def _made(pair: Pair) -> tuple[str, ...]:
    return pair.source.made


@invariant(
    "pointer.as-made",
    producer="DLP-59 CAI-05",
    consumer="DLP-58 DLP-53 CAI-32",
    bugs="I07",
    level=Level.MUST,
    cases=lambda env: every(env.pairs(), made=_made),
)
def test_as_made(exchange: Exchange) -> None:
    """A consumer must import the shape, type and elements of an array that a producer's own call makes, with any address and strides.

    The strides of an array without elements have no effect. So a consumer that accepts another one of the same shape must accept this one.
    """
    making = named(exchange.producer.made, exchange.option("made"))
    source = _source(exchange, making)
    promised = exchange.promises(plain=source.view.contiguous) if making.numbers else ""
    if not making.numbers:
        exchange.special(STRIDES_OF_NOTHING)
        by_dlpack = exchange.protocol is Protocol.DLPACK
        if by_dlpack and _gives(exchange, source) and _takes_nothing(exchange, making.shape):
            promised = "DLP-53"
    taken = exchange.take(source, promised=promised)
    view = exchange.look(taken)
    exchange.expect_shape(source, view)
    exchange.expect_type(source, view)
    if making.numbers:
        exchange.expect_values(source, exchange.read(taken))


def _source(exchange: Exchange, making: Making) -> Source:
    """Return the producer's array, with the address and the strides that its library reports."""
    producer, kind = exchange.producer, exchange.dtype
    try:
        array: Any = producer.make(making, exchange.device)
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"this version of {producer.name} cannot make such an array: {brief(error)}") from error
    view = producer.describe(array)
    values = struct.pack(f"={len(making.numbers)}f", *making.numbers)
    strides = tuple(stride // kind.itemsize for stride in view.strides)
    source = Source(array, kind, Strided(making.shape, strides), view.address, values, elements=values)
    return exchange.made(source)


def _gives(exchange: Exchange, source: Source) -> bool:
    """Return whether the producer exports the array at all, because the clause binds only the consumer."""
    try:
        exchange.producer.exporter(source.array, Protocol.DLPACK).__dlpack__()
    except Exception as error:
        exchange.check_context(error)
        return False
    return True


def _takes_nothing(exchange: Exchange, shape: tuple[int, ...]) -> bool:
    """Run a control: return whether the consumer accepts an array of the reference with this shape and packed strides."""
    reference = exchange.library(REFERENCE)
    with exchange.control("an array without elements"):
        array = reference.array(exchange.dtype, shape, b"", exchange.device)
        try:
            exchange.consumer.take(reference.offer(array, exchange.protocol), exchange.protocol, exchange.device)
        except Exception as error:
            exchange.check_context(error)
            return False
    return True
