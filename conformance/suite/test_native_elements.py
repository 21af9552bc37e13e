"""Family ``native``: elements that DLPack cannot express, in an object that a user passes directly."""

from __future__ import annotations

from typing import Any, NoReturn

from conformance.adapters.calls import UserCall
from conformance.adapters.special import Foreign, named
from conformance.checks.catalogue import every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange
from conformance.checks.libraries import Pair
from conformance.checks.native_handover import Got, by_protocols, call_of, natively
from conformance.checks.outcomes import Refused, Side, fail
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import DTYPES

from .test_native import calls, objects


def _never(pair: Pair) -> bool:
    return False


def _foreign(pair: Pair) -> tuple[str, ...]:
    return pair.source.foreign


@invariant(
    "native.elements",
    consumer="NAT-01",
    context="DLP-23 DLP-12",
    bugs="I11",
    level=Level.SHOULD,
    cases=lambda env: every(objects(env), quick=_never, call=calls, elements=_foreign),
)
def test_elements(exchange: Exchange) -> None:
    """A consumer should not share elements that the protocols refuse as numbers of another type. Examples are dates and foreign byte order.

    A consumer that reads an object directly also meets such elements. It may refuse them, copy them, or report their own type.
    """
    call, foreign = call_of(exchange), named(exchange.producer.foreign, exchange.option("elements"))
    exchange.special(foreign.given or f"{foreign.name} elements")
    array = _made(exchange, foreign)
    first, again = natively(exchange, array), natively(exchange, array)
    others = by_protocols(exchange, array)
    is_refused = all(other.view is None for other in others.values())
    if is_refused and _is_shared(first, again) and not _is_true(foreign, first):
        _report_taken(exchange, call, foreign, first)


def _made(exchange: Exchange, foreign: Foreign) -> Any:
    try:
        return foreign.build(exchange.producer)
    except Exception as error:
        raise Refused(f"this version of {exchange.case.producer} has no such array: {error}") from error


def _is_shared(first: Got, again: Got) -> bool:
    """Return whether both results have the same memory; two copies do not."""
    return first.view is not None and again.view is not None and first.view.address == again.view.address


def _is_true(foreign: Foreign, got: Got) -> bool:
    """Return whether the result reports no number type, or one that is correct for these elements."""
    assert got.view is not None
    kind = DTYPES.get(got.view.dtype or "")
    return kind is None or (int(kind.code), kind.bits) in [(int(code), bits) for code, bits in foreign.words]


def _report_taken(exchange: Exchange, call: UserCall, foreign: Foreign, got: Got) -> NoReturn:
    fail(
        Code.DTYPE_CHANGED, "NAT-01", role=Role.CONSUMER, reason=f"{call.name} shares {foreign.name} elements as numbers of another type",
        expected="a refusal, as by the protocols", seen=str(got), accused=Side.CONSUMER,
    )  # fmt: skip
