"""Family ``current``: the current stream in each thread, after a choice without a block, and on each GPU.

No interchange protocol defines how a stream becomes current, so the suite only records most results. The family ``stream-claim`` judges the
claims of CV-CUDA's release notes. A verdict compares handles, never times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from conformance.adapters.base import Device, Protocol, Trait
from conformance.checks.catalogue import Draft, Isolation, Needs, every, invariant
from conformance.checks.codes import Code
from conformance.checks.current_streams import Seen, of_a_choice, of_two_threads
from conformance.checks.exchange import Exchange, brief
from conformance.checks.libraries import Environment, Pair
from conformance.checks.outcomes import Side, fail
from conformance.cuda import context
from conformance.ordering import two_gpus
from conformance.ordering.handover import KIND, NEW, OLD, SHAPE, elements, stream_of
from conformance.protocols.clauses import Level, Role

_ON = (Device.CUDA, Device.SIMULATED)


def _with(*traits: Trait) -> Callable[[Environment], Iterator[Pair]]:
    """Return a planner of pairs: every library with streams and these traits, once."""

    def chosen(env: Environment) -> Iterator[Pair]:
        for pair in env.exports(Protocol.CAI, on=_ON):
            if all(pair.producer.has(trait) for trait in (Trait.STREAMS, *traits)):
                yield pair

    return chosen


def expect_right(found: list[Seen], tell: Callable[[Seen], NoReturn]) -> None:
    """Call ``tell``, which fails, for the first stream that is not the expected one."""
    for seen in found:
        if not seen.is_right:
            tell(seen)


def _not_current(seen: Seen) -> NoReturn:
    fail(
        Code.WRONG_CURRENT_STREAM, "DLP-35", role=Role.CONSUMER, level=Level.OBSERVED, reason=f"{seen.step} another stream is current",
        expected=f"{seen.expected:#x}", seen=f"{seen.seen:#x}", given="", accused=Side.PRODUCER,
    )  # fmt: skip


@invariant(
    "current.per-thread",
    context="DLP-35",
    bugs="current-01",
    level=Level.OBSERVED,
    needs=Needs.GPU,
    exclusive=True,
    cases=lambda env: every(_with(Trait.CURRENT_STREAM)(env), thread=("begun-before", "begun-inside")),
)
def test_per_thread(exchange: Exchange) -> None:
    """The suite records whether each thread has its own current stream, and restores it.

    An import that passes the stream of another thread is ordered with unrelated work.
    """
    library, device = exchange.producer, exchange.device
    ours, theirs = (stream_of(library, role, device) for role in ("producer", "elsewhere"))
    begins_inside = exchange.option("thread") == "begun-inside"
    expect_right(of_two_threads(library, device, ours, theirs, begins_inside=begins_inside), _not_current)


@invariant(
    "current.chosen",
    context="DLP-35",
    bugs="current-01",
    level=Level.OBSERVED,
    needs=Needs.GPU,
    exclusive=True,
    cases=lambda env: every(_with(Trait.CURRENT_STREAM, Trait.CHOOSES_STREAM)(env)),
)
def test_chosen(exchange: Exchange) -> None:
    """The suite records whether a stream that is chosen without a block stays current in its thread, also after a block."""
    library, device = exchange.producer, exchange.device
    chosen, inner = (stream_of(library, role, device) for role in ("producer", "elsewhere"))
    expect_right(of_a_choice(library, device, chosen, inner), _not_current)


# -- the default stream of each GPU


def _tokens(env: Environment) -> Iterator[Draft]:
    pairs = two_gpus.on_two(env, _with(Trait.DEFAULT_TOKEN)(env))
    return every(pairs, first=("gpu-0-first", "gpu-1-first"))


@invariant(
    "current.default-of-each-gpu",
    producer="STR-07",
    bugs="current-02",
    level=Level.SHOULD,
    needs=Needs.TWO_GPUS,
    exclusive=True,
    cases=_tokens,
)
def test_default_of_each_gpu(exchange: Exchange) -> None:
    """A library should use its default stream object for the default stream of the current GPU, on one GPU and then on the other.

    A library that caches the GPU of the first use raises on the other GPU, or records an event of the wrong GPU.
    """
    library, device = exchange.producer, exchange.device
    first = 0 if exchange.option("first") == "gpu-0-first" else 1
    two_gpus.wake(device)
    with library.on_gpu(first, device):
        token = library.default_stream(device)
    for ordinal in (first, 1 - first, first):
        with library.on_gpu(ordinal, device):
            array = library.operand(KIND, SHAPE, device)
            exchange.poke(library.describe(array).address, elements(OLD))
            try:
                told = library.recorded(token, device)
                library.fill(array, NEW, token)
            except Exception as error:
                exchange.check_context(error)
                _not_there(ordinal, brief(error))
            two_gpus.streams_of(device, ordinal).synchronize_device()
        if told not in (None, ordinal):
            _not_there(ordinal, f"an event of GPU {told}")
        seen = exchange.peek(library.describe(array).address, len(elements(NEW)))
        if seen != elements(NEW):
            _not_there(ordinal, "a write that has not run when the GPU is idle")


def _not_there(ordinal: int, seen: str) -> NoReturn:
    fail(
        Code.WRONG_CURRENT_STREAM, "STR-07", role=Role.PRODUCER, reason="the default stream object does not work on the current GPU",
        expected=f"an event and a write on GPU {ordinal}", seen=seen, given="", accused=Side.PRODUCER,
    )  # fmt: skip


# -- the default stream of each context


@invariant(
    "current.default-in-each-context",
    producer="STR-07",
    context="CUD-11",
    bugs="current-02",
    level=Level.SHOULD,
    needs=Needs.GPU,
    isolation=Isolation.CHILD,
    cases=lambda env: every(p for p in _with(Trait.DEFAULT_TOKEN)(env) if p.device is Device.CUDA),
)
def test_default_in_each_context(exchange: Exchange) -> None:
    """A library should use its default stream object for the default stream of the current context.

    The primary context is current, then a private context of the same GPU, then the primary one again. An event belongs to one context, so a
    library that caches the first one raises in the other.
    """
    library, device = exchange.producer, exchange.device
    context.set_current(context.primary())
    token = library.default_stream(device)
    _record(exchange, token, "the primary context")
    private = context.create()
    try:
        _record(exchange, token, "a private context")
        context.set_current(context.primary())
        _record(exchange, token, "the primary context again")
        context.set_current(private)
    finally:
        context.destroy(private)
        context.set_current(context.primary())


def _record(exchange: Exchange, token: Any, where: str) -> None:
    try:
        exchange.producer.recorded(token, exchange.device)
    except Exception as error:
        exchange.check_context(error)
        fail(
            Code.WRONG_CURRENT_STREAM, "STR-07", role=Role.PRODUCER,
            reason="the default stream object does not work in the current context", expected=f"an event in {where}",
            seen=brief(error), given="", accused=Side.PRODUCER,
        )  # fmt: skip
