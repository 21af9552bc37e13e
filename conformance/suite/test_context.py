"""Family ``context``: CUDA contexts, the threads they are current on, and forks."""

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
    """This context is the thread's current one inside; afterwards the one from before is."""
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
            reason=f"the conversion leaves another context current than the {what} one",
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
    """A conversion leaves the primary context current where it was current."""
    source = exchange.source()
    primary = context.primary()
    with uncollected(), _current(primary):
        exchange.take(source)
        _expect_unchanged(exchange, primary, "primary")


def _forking(env: Environment) -> Iterator[Draft]:
    """Every library on either side of the reference, by one protocol: a fork does not care by which."""
    chosen = {(d.producer, d.consumer): d for d in reversed(list(_with_reference(env)))}
    return reversed(chosen.values())


def _with_reference(env: Environment) -> Iterator[Draft]:
    """Every library on either side of the reference; a process each, so not in the quick tier."""
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
    """A conversion made while a private context is current is refused or right, and leaves that context current.

    The array lies in the primary context, which is current again when the import is read. Both libraries have exchanged
    before: what a library does when it starts does not count here.
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
    """An array is exchanged and read in a thread that has done nothing before, on a GPU one without a current context.

    Both libraries are loaded before, for PyCUDA makes a context current in the thread that loads it. No garbage is collected
    meanwhile: what frees memory of an earlier case in that thread may make one current, too.
    """
    source, consumer = exchange.source(), exchange.consumer
    with uncollected():
        elsewhere(lambda: _exchange_here(exchange, source, consumer))


def _exchange_here(exchange: Exchange, source: Source, consumer: Adapter) -> None:
    if exchange.device is Device.CUDA and context.current():
        raise Inconclusive("a fresh thread has a current context already")
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
    """Importing a library makes no CUDA context.

    A context made at import binds the process to a device before its user could choose one.
    """
    ended = interpreter.run("import_alone", exchange.case.producer)
    interpreter.expect_survival(ended, interpreter.SURVIVAL, accused=Side.CONSUMER)
    found = ended.told("primary")
    if found is None:
        raise Inconclusive("the fresh interpreter could not ask the driver")
    if found["primary"] or found["current"]:
        fail(
            Code.CONTEXT_CREATED,
            "G10",
            role=Role.CONSUMER,
            reason="the import of the library makes a CUDA context",
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
    """In a fork of a process that has used CUDA, a conversion raises: it neither hangs, nor dies, nor yields other data.

    CUDA itself forbids such a process to use it, so nothing here breaks a promise of a protocol. A conversion hangs if it sleeps or computes
    on and on; one that only gets no processor does neither.
    """
    source = exchange.source()
    try:
        exchange.expect_values(source, exchange.read(exchange.take(source, promised="")))
    except Failure as failure:
        raise Inconclusive(f"there is nothing to try in a fork: {failure}") from failure
    exchange.illegal("an exchange in a forked process")
    _judge_fork(exchange, in_child(lambda: _attempt(exchange, source)))


def _attempt(exchange: Exchange, source: Source) -> str:
    """``right``, ``wrong`` or ``raised …``. Import and read by the adapters alone: the CUDA context of the suite is lost here, too."""
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
        raise Inconclusive("whether the conversion in the fork would have ended cannot be told: it got too little time")
    if how in map(signal_senders.name_of, signal_senders.FOREIGN):
        raise Inconclusive(f"{how} ended the fork, and the sender is unknown")
    code, reason = {
        "wrong": (Code.WRONG_AFTER_FORK, "the elements that are read in the fork are not the producer's"),
        HANG: (Code.PROGRAM_HANG, "the conversion in the fork never ends"),
    }.get(how, (Code.PROGRAM_CRASH, "the conversion in the fork ends the process"))
    fail(
        code, _reading(exchange), role=Role.CONSUMER, reason=reason, expected="an exception", seen=how,
    )  # fmt: skip


def _with_pycuda(env: Environment) -> Iterator[Draft]:
    """PyCUDA with every library of flesh and blood, both ways, over all that its users choose between."""
    for pair in env.pairs(Protocol.CAI, on=_GPU):
        names = (pair.producer.name, pair.consumer.name)
        if names.count("pycuda") == 1 and REFERENCE not in names:
            other = names[1 - names.index("pycuda")]
            setups = [("autoinit", "pycuda"), ("autoinit", other)]
            if pair.producer.name == "pycuda":  # the other way round is what every other family does
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
    """Whichever way PyCUDA's context is made and whichever library comes first, an exchange is right or refused.

    ``autoinit`` makes a context of PyCUDA's own, in which other libraries then find themselves.
    """
    first = exchange.option("order").removesuffix("-first")
    setup, case = exchange.option("setup"), exchange.case
    interpreter.expect_exchange(interpreter.run("pycuda_context", setup, first, case.producer, case.consumer))
