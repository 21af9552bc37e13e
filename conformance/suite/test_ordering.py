"""Family ``ordering``: work that one library has queued on its stream must be done before another library uses the data.

A latch gives every verdict, and every pass has a control: the same exchange without the wait reads stale data. The notes of a result
show the observation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from conformance.adapters.base import Device, Protocol, Trait
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Draft, Needs, every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange
from conformance.checks.libraries import Environment, Pair, shows_one_library, streaming
from conformance.checks.outcomes import fail
from conformance.faults.ordering import ForgetsTheWayBack
from conformance.ordering import wording
from conformance.ordering.evidence import (
    blame,
    level_of_export,
    overtaken,
    seen_in,
    seen_of_export,
    setting_of,
    waiting,
    without_wait,
)
from conformance.ordering.handover import (
    REFERENCE,
    Backward,
    Call,
    DefaultHeldBack,
    DefaultWaits,
    Export,
    Forward,
    How,
    Setting,
    WaitsForDefault,
    first_how,
    hows,
    takes_arguments,
)
from conformance.ordering.histories import pasts
from conformance.ordering.observation import Wait, Work, observe
from conformance.protocols.clauses import Level, Role

_ON = (Device.CUDA, Device.SIMULATED)


def _readers(pair: Pair) -> tuple[str, ...]:
    """Return the consumer's streams: one of its own, its default stream, and the per-thread one if it has an object for it."""
    return ("stream", "default", *(("per-thread",) if pair.consumer.has(Trait.PER_THREAD_STREAM) else ()))


def _handovers(env: Environment) -> Iterator[Draft]:
    return every(streaming(env.pairs(on=_ON)), quick=shows_one_library, how=hows, reader=_readers)


def _all_handovers(env: Environment) -> Iterator[Draft]:
    """Yield imports, then CUDA Array Interface hand-overs in which a kernel of the consumer gets the producer's object."""
    yield from _handovers(env)
    pairs = filter(takes_arguments, streaming(env.pairs(Protocol.CAI, on=_ON)))
    yield from every(pairs, quick=shows_one_library, how=hows, reader=_readers, call=(Call.KERNEL.value,))


def _with_pasts(env: Environment) -> Iterator[Pair]:
    """Yield each library with the reference. A library whose arrays only describe memory is left out: its user orders the work."""
    for pair in filter(shows_one_library, streaming(env.pairs(on=_ON))):
        if not pair.producer.has(Trait.VIEW_ONLY):
            yield pair


def _backs(*protocols: Protocol) -> Callable[[Environment], Iterator[Draft]]:
    """Return a planner whose producer has the stream of the exchange as its current one, where it has a current stream."""
    return lambda env: every(streaming(env.pairs(*protocols, on=_ON)), quick=shows_one_library, how=first_how)


_handed_over = partial(
    invariant,
    producer="CAI-22 DLP-33",
    consumer="CAI-18 DLP-35 CAI-26",
    context="CAI-21 CAI-23 CAI-30",
    bugs="I14 I16",
    level=Level.MUST,
    needs=Needs.GPU,
    exclusive=True,
)
"""The declaration of a hand-over while work is pending, for a new array and for one with a history."""


@_handed_over("ordering.handover", cases=_all_handovers)
def test_handover(exchange: Exchange) -> None:
    """A consumer that reads on its own stream must see all work that the producer queued before the hand-over.

    A latch holds the producer's stream, and the producer's write is queued behind it. The array is handed over, and the consumer's own
    operation reads it. The check waits for the consumer's stream only. With ``kernel`` the consumer imports nothing: its kernel gets the
    producer's object, and reads the CUDA Array Interface by itself.
    """
    setting = setting_of(exchange)
    seen = seen_in(exchange, setting.streams, lambda: Forward(setting))
    if seen.in_order:
        exchange.notes["control"] = overtaken(setting.streams, without_wait(setting, Forward, seen))
        return
    instead = _waits_instead(setting)
    if instead:
        exchange.notes["instead"] = instead
    blame(
        exchange,
        setting,
        Forward,
        seen,
        reason="the consumer reads before the producer's pending write is done",
        expected="the consumer reads the new value",
    )


@_handed_over("ordering.past", cases=lambda env: every(_with_pasts(env), how=first_how, history=pasts))
def test_past(exchange: Exchange) -> None:
    """A consumer must see all work that the producer queued on a reused array before the hand-over.

    The array was written on another stream earlier, is an import that is exported again, or reuses the memory of a dropped array.
    """
    test_handover(exchange)


@invariant(
    "ordering.export-stream",
    producer="DLP-33 DLP-32 DLP-31",
    bugs="I14",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(
        streaming(env.exports(Protocol.DLPACK, on=_ON)),
        stream=("handle", "legacy", "none", "per-thread", "minus-one"),
    ),
    exclusive=True,
)
def test_export_stream(exchange: Exchange) -> None:
    """A producer must make the stream passed to ``__dlpack__`` wait for its pending work, and must not wait for ``stream=-1``.

    The producer's stream is its current one. ``None`` and 1 mean the legacy default stream; 2 means the per-thread default stream.
    """
    name = exchange.option("stream")
    setting = setting_of(exchange).but(how=How.INSIDE)
    seen = seen_of_export(exchange, setting.streams, lambda: Export(setting, name))
    if name == "minus-one":
        exchange.notes["control"] = waiting(setting.streams, _waiting_controls(setting))
        if seen.wait is not Wait.NONE:
            fail(
                Code.UNINVITED_WAIT,
                "DLP-32",
                role=Role.PRODUCER,
                reason="the producer waits although `stream=-1` asks for no wait",
                expected="no wait",
                seen=f"{seen.wait.value} for {wording.stream(seen.writer)}",
                given="",
            )
    elif seen.in_order:
        exchange.notes["control"] = overtaken(setting.streams, _export_controls(setting, name))
    else:
        fail(
            Code.NAMED_STREAM_NOT_ORDERED,
            "DLP-33",
            role=Role.PRODUCER,
            level=level_of_export(setting),
            reason="the named stream does not wait for the producer's pending work",
            expected="the reference reads the new value on the named stream",
            seen=f"{seen.told}; no stream waits for {wording.stream(seen.writer)}, on which the work of {exchange.producer.name} is pending",
            given="",
        )


@invariant(
    "ordering.way-back",
    consumer="CAI-19",
    bugs="I17",
    level=Level.OBSERVED,
    needs=Needs.GPU,
    cases=_backs(Protocol.CAI),
    exclusive=True,
)
def test_way_back(exchange: Exchange) -> None:
    """The suite records whether the producer's next write on its published stream waits for the consumer's pending read.

    A latch holds the consumer's stream, the read is queued behind it, and the producer writes again. No clause requires this order. The CUDA Array
    Interface covers only the operations of the consuming call itself. A consumer cannot know of a later read of a view that it returned. So the specification leaves a gap, and libraries differ in how they fill it.
    """
    reason = (
        "the specification leaves a gap: the producer's next write overtakes the consumer's pending read of the import"
    )
    _expect_not_overtaken(exchange, setting_of(exchange), "CAI-19", reason)


@invariant(
    "ordering.reuse",
    context="G1",
    bugs="I17",
    level=Level.OBSERVED,
    needs=Needs.GPU,
    cases=_backs(Protocol.DLPACK),
    exclusive=True,
)
def test_reuse(exchange: Exchange) -> None:
    """The suite records whether the producer's next write waits for the consumer's pending read of a DLPack import.

    DLPack defines no order from the consumer back to the producer, so no result is a violation.
    """
    reason = "DLPack defines no order back to the producer, whose next write overtakes the consumer's pending read of the import"
    _expect_not_overtaken(exchange, setting_of(exchange), "G1", reason)


def _expect_not_overtaken(exchange: Exchange, setting: Setting, cited: str, reason: str) -> None:
    seen = seen_in(exchange, setting.streams, lambda: Backward(setting))
    if not seen.in_order:
        if _waits(setting, lambda: DefaultHeldBack(setting)):
            exchange.notes["instead"] = "the default stream waits for the consumer's read"
        fail(
            Code.OVERTAKEN_READ,
            cited,
            role=Role.CONSUMER,
            level=Level.OBSERVED,
            reason=reason,
            expected="the consumer reads the value from before the write",
            seen=f"{seen.told}; the write does not wait for {wording.stream(seen.writer)}, on which the read is pending",
            given="",
        )
    exchange.notes["control"] = overtaken(
        setting.streams,
        [
            ("a write on a stream outside of the exchange", lambda: Backward(setting, elsewhere=True)),
            (
                "a reference that does not order its reads for the producer",
                lambda: Backward(setting.but(consumer=_Forgetful())),
            ),
        ],
    )


@invariant(
    "ordering.cost",
    consumer="CAI-17 CAI-20",
    context="DLP-33",
    bugs="I14",
    level=Level.OBSERVED,
    needs=Needs.GPU,
    cases=_handovers,
    exclusive=True,
)
def test_cost(exchange: Exchange) -> None:
    """The suite records whether a hand-over blocks the host or synchronizes the device, where a stream-ordered wait is enough.

    A longer wait is allowed. Users notice it as slowness, so the result names the kind of wait.
    """
    setting = setting_of(exchange)
    seen = seen_in(exchange, setting.streams, lambda: Forward(setting))
    if seen.wait in (Wait.HOST, Wait.DEVICE):
        by_dlpack = setting.protocol is Protocol.DLPACK
        fail(
            Code.HANDOVER_COST,
            "DLP-33" if by_dlpack else "CAI-17",
            role=Role.PRODUCER if by_dlpack else Role.CONSUMER,
            level=Level.OBSERVED,
            reason=_COST[seen.wait] + (", with the GIL held" if seen.held_gil else ""),
            expected=f"{Wait.EVENT.value} or {Wait.NONE.value}",
            seen=seen.wait.value,
            given="",
        )


_COST = {
    Wait.HOST: "the hand-over blocks the calling thread until the producer's stream is done",
    Wait.DEVICE: "the hand-over synchronizes the whole device",
}


def _export_controls(setting: Setting, name: str) -> list[tuple[str, Callable[[], Work]]]:
    return [
        ("stream=-1", lambda: Export(setting, name, asked=-1)),
        ("stream=-1, from the reference", lambda: Export(setting.but(producer=REFERENCE), name, asked=-1)),
    ]


def _waiting_controls(setting: Setting) -> list[tuple[str, Callable[[], Work]]]:
    return [
        ("the consumer's handle", lambda: Export(setting, "handle")),
        ("the consumer's handle, from the reference", lambda: Export(setting.but(producer=REFERENCE), "handle")),
    ]


class _Forgetful(ReferenceAdapter):
    """A reference that does not order its reads for the producer, for a control that must go wrong."""

    importer_class = ForgetsTheWayBack


def _waits_instead(setting: Setting) -> str:
    """Describe the waits on the default stream, where the consumer's stream should wait for the producer's."""
    if setting.reader != "stream":
        return ""
    found = []
    if _waits(setting, lambda: DefaultWaits(setting)):
        found.append("the default stream waits for the producer's")
    if _waits(setting, lambda: WaitsForDefault(setting)):
        found.append("the consumer's stream waits for the default stream")
    return "; ".join(found)


def _waits(setting: Setting, make: Callable[[], Work]) -> bool:
    try:
        return observe(setting.streams, make).wait is Wait.EVENT
    except Exception:
        return False
