"""Family ``argument``: objects with the CUDA Array Interface that a library passes to its kernels without making an array of them.

``ordering.handover`` with ``kernel`` checks the order and the elements that such a kernel reads.
"""

from __future__ import annotations

from collections.abc import Iterator

from conformance.adapters.base import Device, Protocol
from conformance.checks import kernel_control
from conformance.checks.catalogue import Needs, every, invariant, layouts
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Source
from conformance.checks.layouts import EMPTY, OFFSET
from conformance.checks.libraries import Environment, Pair
from conformance.checks.outcomes import fail
from conformance.ordering.handover import takes_arguments
from conformance.protocols.clauses import Level, Role

_ON = (Device.CUDA, Device.SIMULATED)


def _pairs(env: Environment) -> Iterator[Pair]:
    """Yield every producer with each library that has such kernels."""
    return filter(takes_arguments, env.pairs(Protocol.CAI, on=_ON))


def _address(exchange: Exchange, source: Source, promised: str = "") -> int:
    """Return the address that a kernel of the consumer gets for the producer's array; a refusal ends the case."""
    kernel_control.expect_kernels(exchange, exchange.consumer)
    offer = exchange.offer(source)
    argument = exchange.accepting(
        lambda: exchange.consumer.take_argument(offer, exchange.device), offer, promised=promised
    )
    address: int = exchange.accepting(lambda: exchange.consumer.argument_address(argument), offer, promised=promised)
    return address


@invariant(
    "argument.address",
    producer="CAI-05",
    consumer="CAI-32",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(_pairs(env), layout=layouts("c-order", *OFFSET, "reversed-rows")),
)
def test_address(exchange: Exchange) -> None:
    """A consumer must pass the address of element 0 to its kernel when the kernel gets the producer's object as an argument."""
    source = exchange.source()
    address = _address(exchange, source)
    if address == source.address:
        return
    exchange.expect_handed(source)
    fail(
        Code.WRONG_ADDRESS,
        "CAI-32",
        role=Role.CONSUMER,
        reason="the consumer passes its kernel a different address than the producer publishes",
        expected=f"element 0 at {source.address:#x}",
        seen=f"element 0 at {address:#x}",
        accused=exchange.reader_at_fault(),
    )


@invariant(
    "argument.empty",
    consumer="CAI-07",
    level=Level.SHOULD,
    needs=Needs.GPU,
    cases=lambda env: every(_pairs(env), layout=layouts(*EMPTY)),
)
def test_empty(exchange: Exchange) -> None:
    """A consumer should pass an array without elements to its kernel, with the address that the producer publishes.

    This address is usually 0.
    """
    source = exchange.source()
    address = _address(exchange, source, promised="CAI-07")
    published = exchange.handed.address if exchange.handed else 0
    if address != published:
        fail(
            Code.WRONG_ADDRESS,
            "CAI-07",
            role=Role.CONSUMER,
            reason="the consumer passes its kernel a different address than the producer publishes",
            expected=hex(published),
            seen=hex(address),
            accused=exchange.reader_at_fault(),
        )
