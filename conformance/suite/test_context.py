"""Family ``context``: CUDA contexts, the threads in which they are current, and forks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from conformance.adapters.base import Adapter, Device, Protocol
from conformance.checks import interpreter, signal_senders
from conformance.checks.catalogue import Draft, Isolation, Needs, Tier, every, invariant
from conformance.checks.codes import Code
from conformance.checks.concurrency import elsewhere
from conformance.checks.exchange import Exchange, Source, brief
from conformance.checks.forks import HANG, UNDECIDED, in_child
from conformance.checks.garbage import uncollected
from conformance.checks.libraries import REFERENCE, Environment
from conformance.checks.outcomes import Failure, Inconclusive, Side, fail
from conformance.cuda import context
from conformance.protocols.clauses import Level, Role

_GPU = (Device.CUDA,)


@contextmanager
def _current(handle: int) -> Iterator[None]:
    """Make this context current inside the block, and restore the previous one afterwards."""
    before = context.current()
    context.set_current(handle)
    try:
        yield
    finally:
        context.set_current(before)


def _expect_unchanged(exchange: Exchange, handle: int, what: str) -> None:
    now = context.current()
    if now != handle:
        fail(
            Code.CONTEXT_CHANGED,
            "G10",
            role=Role.CONSUMER,
            reason=f"the {what} context is no longer current after the exchange",
            expected=f"context {handle:#x}",
            seen=f"context {now:#x}" if now else "none",
            given="",
        )


@invariant(
    "context.unchanged",
    context="G10",
    bugs="I29 context-05 context-07",
    level=Level.OBSERVED,
    needs=Needs.GPU,
    cases=lambda env: every(env.pairs(on=_GPU)),
)
def test_unchanged(exchange: Exchange) -> None:
    """The suite records whether an exchange leaves the primary context current."""
    source = exchange.source()
    primary = context.primary()
    with uncollected(), _current(primary):
        exchange.take(source)
        _expect_unchanged(exchange, primary, "primary")


def _forking(env: Environment) -> Iterator[Draft]:
    """Yield every library on either side of the reference, by one protocol: the protocol makes no difference after a fork."""
    chosen = {(d.producer, d.consumer): d for d in reversed(list(_with_reference(env)))}
    return reversed(chosen.values())


def _with_reference(env: Environment) -> Iterator[Draft]:
    """Yield every library on either side of the reference. Each case needs its own process, so none is in the quick tier."""
    pairs = (p for p in env.pairs(on=_GPU) if REFERENCE in (p.producer.name, p.consumer.name))
    return (replace(draft, tier=Tier.FULL) for draft in every(pairs))


@invariant(
    "context.private",
    producer="DLP-59 CAI-05",
    consumer="DLP-58 CAI-32",
    context="G10",
    bugs="I29 context-05 context-06 context-07",
    level=Level.MUST,
    needs=Needs.GPU,
    isolation=Isolation.RISKY,
    cases=_with_reference,
)
def test_private(exchange: Exchange) -> None:
    """Two libraries must exchange an array correctly or refuse it while a private context is current, and must leave that context current.

    The array lies in the primary context, which is current again when the import is read. Both libraries have made an exchange
    before, so that their initialization does not count here.
    """
    source = exchange.source()
    exchange.read(exchange.take(source, promised=""))
    context.set_current(context.primary())
    private = context.create()
    try:
        with uncollected():
            taken = exchange.take(source, promised="")
            _expect_values_in_primary(exchange, source, taken, private)
    finally:
        context.destroy(private)
        context.set_current(context.primary())


def _expect_values_in_primary(exchange: Exchange, source: Source, taken: Any, private: int) -> None:
    left = context.current()
    context.set_current(context.primary())
    exchange.expect_values(source, exchange.read(taken))
    context.set_current(left)
    _expect_unchanged(exchange, private, "private")


@invariant(
    "context.fresh-thread",
    producer="DLP-59 DLP-46 CAI-05",
    consumer="DLP-58 DLP-46 CAI-32",
    bugs="I29 context-03",
    level=Level.MUST,
    cases=lambda env: every(env.pairs()),
)
def test_fresh_thread(exchange: Exchange) -> None:
    """Both libraries must exchange an array correctly in a new thread, which has no current CUDA context.

    Both libraries are loaded before, because PyCUDA makes a context current in the thread that loads it. The garbage collector is off
    meanwhile, because freeing memory of an earlier case in that thread may make a context current too.
    """
    source, consumer = exchange.source(), exchange.consumer
    with uncollected():
        elsewhere(lambda: _exchange_here(exchange, source, consumer))


def _exchange_here(exchange: Exchange, source: Source, consumer: Adapter) -> None:
    if exchange.device is Device.CUDA and context.current():
        raise Inconclusive("a new thread already has a current context")
    taken = exchange.take(source, taker=consumer)
    exchange.expect_values(source, exchange.read(taken))


def _each_library(env: Environment) -> Iterator[Draft]:
    if Device.CUDA in env.devices():
        for library in env.present:
            if library.name != REFERENCE:
                yield Draft(library.name, library.name, "none", Device.CUDA, (), Tier.FULL)


@invariant(
    "context.import-alone",
    context="G10",
    bugs="I30 context-02",
    level=Level.OBSERVED,
    needs=Needs.GPU,
    isolation=Isolation.FRESH,
    cases=_each_library,
)
def test_import_alone(exchange: Exchange) -> None:
    """The suite records whether the import of a library creates a CUDA context.

    A context that is created at import binds the process to a device before its user can choose one.
    """
    ended = interpreter.run("import_alone", exchange.case.producer)
    interpreter.expect_survival(ended, interpreter.SURVIVAL, accused=Side.CONSUMER)
    found = ended.told("primary")
    if found is None:
        raise Inconclusive("the fresh interpreter could not query the driver")
    if found["primary"] or found["current"]:
        fail(
            Code.CONTEXT_CREATED,
            "G10",
            role=Role.CONSUMER,
            reason="the import of the library creates a CUDA context",
            expected="no context",
            seen=("the primary context is active" if found["primary"] else "the primary context is not active")
            + (f", {found['current']:#x} is current" if found["current"] else ", none is current"),
            given="",
        )


@invariant(
    "context.after-fork",
    producer="DLP-59 CAI-05",
    consumer="DLP-58 CAI-32",
    bugs="I30 context-01 context-10 context-14",
    level=Level.ROBUSTNESS,
    needs=Needs.GPU,
    isolation=Isolation.EXIT,
    cases=_forking,
)
def test_after_fork(exchange: Exchange) -> None:
    """A library should raise in a fork of a process that has used CUDA, and should not hang, crash or give wrong data.

    CUDA forbids its use in such a process, so a failure breaks no clause of a protocol. An exchange hangs if it sleeps or computes without
    end. An exchange that gets no processor time is inconclusive.
    """
    source = exchange.source()
    try:
        exchange.expect_values(source, exchange.read(exchange.take(source, promised="")))
    except Failure as failure:
        raise Inconclusive(f"the exchange already fails without a fork: {failure}") from failure
    exchange.illegal("an exchange in a forked process")
    _judge_fork(exchange, in_child(lambda: _attempt(exchange, source)))


def _attempt(exchange: Exchange, source: Source) -> str:
    """Return ``right``, ``wrong`` or ``raised …``. Only the adapters import and read, because the suite's CUDA context does not work in a fork."""
    try:
        offer = exchange.producer.offer(source.array, exchange.protocol)
        taken = exchange.consumer.take(offer, exchange.protocol, exchange.device)
        seen = exchange.consumer.read(taken)
    except BaseException as error:
        return f"raised {brief(error)}"
    return "right" if seen == source.values else "wrong"


def _reading(exchange: Exchange) -> str:
    return "DLP-58" if exchange.protocol is Protocol.DLPACK else "CAI-32"


def _judge_fork(exchange: Exchange, how: str) -> None:
    if how == "right" or how.startswith("raised "):
        return
    if how == UNDECIDED:
        raise Inconclusive("it is not known whether the exchange in the fork ends: it got too little processor time")
    if how in map(signal_senders.name_of, signal_senders.FOREIGN):
        raise Inconclusive(f"{how} ended the fork, and the sender is unknown")
    code, reason = {
        "wrong": (Code.WRONG_AFTER_FORK, "the elements that are read in the fork are not the producer's"),
        HANG: (Code.PROGRAM_HANG, "the exchange in the fork hangs"),
    }.get(how, (Code.PROGRAM_CRASH, "the exchange in the fork crashes the process"))
    fail(
        code, _reading(exchange), role=Role.CONSUMER, reason=reason, expected="an exception", seen=how,
    )  # fmt: skip


def _with_pycuda(env: Environment) -> Iterator[Draft]:
    """Yield PyCUDA with every library except the reference, in both directions, with each way to create its context."""
    for pair in env.pairs(Protocol.CAI, on=_GPU):
        names = (pair.producer.name, pair.consumer.name)
        if names.count("pycuda") == 1 and REFERENCE not in names:
            other = names[1 - names.index("pycuda")]
            setups = [("autoinit", "pycuda"), ("autoinit", other)]
            if pair.producer.name == "pycuda":  # every other family covers the other order
                setups.append(("autoprimaryctx", "pycuda"))
            for setup, first in setups:
                parameters = (("setup", setup), ("order", f"{first}-first"))
                yield Draft(*names, pair.protocol.value, pair.device, parameters, Tier.FULL)


@invariant(
    "context.pycuda",
    producer="CAI-05",
    consumer="CAI-32 CAI-29",
    context="CUD-11 CUD-12",
    bugs="I29 I30 context-03 context-05 context-07",
    level=Level.MUST,
    needs=Needs.GPU,
    isolation=Isolation.FRESH,
    cases=_with_pycuda,
)
def test_pycuda(exchange: Exchange) -> None:
    """PyCUDA and another library must exchange an array correctly or refuse it, for each kind of context and each import order.

    ``autoinit`` creates a private context. Libraries that are used later then work in that context.
    """
    first = exchange.option("order").removesuffix("-first")
    setup, case = exchange.option("setup"), exchange.case
    interpreter.expect_exchange(interpreter.run("pycuda_context", setup, first, case.producer, case.consumer))
