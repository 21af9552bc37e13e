"""Family ``negotiation``: requests to an array with a past. State from earlier work must not change a producer's answer."""

from __future__ import annotations

from typing import NoReturn

from conformance.adapters.base import Device, Protocol
from conformance.checks.catalogue import Isolation, every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, brief
from conformance.checks.libraries import streaming
from conformance.checks.outcomes import Refused, Side, fail
from conformance.checks.steps import Doing
from conformance.ordering.handover import past_operand
from conformance.ordering.histories import History, pasts
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import dtype

_ON_CUDA = (Device.CUDA, Device.SIMULATED)
_PAST_STREAMS = {"unsynchronised": -1, "legacy": 1, "negative": -2}


@invariant(
    "negotiation.past-stream",
    producer="DLP-31",
    context="X10",
    level=Level.MUST,
    isolation=Isolation.RISKY,
    cases=lambda env: every(
        streaming(env.exports(Protocol.DLPACK, on=_ON_CUDA)), history=pasts, stream=tuple(_PAST_STREAMS)
    ),
)
def test_past_stream(exchange: Exchange) -> None:
    """A producer must answer a ``stream`` for an array with a past as for a new array, and must refuse ``stream=-2`` cleanly.

    The array was written on another stream, is an import that is exported again, or has the memory of an array that is gone.
    """
    name = exchange.option("stream")
    stream = _PAST_STREAMS[name]
    with exchange.step(Doing.IMPORT, Role.CONSUMER, exchange.producer.name, is_lent=True):
        array = past_operand(exchange.producer, dtype("int32"), exchange.device, History(exchange.option("history")))
    offer = exchange.offer(array)
    if name == "negative":
        exchange.illegal(f"an array with `stream={stream}`")
        exchange.expect_refusal(
            lambda: offer.__dlpack__(stream=stream), "DLP-31", role=Role.PRODUCER, given=f"`stream={stream}`"
        )
        return
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            exported = offer.__dlpack__(stream=stream)
    except Exception as error:
        exchange.check_context(error)
        _report_refused_past(exchange, stream, error)
    exchange.decode(exported)


def _report_refused_past(exchange: Exchange, stream: int, error: Exception) -> NoReturn:
    """Fail because the producer refuses an array with a past; end the case as refused if it also refuses a new one."""
    new = past_operand(exchange.producer, dtype("int32"), exchange.device, History.FRESH)
    try:
        exchange.producer.offer(new, Protocol.DLPACK).__dlpack__(stream=stream)  # type: ignore[union-attr]
    except Exception:
        raise Refused(
            f"{exchange.producer.name} also refuses stream={stream} for a new array: {brief(error)}"
        ) from error
    fail(
        Code.REFUSED, "X10", role=Role.PRODUCER, level=Level.OBSERVED,
        reason=f"the producer refuses stream={stream} for an array with a past, but not for a new one", expected="a capsule",
        seen=brief(error), given=f"an array with a past for `stream={stream}`", accused=Side.PRODUCER,
    )  # fmt: skip
