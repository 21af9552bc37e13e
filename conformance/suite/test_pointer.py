"""Family ``pointer``: one memory, seen from both sides (rows A)."""

from __future__ import annotations

from conformance.adapters.base import Protocol
from conformance.protocols.clauses import Level, Role

from .catalogue import dtypes, every, invariant, layouts
from .exchange import Exchange
from .layouts import NEGATIVE, PLAIN, STRIDED, ZERO_STRIDE
from .outcomes import fail


@invariant(
    "pointer.same-address",
    clauses="DLP-43 CAI-05",
    rows="A1 I31",
    level=Level.MUST,
    cases=lambda env: every(env.pairs(), layout=layouts(*PLAIN), dtype=dtypes("float32", "uint8", "complex128")),
)
def test_same_address(exchange: Exchange) -> None:
    """The consumer's element 0 lies at the producer's address: nothing was copied on the way."""
    source = exchange.source()
    taken = exchange.take(source)
    exchange.expect_address(source, exchange.look(taken))


@invariant(
    "pointer.values",
    clauses="DLP-43 CAI-05",
    rows="A10 I07 B2 B3 B4 B5",
    level=Level.MUST,
    cases=lambda env: every(
        env.pairs(), layout=layouts("c-order", *STRIDED, *NEGATIVE, *ZERO_STRIDE), dtype=dtypes("float32", "uint8")
    ),
)
def test_values(exchange: Exchange) -> None:
    """The consumer reads exactly the producer's elements, whatever the layout.

    Refusing a layout is allowed; reading other elements is not.
    """
    source = exchange.source()
    taken = exchange.take(source)
    exchange.expect_values(source, exchange.read(taken))


@invariant(
    "pointer.view-export",
    clauses="CAI-05 DLP-43",
    rows="A5 I02",
    level=Level.MUST,
    cases=lambda env: every(
        env.exports(),
        layout=layouts("inner", "rows", *STRIDED, *NEGATIVE, *ZERO_STRIDE, "scalar-view"),
        dtype=("float32",),
    ),
)
def test_view_export(exchange: Exchange) -> None:
    """A view publishes its own first element: the block's address plus the view's offset."""
    source = exchange.source()
    offer = exchange.offer(source)
    if exchange.protocol is Protocol.CAI:
        seen = offer.__cuda_array_interface__["data"][0]
        clause = "CAI-05"
    else:
        seen = exchange.decode(exchange.capsule_of(source)).element0
        clause = "DLP-43"
    if seen != source.address:
        fail(
            clause,
            role=Role.PRODUCER,
            reason="the exported address is not that of the view's first element",
            expected=hex(source.address),
            seen=hex(seen),
        )
