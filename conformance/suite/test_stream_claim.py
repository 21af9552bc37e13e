"""Family ``stream-claim``: claims about streams in CV-CUDA's documentation, checked by latches.

The claims bind CV-CUDA alone, which publishes them. A claim about the data must hold. A claim about the cost fails where CV-CUDA waits
for more than the page says. A longer wait counts only if it is observed every time, because a free of other memory at the same moment
synchronizes the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from conformance.adapters.base import Device, Protocol, Trait
from conformance.checks.catalogue import Draft, Needs, every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange
from conformance.checks.libraries import REFERENCE, Environment, Pair
from conformance.checks.outcomes import Side, fail
from conformance.ordering import evidence, handover, wording
from conformance.ordering.evidence import Make, seen_in, setting_of
from conformance.ordering.handover import Forward, How, S, Setting, Without
from conformance.ordering.observation import Seen, Wait, Work
from conformance.ordering.wrapping import BesideLegacy, LaterUse, Named, Wrapped, published_after
from conformance.protocols.clauses import Level, Role

_TIMES = 3
"""The number of observations that must all show a longer wait than the page promises."""
_CHEAP = (Wait.NONE, Wait.EVENT)
_BY_EVENT = "`cvcuda.as_tensor` orders streams by an event"
_BY_DEVICE = "`cvcuda.as_tensor` synchronizes the device where it knows no stream"

Planner = Callable[[Environment], Iterator[Draft]]


def _to_cvcuda(*producers: str, **axes: Any) -> Planner:
    """Return a planner of cases from these libraries, or from all, to CV-CUDA, over the CUDA Array Interface."""

    def chosen(pair: Pair) -> bool:
        streaming = pair.producer.has(Trait.STREAMS) and pair.consumer.name == "cvcuda"
        return streaming and (not producers or pair.producer.name in producers)

    return lambda env: every(filter(chosen, env.pairs(Protocol.CAI, on=(Device.CUDA,))), **axes)


def _inside(exchange: Exchange) -> Setting:
    return setting_of(exchange).but(how=How.INSIDE)


def _least(exchange: Exchange, make: Callable[[], Work], wanted: tuple[Wait, ...] = _CHEAP) -> Seen:
    """Return the first observation with one of the ``wanted`` waits, or the last one if there is none."""
    seen = seen_in(exchange, setting_of(exchange).streams, make)
    for _ in range(_TIMES - 1):
        if seen.wait in wanted or not seen.in_order:
            break
        seen = seen_in(exchange, setting_of(exchange).streams, make)
    return seen


def _expect_order(exchange: Exchange, setting: S, make: Make[S], cited: str, reason: str, seen: Seen) -> None:
    """Fail for CV-CUDA if the data are wrong, unless the producer published a stream that does not cover its work."""
    if seen.in_order:
        return
    _expect_covered(exchange, setting, make, seen)
    fail(
        Code.STALE_READ, cited, role=Role.CONSUMER, reason=reason, expected="the operator reads the last written values",
        seen=evidence.in_words(seen, setting), given="", accused=Side.CONSUMER,
    )  # fmt: skip


def _expect_covered(exchange: Exchange, setting: S, make: Make[S], seen: Seen) -> None:
    """Fail for a producer that the reference does not read correctly either, if its dictionary has to name a stream."""
    trial = evidence.tried(f"{setting.producer.name} to the reference", setting.but(consumer=handover.REFERENCE), make)
    exchange.notes["blame"] = str(trial)
    duty = evidence.published_duty(evidence.published_by(setting))
    if trial.wrong and duty.level is not Level.OBSERVED:
        fail(
            duty.code, duty.clause, role=duty.role, level=duty.level, reason="the published stream does not cover the pending write",
            expected=f"a stream that comes after {wording.stream(seen.writer)}, on which the write is pending",
            seen=evidence.in_words(seen, setting), given="", accused=Side.PRODUCER,
        )  # fmt: skip


def _expect_event(exchange: Exchange, cited: str, what: str, reason: str, seen: Seen) -> None:
    """Fail if CV-CUDA waits for more than an event. ``what`` is the claim of the page."""
    if seen.wait not in _CHEAP:
        _expect_no_wait_of_the_producer(exchange, _inside(exchange))
        expected = f"{Wait.EVENT.value}, in one of {_TIMES} observations at least"
        _costs(cited, what, reason, expected, seen)


def _costs(cited: str, what: str, reason: str, expected: str, seen: Seen, level: Level | None = None) -> None:
    fail(
        Code.CLAIM_NOT_KEPT, cited, role=Role.CONSUMER, level=level, reason=reason, expected=expected,
        seen=f"{seen.wait.value} for {wording.stream(seen.writer)}", given=what, accused=Side.CONSUMER,
    )  # fmt: skip


@invariant(
    "stream-claim.non-blocking",
    consumer="LIB-02 DOC-CP-5",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_to_cvcuda(REFERENCE),
    exclusive=True,
)
def test_non_blocking(exchange: Exchange) -> None:
    """CV-CUDA must make its streams non-blocking, so that they do not wait for the legacy default stream."""
    setting = setting_of(exchange)
    seen = _least(exchange, lambda: BesideLegacy(setting, "consumer"), (Wait.NONE,))
    if seen.wait is not Wait.NONE:
        reason = "a stream that CV-CUDA made waits for the legacy default stream"
        _costs("LIB-02", "its streams are non-blocking", reason, Wait.NONE.value, seen)
    default = [("its default stream", lambda: BesideLegacy(setting, "default"))]
    exchange.notes["control"] = evidence.waiting(setting.streams, default)


@invariant(
    "stream-claim.barrier",
    producer="CAI-22",
    consumer="DOC-CP-5 LIB-03",
    context="CAI-18",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_to_cvcuda("cupy", "cuda_python"),
    exclusive=True,
)
def test_barrier(exchange: Exchange) -> None:
    """CV-CUDA must make an operator after ``as_tensor`` wait for the published stream, without blocking the host.

    The published stream is one of the producer's own. For such a stream the page promises an event.
    """
    setting = _inside(exchange)
    seen = _least(exchange, lambda: Forward(setting))
    _expect_order(
        exchange, setting, Forward, "DOC-CP-5", "the operator reads before the published stream's write is done", seen
    )
    exchange.notes["control"] = evidence.overtaken(setting.streams, evidence.without_wait(setting, Forward, seen))
    _expect_event(exchange, "LIB-03", _BY_EVENT, "`cvcuda.as_tensor` waits for more than the published stream", seen)


@invariant(
    "stream-claim.default-streams",
    consumer="DOC-CP-6",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_to_cvcuda(REFERENCE, stream=("legacy", "per-thread", "zero")),
    exclusive=True,
)
def test_default_streams(exchange: Exchange) -> None:
    """CV-CUDA must finish work on a default stream that the dictionary names as 0, 1 or 2 before the first use of the wrapped buffer.

    The page says that CV-CUDA synchronizes the whole device. If it waits for less and the data are right, the suite only records it.
    """
    setting, name = _inside(exchange), exchange.option("stream")

    def make(tried: Setting) -> Named:
        return Named(tried.but(producer=handover.REFERENCE), name)

    seen = seen_in(exchange, setting.streams, lambda: make(setting))
    _expect_order(
        exchange, setting, make, "DOC-CP-6", "the operator reads before the default stream's write is done", seen
    )
    exchange.notes["control"] = evidence.overtaken(setting.streams, evidence.without_wait(setting, make, seen))
    if seen.wait is not Wait.DEVICE:
        reason = "`cvcuda.as_tensor` waits for less than the page says"
        _costs("DOC-CP-6", _BY_DEVICE, reason, Wait.DEVICE.value, seen, Level.OBSERVED)


@invariant(
    "stream-claim.later-use",
    producer="CAI-22",
    consumer="DOC-CP-6 DOC-PT-4",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_to_cvcuda("cupy", "torch", "pycuda", "cuda_python", REFERENCE),
    exclusive=True,
)
def test_later_use(exchange: Exchange) -> None:
    """CV-CUDA must make an operator on another stream wait, by an event, for the last use of a wrapped buffer."""
    setting = _inside(exchange)
    cited = "DOC-PT-4" if exchange.producer.name == "torch" else "DOC-CP-6"
    seen = _least(exchange, lambda: LaterUse(setting))
    if not seen.in_order:
        fail(
            Code.STALE_READ, cited, role=Role.CONSUMER, reason="a later operator reads before an earlier one has written",
            expected="the operator reads the last written values", given="", accused=Side.CONSUMER,
            seen=f"{seen.told}; no stream waits for {wording.stream(seen.writer)}, on which the earlier operator is pending",
        )  # fmt: skip
    bare = [("a copy by the suite, without the library", lambda: LaterUse(setting, bare=True))]
    exchange.notes["control"] = evidence.overtaken(setting.streams, bare)
    _expect_event(exchange, cited, _BY_EVENT, "a later use waits for more than an event", seen)


@invariant(
    "stream-claim.chain",
    producer="CAI-22",
    consumer="DOC-CP-6",
    context="CAI-18",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_to_cvcuda("cvcuda"),
    exclusive=True,
)
def test_chain(exchange: Exchange) -> None:
    """CV-CUDA must wait by an event for work on another stream after ``as_tensor(tensor.cuda())``."""
    setting = setting_of(exchange)
    seen = _least(exchange, lambda: Forward(setting))
    _expect_order(
        exchange, setting, Forward, "DOC-CP-6", "the second operator reads before the first has written", seen
    )
    exchange.notes["control"] = evidence.overtaken(setting.streams, evidence.without_wait(setting, Forward, seen))
    _expect_event(exchange, "DOC-CP-6", _BY_EVENT, "the chain waits for more than an event", seen)


@invariant(
    "stream-claim.true-writer",
    producer="LIB-03",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_to_cvcuda("cvcuda", written=("first", "second"), current=("same", "other")),
    exclusive=True,
)
def test_true_writer(exchange: Exchange) -> None:
    """CV-CUDA must publish the stream on which it last wrote a tensor, whichever stream is current when the dictionary is read."""
    roles = ("producer", "elsewhere") if exchange.option("written") == "first" else ("elsewhere", "producer")
    current = roles[0] if exchange.option("current") == "same" else roles[1]
    writer, told = published_after(setting_of(exchange), roles[0], current)
    if told != writer:
        fail(
            Code.CLAIM_NOT_KEPT,
            "LIB-03",
            role=Role.PRODUCER,
            reason="a tensor publishes another stream than the one on which it was written",
            expected=wording.stream(writer),
            seen=wording.stream(told),
            given="a tensor publishes the stream that wrote it",
            accused=Side.PRODUCER,
        )


@invariant(
    "stream-claim.filled-inside",
    producer="CAI-22",
    consumer="DOC-CP-7",
    context="CAI-18",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_to_cvcuda("cupy"),
    exclusive=True,
)
def test_filled_inside(exchange: Exchange) -> None:
    """CV-CUDA must read the values that CuPy wrote inside ``with stream:``, even if the array is wrapped outside of the block."""
    setting = setting_of(exchange)
    seen = seen_in(exchange, setting.streams, lambda: Forward(setting))
    _expect_order(exchange, setting, Forward, "DOC-CP-7", "the operator reads before CuPy has filled the array", seen)
    exchange.notes["control"] = evidence.overtaken(setting.streams, evidence.without_wait(setting, Forward, seen))


@invariant(
    "stream-claim.opt-out",
    producer="CAI-22",
    consumer="DOC-CP-8",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_to_cvcuda("cupy", "torch"),
    exclusive=True,
)
def test_opt_out(exchange: Exchange) -> None:
    """CV-CUDA must not wait for any stream if the dictionary has ``stream: -1``."""
    setting = _inside(exchange)
    seen = _least(exchange, lambda: Forward(setting.but(without=Without.OPT_OUT)), (Wait.NONE,))
    if seen.wait is not Wait.NONE:
        _expect_no_wait_of_the_producer(exchange, setting)
        _costs(
            "DOC-CP-8",
            "`stream: -1` opts out of every wait",
            "`cvcuda.as_tensor` waits in spite of `stream: -1`",
            Wait.NONE.value,
            seen,
        )
    asked = [("the dictionary as it is", lambda: Forward(setting))]
    exchange.notes["control"] = evidence.waiting(setting.streams, asked)


def _expect_no_wait_of_the_producer(exchange: Exchange, setting: Setting) -> None:
    """Record a producer that already waits when its dictionary is read. That wait is no failure, and is not a wait of CV-CUDA."""
    alone = setting.but(without=Without.NO_STREAM, consumer=handover.REFERENCE)
    trial = evidence.tried(f"{setting.producer.name} to the reference", alone, Forward)
    exchange.notes["blame"] = str(trial)
    if trial.seen is not None and trial.seen.wait is not Wait.NONE:
        fail(
            Code.HANDOVER_COST, "CAI-22", role=Role.PRODUCER, level=Level.OBSERVED,
            reason="the producer waits when its dictionary is read, by any consumer", expected=Wait.NONE.value,
            seen=trial.seen.wait.value, given="",
        )  # fmt: skip


@invariant(
    "stream-claim.torch-order",
    producer="CAI-22",
    consumer="DOC-PT-4",
    context="CAI-18",
    bugs="stream-24",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_to_cvcuda("torch", how=("inside", "outside")),
    exclusive=True,
)
def test_torch_order(exchange: Exchange) -> None:
    """CV-CUDA must read the values that PyTorch queued on a stream of its own, even if the dictionary names no stream."""
    setting = setting_of(exchange)
    seen = seen_in(exchange, setting.streams, lambda: Forward(setting))
    _expect_order(exchange, setting, Forward, "DOC-PT-4", "the operator reads before PyTorch has written", seen)
    exchange.notes["control"] = evidence.overtaken(setting.streams, evidence.without_wait(setting, Forward, seen))


@invariant(
    "stream-claim.torch-at-as-tensor",
    consumer="DOC-PT-4",
    level=Level.OBSERVED,
    needs=Needs.GPU,
    cases=_to_cvcuda("torch"),
    exclusive=True,
)
def test_torch_at_as_tensor(exchange: Exchange) -> None:
    """The suite records whether ``as_tensor`` synchronizes the device for a PyTorch array, whose dictionary names no stream.

    The page says so. Another correct order is no defect.
    """
    setting = _inside(exchange)
    if evidence.names_stream(evidence.published_by(setting)):
        fail(
            Code.CLAIM_NOT_KEPT,
            "DOC-PT-4",
            role=Role.CONSUMER,
            level=Level.OBSERVED,
            reason="PyTorch publishes its stream, so the page's claim does not apply",
            expected="a dictionary without stream",
            seen="a stream",
            given="PyTorch publishes no stream",
        )
    seen = seen_in(exchange, setting.streams, lambda: Wrapped(setting))
    if seen.wait is not Wait.DEVICE:
        reason = "`cvcuda.as_tensor` does not synchronize the device"
        _costs("DOC-PT-4", _BY_DEVICE, reason, Wait.DEVICE.value, seen, Level.OBSERVED)
