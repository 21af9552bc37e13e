"""Family ``threads``: many exchanges at once, and arrays that end in another thread than they came in.

Each case says on which build of Python it ran: with the global lock, or free-threaded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from conformance.adapters.base import Device, Protocol, Trait
from conformance.adapters.reference import ReferenceAdapter
from conformance.protocols.clauses import Level, Role
from conformance.reference import managed
from conformance.reference.importer import Imported
from conformance.reference.managed import Deleter

from .catalogue import Isolation, every, invariant
from .concurrency import BUILDS, THREADS, elsewhere, together
from .exchange import Exchange, Source, brief, collect
from .libraries import REFERENCE, Environment, Pair
from .offers import late_or_lost
from .outcomes import Finding, Refused, fail

_ARRAYS = 4
_ROUNDS = 2
_EXPORTS = 5


def _context(exchange: Exchange) -> AbstractContextManager[None]:
    """On a GPU the primary context is current in every thread: what happens without is another matter."""
    if exchange.device is not Device.CUDA:
        return nullcontext()
    from conformance.cuda import context

    return context.using(context.primary())


def _take_and_compare(exchange: Exchange, source: Source) -> None:
    """One exchange whose elements are compared bit for bit; what came in ends here."""
    exchange.expect_values(source, exchange.read(exchange.take(source)))


def _all_well(exchange: Exchange, results: list[Any]) -> None:
    """Raise the first finding of any thread; a refusal is one, because the same exchange was accepted alone."""
    errors = [r for r in results if isinstance(r, BaseException)]
    for error in sorted(errors, key=lambda e: not isinstance(e, Finding)):
        if isinstance(error, Refused):
            fail(
                *exchange.sharing(),
                role=Role.CONSUMER,
                reason="refused beside other threads, though accepted alone",
                expected="as alone",
                seen=str(error),
            )
        raise error


@invariant(
    "threads.many-arrays",
    producer="DLP-43 CAI-05",
    consumer="DLP-43",
    bugs="capsule-15",
    level=Level.MUST,
    cases=lambda env: every(env.pairs(), build=BUILDS),
)
def test_many_arrays(exchange: Exchange) -> None:
    """Eight threads that exchange arrays of their own at once each read their own elements.

    Every array has a pattern of its own, so elements of another thread's array are seen as such.
    """
    sources = [exchange.source(seed=i) for i in range(THREADS * _ARRAYS)]
    _take_and_compare(exchange, sources[0])

    def work(index: int) -> None:
        with _context(exchange):
            for source in sources[index::THREADS] * _ROUNDS:
                _take_and_compare(exchange, source)

    _all_well(exchange, together(work))


@invariant(
    "threads.one-array",
    producer="DLP-43 CAI-05",
    consumer="DLP-43",
    bugs="capsule-15",
    level=Level.MUST,
    cases=lambda env: every(env.pairs(), build=BUILDS),
)
def test_one_array(exchange: Exchange) -> None:
    """One array that eight threads export and import at once is read right by all of them, and is itself unharmed."""
    source = exchange.source()
    _take_and_compare(exchange, source)

    def work(index: int) -> None:
        with _context(exchange):
            for _ in range(_EXPORTS):
                _take_and_compare(exchange, source)

    _all_well(exchange, together(work))
    exchange.expect_values(source, exchange.producer.read(source.array))


def _counting(env: Environment) -> Iterator[Pair]:
    """Consumers whose releases can be counted: the reference exports to them by DLPack."""
    return env.imports(Protocol.DLPACK)


def _expect_released(exchange: Exchange, source: Source) -> None:
    """Every capsule that the reference made of this array was released once, cycles given their chance."""
    managed.settle()
    if any(export.deleter_calls != 1 for export in source.array.log.exports):
        collect()
    calls = [export.deleter_calls for export in source.array.log.exports]
    if any(count != 1 for count in calls):
        fail(
            "DLP-26",
            role=Role.CONSUMER,
            reason="not every capsule was released exactly once",
            expected=f"{len(calls)} deleters, one call each",
            **late_or_lost(
                exchange,
                lambda: all(export.deleter_calls == 1 for export in source.array.log.exports),
                f"{calls.count(0)} never called, {sum(count > 1 for count in calls)} called more than once",
            ),
        )


@invariant(
    "threads.deleters",
    consumer="DLP-26",
    bugs="I20 capsule-15",
    level=Level.MUST,
    cases=lambda env: every(_counting(env), build=BUILDS),
)
def test_deleters(exchange: Exchange) -> None:
    """Of the imports that eight threads make of one array and drop again, each is released exactly once."""
    source = exchange.source()
    _take_and_compare(exchange, source)

    def work(index: int) -> None:
        with _context(exchange):
            kept = [exchange.take(source) for _ in range(_EXPORTS)]
            kept.clear()

    _all_well(exchange, together(work))
    _expect_released(exchange, source)


@invariant(
    "threads.release-elsewhere",
    producer="DLP-28 CAI-05",
    consumer="DLP-26",
    bugs="I24 context-13 capsule-13 capsule-15",
    level=Level.MUST,
    cases=lambda env: every(env.pairs(), build=BUILDS),
)
def test_release_elsewhere(exchange: Exchange) -> None:
    """An import whose last reference goes in another thread is released well: all later exchanges are right."""
    source = exchange.source()
    held = [exchange.take(source)]
    elsewhere(held.clear)
    if exchange.producer.name == REFERENCE and exchange.protocol is Protocol.DLPACK:
        _expect_released(exchange, source)
    clauses = ("DLP-26", "DLP-28") if exchange.protocol is Protocol.DLPACK else ("CAI-05",)
    exchange.expect_values(source, exchange.producer.read(source.array), *clauses)
    _take_and_compare(exchange, exchange.source(seed=1))


def _beside_reference(env: Environment) -> Iterator[Pair]:
    """Every library on either side of the reference, by DLPack: only there is anything to release."""
    return (p for p in env.pairs(Protocol.DLPACK) if REFERENCE in (p.producer.name, p.consumer.name))


@invariant(
    "threads.release-after-main",
    producer="DLP-27 DLP-29 CAI-05",
    bugs="I24 context-13",
    level=Level.MUST,
    isolation=Isolation.EXIT,
    cases=lambda env: every(_beside_reference(env), build=BUILDS),
)
def test_release_after_main(exchange: Exchange) -> None:
    """An import that a thread releases when the main thread has ended already lets the interpreter end cleanly."""
    source = exchange.source()
    if isinstance(exchange.producer, ReferenceAdapter):
        source.array.override = {"deleter": Deleter.NATIVE}
    held = [exchange.take(source)]
    threading.Thread(target=_release_last, args=(held,)).start()


def _release_last(held: list[Any]) -> None:
    threading.main_thread().join()
    held.clear()


def _links(pair: Pair) -> tuple[str, ...]:
    """By what the array enters the first of the two libraries."""
    return tuple(protocol.value for protocol in pair.producer.sides[pair.device].imports)


def _chains(env: Environment) -> Iterator[Pair]:
    """Two libraries in a row that pass on by DLPack what they were given."""
    return (p for p in env.pairs(Protocol.DLPACK) if Protocol.DLPACK in p.target.exports)


@invariant(
    "threads.chain",
    producer="DLP-27 DLP-28",
    consumer="DLP-26",
    context="CAI-27",
    bugs="I19 I24 capsule-13 capsule-22",
    level=Level.MUST,
    cases=lambda env: every(_chains(env), entry=_links, build=BUILDS),
)
def test_chain(exchange: Exchange) -> None:
    """An array passed on through two libraries is released by a thread without the lock, once, and the process lives.

    Each link holds the one before it. The last is released by its C function, called with the lock let go.
    """
    reference = exchange.library(REFERENCE)
    source = exchange.make(reference)
    end = [_pass_on(exchange, reference, source)]
    exchange.expect_values(source, reference.read(end[0]))
    elsewhere(lambda: end.pop().release())
    if exchange.option("entry") == Protocol.DLPACK.value:
        _expect_released(exchange, source)
    exchange.expect_values(source, reference.read(source.array), "DLP-26", "DLP-28")


def _pass_on(exchange: Exchange, reference: Any, source: Source) -> Imported:
    """Reference → first library → second library → reference; only the last link is held from here."""
    entry = Protocol(exchange.option("entry"))
    first, second = exchange.producer, exchange.consumer
    try:
        given = first.take(reference.offer(source.array, entry), entry, exchange.device)
        passed = second.take(first.offer(given, Protocol.DLPACK), Protocol.DLPACK, exchange.device)
        back: Imported = reference.take(second.offer(passed, Protocol.DLPACK), Protocol.DLPACK, exchange.device)
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"the chain ends on the way: {brief(error)}") from error
    return back


def _takers_of_capsules(env: Environment) -> Iterator[Pair]:
    """Consumers that take bare capsules; the reference's own call is for host memory only."""
    for pair in env.imports(Protocol.DLPACK, on=(Device.HOST, Device.CUDA)):
        if pair.consumer.has(Trait.CAPSULES) and (pair.device is Device.HOST or pair.consumer.name != REFERENCE):
            yield pair


@invariant(
    "threads.capsule-race",
    consumer="DLP-25 DLP-26",
    bugs="capsule-05",
    level=Level.MUST,
    cases=lambda env: every(_takers_of_capsules(env), build=BUILDS),
)
def test_capsule_race(exchange: Exchange) -> None:
    """Of eight threads that take the same capsule at once exactly one gets it, and its array is released once."""
    source = exchange.source()
    for _ in range(_EXPORTS):
        _race(exchange, source)
    _expect_released(exchange, source)


def _race(exchange: Exchange, source: Source) -> None:
    capsule = exchange.capsule_of(source)

    def work(index: int) -> Any:
        with _context(exchange):
            return exchange.consumer.take_capsule(capsule)

    results = together(work)
    winners = [r for r in results if not isinstance(r, BaseException)]
    losers = {brief(r) for r in results if isinstance(r, BaseException)}
    if len(winners) != 1:
        fail(
            "DLP-25",
            role=Role.CONSUMER,
            reason="one capsule was taken over more than once" if winners else "nobody got the capsule",
            expected="one import and seven refusals",
            seen=f"{len(winners)} imports; refusals: {'; '.join(sorted(losers)) or 'none'}",
        )
    exchange.expect_values(source, exchange.read(winners[0]))
