"""Family ``stream-claim``: what CV-CUDA's pages promise about streams, seen by latches.

The pages bind CV-CUDA alone, which publishes them. What a page says of the data has to hold. What it says of the cost is held against
CV-CUDA where it promises less waiting than is seen; an observation in which more was waited for counts only if it is so every time,
because memory that somebody else frees in the same moment makes everybody wait.
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
"""How often more waiting than was promised has to be seen."""
_CHEAP = (Wait.NONE, Wait.EVENT)
_BY_EVENT = "`cvcuda.as_tensor` orders streams by an event"
_BY_DEVICE = "`cvcuda.as_tensor` waits for the device where it knows no stream"

Planner = Callable[[Environment], Iterator[Draft]]


def _to_cvcuda(*producers: str, **axes: Any) -> Planner:
    """A planner of cases from these libraries, or from all, to CV-CUDA, over the array interface."""

    def chosen(pair: Pair) -> bool:
        streaming = pair.producer.has(Trait.STREAMS) and pair.consumer.name == "cvcuda"
        return streaming and (not producers or pair.producer.name in producers)

    return lambda env: every(filter(chosen, env.pairs(Protocol.CAI, on=(Device.CUDA,))), **axes)


def _inside(exchange: Exchange) -> Setting:
    return setting_of(exchange).but(how=How.INSIDE)


def _least(exchange: Exchange, make: Callable[[], Work], wanted: tuple[Wait, ...] = _CHEAP) -> Seen:
    """The first of a few observations in which no more was waited for than is wanted, the last if there is none."""
    seen = seen_in(exchange, setting_of(exchange).streams, make)
    for _ in range(_TIMES - 1):
        if seen.wait in wanted or not seen.in_order:
            break
        seen = seen_in(exchange, setting_of(exchange).streams, make)
    return seen


def _expect_order(exchange: Exchange, setting: S, make: Make[S], cited: str, reason: str, seen: Seen) -> None:
    """CV-CUDA breaks its page's word, unless the producer has published a stream that does not cover its work."""
    if seen.in_order:
        return
    _expect_covered(exchange, setting, make, seen)
    fail(
        Code.STALE_READ, cited, role=Role.CONSUMER, reason=reason, expected="the operator reads what was written last",
        seen=evidence.in_words(seen, setting), given="", accused=Side.CONSUMER,
    )  # fmt: skip


def _expect_covered(exchange: Exchange, setting: S, make: Make[S], seen: Seen) -> None:
    """A producer that is not read right by the reference either, though its dictionary speaks of streams, fails."""
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
    """``what`` the page says of the cost, as the end of a sentence."""
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
    """A stream that CV-CUDA makes does not wait for the legacy default stream."""
    setting = setting_of(exchange)
    seen = _least(exchange, lambda: BesideLegacy(setting, "consumer"), (Wait.NONE,))
    if seen.wait is not Wait.NONE:
        reason = "a stream of CV-CUDA's own waits for the legacy default stream"
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
    """After ``as_tensor`` an operator on CV-CUDA's own stream waits for the stream that was published, and the host does not.

    The published stream is one of the producer's own, for which an event is promised.
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
    """Work on a default stream that the dictionary names as 0, 1 or 2 is done before the first use of the wrapped buffer.

    The page says that the whole device is waited for. If less is, and the data are right, that is only noted.
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
    """Once a wrapped buffer has been used, an operator on another of CV-CUDA's streams waits for the last one by an event."""
    setting = _inside(exchange)
    cited = "DOC-PT-4" if exchange.producer.name == "torch" else "DOC-CP-6"
    seen = _least(exchange, lambda: LaterUse(setting))
    if not seen.in_order:
        fail(
            Code.STALE_READ, cited, role=Role.CONSUMER, reason="a later operator reads before an earlier one has written",
            expected="the operator reads what was written last", given="", accused=Side.CONSUMER,
            seen=f"{seen.told}; nothing waits for {wording.stream(seen.writer)}, on which the earlier operator is pending",
        )  # fmt: skip
    bare = [("a copy past the library", lambda: LaterUse(setting, bare=True))]
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
    """From CV-CUDA to CV-CUDA by ``as_tensor(tensor.cuda())`` work on another stream is waited for, by an event."""
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
    """A tensor's dictionary names the stream on which CV-CUDA wrote it last, whichever is current when it is read."""
    roles = ("producer", "elsewhere") if exchange.option("written") == "first" else ("elsewhere", "producer")
    current = roles[0] if exchange.option("current") == "same" else roles[1]
    writer, told = published_after(setting_of(exchange), roles[0], current)
    if told != writer:
        fail(
            Code.CLAIM_NOT_KEPT,
            "LIB-03",
            role=Role.PRODUCER,
            reason="a tensor publishes another stream than the one that it was written on",
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
    """What CuPy filled inside ``with stream:`` is seen by an operator, though the array is wrapped outside the block."""
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
    """With ``stream: -1`` in the dictionary nothing is waited for."""
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
    """A producer that waits when its dictionary is read does so whoever reads it: that is nobody's mistake, and no wait of CV-CUDA's."""
    alone = setting.but(without=Without.NO_STREAM, consumer=handover.REFERENCE)
    trial = evidence.tried(f"{setting.producer.name} to the reference", alone, Forward)
    exchange.notes["blame"] = str(trial)
    if trial.seen is not None and trial.seen.wait is not Wait.NONE:
        fail(
            Code.HANDOVER_COST, "CAI-22", role=Role.PRODUCER, level=Level.OBSERVED,
            reason="the producer waits when its dictionary is read, whoever reads it", expected=Wait.NONE.value,
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
    """What PyTorch has queued on a stream of its own is seen by an operator, though its dictionary names no stream."""
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
    """PyTorch's dictionary names no stream, and ``as_tensor`` itself waits for the device, before any operator.

    That is what the page says; another way to be right is no defect, so what is seen is only told.
    """
    setting = _inside(exchange)
    if evidence.names_stream(evidence.published_by(setting)):
        fail(
            Code.CLAIM_NOT_KEPT,
            "DOC-PT-4",
            role=Role.CONSUMER,
            level=Level.OBSERVED,
            reason="PyTorch publishes its stream, so nothing of what the page says of it applies",
            expected="a dictionary without stream",
            seen="a stream",
            given="PyTorch publishes no stream",
        )
    seen = seen_in(exchange, setting.streams, lambda: Wrapped(setting))
    if seen.wait is not Wait.DEVICE:
        reason = "`cvcuda.as_tensor` does not wait for the device"
        _costs("DOC-PT-4", _BY_DEVICE, reason, Wait.DEVICE.value, seen, Level.OBSERVED)
