"""Family ``threads``: many exchanges at once, and imports that are released in another thread.

Each case names the build of Python on which it ran: with the GIL, or free-threaded.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from conformance.adapters.base import Adapter, Device, Protocol, Trait, Unsupported
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Isolation, every, invariant
from conformance.checks.codes import Code
from conformance.checks.concurrency import BUILDS, THREADS, elsewhere, together
from conformance.checks.exchange import Exchange, Source, brief, show
from conformance.checks.input_words import described
from conformance.checks.layouts import layout
from conformance.checks.libraries import REFERENCE, Environment, Pair
from conformance.checks.offers import expect_plain_releases, happens, unreleased
from conformance.checks.outcomes import ACCUSED, Failure, Inconclusive, Refused, fail
from conformance.checks.type_names import expect_name, expect_typestr
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import dtype
from conformance.protocols.strided import gather, offsets
from conformance.reference.importer import Imported
from conformance.reference.managed import Deleter

_ARRAYS = 4
_ROUNDS = 2
_EXPORTS = 5
_BESIDE_OTHERS = ""
"""No required clause: a refusal only while other threads run is reported by a code of its own."""
_PATIENT = 5
"""Attempts to wait for a release: a library's own thread may be late on a busy machine."""


def _context(exchange: Exchange) -> AbstractContextManager[None]:
    """Make the primary context current in this thread on a GPU. The family ``context`` covers threads without one."""
    if exchange.device is not Device.CUDA:
        return nullcontext()
    from conformance.cuda import context

    return context.using(context.primary())


def _take_and_compare(exchange: Exchange, source: Source, promised: str | None = None) -> None:
    """Make one exchange, compare the elements bit for bit, and drop the import."""
    exchange.expect_values(source, exchange.read(exchange.take(source, promised=promised)))


def _all_well(exchange: Exchange, results: list[Any]) -> None:
    """Raise the first failure of any thread. A refusal is a failure, because the same exchange was accepted alone."""
    errors = [r for r in results if isinstance(r, BaseException)]
    for error in sorted(errors, key=lambda e: not isinstance(e, Failure)):
        if isinstance(error, Refused):
            _refused_beside_others(exchange, str(error))
        raise error


def _refused_beside_others(exchange: Exchange, told: str) -> None:
    """Fail for an exchange that is refused only beside other threads. The text of a refusal begins with the side that refused."""
    by_producer = told.startswith(f"{exchange.producer.name} refused to export")
    cited = {
        (Protocol.DLPACK, True): "DLP-59", (Protocol.DLPACK, False): "DLP-58",
        (Protocol.CAI, True): "CAI-05", (Protocol.CAI, False): "CAI-32",
    }[exchange.protocol, by_producer]  # fmt: skip
    role = Role.PRODUCER if by_producer else Role.CONSUMER
    fail(
        Code.REFUSED_BESIDE_THREADS, cited, role=role, level=Level.SHOULD,
        reason=f"the {role.value} refuses an exchange while other threads run, and accepts it alone", expected="the same result as alone",
        seen=told, accused=ACCUSED[role],
    )  # fmt: skip


@invariant(
    "threads.many-arrays",
    producer="DLP-59 CAI-05",
    consumer="DLP-58 CAI-32",
    bugs="capsule-15",
    level=Level.MUST,
    cases=lambda env: every(env.pairs(), build=BUILDS),
)
def test_many_arrays(exchange: Exchange) -> None:
    """Two libraries must give each of eight threads its own elements when the threads exchange their own arrays at once.

    Every array has its own pattern, so the check detects elements of another thread's array.
    """
    sources = [exchange.source(seed=i) for i in range(THREADS * _ARRAYS)]
    _take_and_compare(exchange, sources[0])

    def work(index: int) -> None:
        own = exchange.apart()
        with _context(own):
            for source in sources[index::THREADS] * _ROUNDS:
                _take_and_compare(own, source, _BESIDE_OTHERS)

    _all_well(exchange, together(work))


@invariant(
    "threads.one-array",
    producer="DLP-59 CAI-05",
    consumer="DLP-58 CAI-32",
    bugs="capsule-15",
    level=Level.MUST,
    cases=lambda env: every(env.pairs(), build=BUILDS),
)
def test_one_array(exchange: Exchange) -> None:
    """Two libraries must give eight threads that exchange one array at once its elements, and must leave the array unchanged."""
    source = exchange.source()
    _take_and_compare(exchange, source)

    def work(index: int) -> None:
        own = exchange.apart()
        with _context(own):
            for _ in range(_EXPORTS):
                _take_and_compare(own, source, _BESIDE_OTHERS)

    _all_well(exchange, together(work))
    _expect_unharmed(exchange, source)


def _counting(env: Environment) -> Iterator[Pair]:
    """Yield consumers whose releases can be counted: the reference exports to them by DLPack."""
    return env.imports(Protocol.DLPACK)


def _expect_released(exchange: Exchange, source: Source, *passing: Adapter) -> None:
    """Raise unless every capsule that the reference made of this array was released once. The check waits for late releases.

    Otherwise the libraries that passed the array on (``passing``) are tried with a plain array first.
    """
    exports = source.array.log.exports

    def is_right() -> bool:
        return all(export.deleter_calls == 1 for export in exports)

    if any(happens(is_right) for _ in range(_PATIENT)):
        return
    calls = [export.deleter_calls for export in exports]
    never, often = calls.count(0), sum(count > 1 for count in calls)
    seen = f"{never} never called, {often} called more than once"
    expected = f"one call of each deleter, {len(calls)} in all"
    if often:
        fail(
            Code.RELEASED_TWICE, "DLP-26", role=Role.CONSUMER, reason="the consumer releases a capsule more than once",
            expected=expected, seen=seen, given="memory",
        )  # fmt: skip
    expect_plain_releases(exchange, *passing)
    reason = "not every capsule is released"
    unreleased(exchange, is_right, "DLP-26", role=Role.CONSUMER, reason=reason, expected=expected, seen=seen)


@invariant(
    "threads.deleters",
    consumer="DLP-26",
    bugs="I20 capsule-15",
    level=Level.MUST,
    cases=lambda env: every(_counting(env), build=BUILDS),
)
def test_deleters(exchange: Exchange) -> None:
    """A consumer must release each import exactly once when eight threads import one array and drop the imports."""
    source = exchange.source()
    _take_and_compare(exchange, source)

    def work(index: int) -> None:
        own = exchange.apart()
        with _context(own):
            kept = [own.take(source, promised=_BESIDE_OTHERS) for _ in range(_EXPORTS)]
            kept.clear()

    _all_well(exchange, together(work))
    _expect_released(exchange, source)


@invariant(
    "threads.release-elsewhere",
    producer="DLP-28 CAI-05",
    consumer="DLP-26 CAI-32",
    bugs="I24 context-13 capsule-13 capsule-15",
    level=Level.MUST,
    cases=lambda env: every(env.pairs(), build=BUILDS),
)
def test_release_elsewhere(exchange: Exchange) -> None:
    """A consumer must release an import that is dropped in another thread, and later exchanges must work."""
    source = exchange.source()
    held = [exchange.take(source)]
    exchange.expect_intact(source, exchange.consumer)
    elsewhere(held.clear)
    if exchange.producer.name == REFERENCE and exchange.protocol is Protocol.DLPACK:
        _expect_released(exchange, source)
    _expect_unharmed(exchange, source)
    _take_and_compare(exchange, exchange.source(seed=1))


def _elements(exchange: Exchange, source: Source) -> bytes:
    """Return the elements of an array, read by the suite: one by one where they are too far apart for one block."""
    size = source.dtype.itemsize
    if source.block:
        return gather(exchange.peek(source.start, len(source.block)), source.view, size)
    begins = source.address - source.view.offset * size
    return b"".join(exchange.peek(begins + offset * size, size) for offset in offsets(source.view))


def _expect_unharmed(exchange: Exchange, source: Source, owner: Adapter | None = None) -> None:
    """Raise unless an array still has its elements, as read by the suite and by its owner. The default owner is the producer."""
    owner = owner or exchange.producer
    by_dlpack = exchange.protocol is Protocol.DLPACK
    lies = _elements(exchange, source)
    if lies != source.values:
        fail(
            Code.RELEASED_EARLY, "DLP-26" if by_dlpack else "CAI-32", role=Role.CONSUMER,
            reason="the producer's memory has changed after an import was released",
            expected=show(source.values, source.dtype), seen=show(lies, source.dtype), given="",
        )  # fmt: skip
    read = owner.read(source.array)
    if read != source.values:
        raise Inconclusive(f"{owner.name} does not read its own array correctly: {show(read, source.dtype)}")


def _beside_reference(env: Environment) -> Iterator[Pair]:
    """Yield every library on either side of the reference, by DLPack: only DLPack has a release."""
    return (p for p in env.pairs(Protocol.DLPACK) if REFERENCE in (p.producer.name, p.consumer.name))


_FORMS = ("c-order", "vector", "cube", "fortran", "stepped", "rows", "scalar", "permuted")
_DIFFERENT = "one of several different arrays in threads"
"""The special condition of a case. Each array is exchanged correctly alone."""


def _shown_in_threads(env: Environment) -> Iterator[Pair]:
    """Yield each library on either side of the reference. That is enough to detect tables that its threads share."""
    return (pair for pair in env.pairs() if pair.with_reference)


@invariant(
    "threads.different-arrays",
    producer="DLP-59 DLP-13 DLP-16 CAI-05 CAI-03",
    consumer="DLP-58 DLP-26 DLP-43 DLP-46 CAI-32",
    context="CAI-27",
    bugs="capsule-15",
    level=Level.MUST,
    cases=lambda env: every(_shown_in_threads(env), build=BUILDS),
)
def test_different_arrays(exchange: Exchange) -> None:
    """Two libraries must exchange different arrays correctly in several threads at once, and release them in other threads.

    The arrays have all element types and different shapes. Each thread checks address, shape, strides, element type and elements of its imports.
    Then it reads and drops the imports of the next thread. Arrays that are not exchanged correctly alone are left out.
    """
    sources = _right_alone(exchange)
    rounds = [sources[index::THREADS] or sources[:1] for index in range(THREADS)]
    exchange.special(_DIFFERENT)

    def take(index: int) -> list[tuple[Source, bool, Any]]:
        with _context(exchange):
            return [(source, shared, _looked_at(exchange.apart(), source, shared)) for source, shared in rounds[index]]

    held = together(take)
    _all_well(exchange, held)

    def drop(index: int) -> None:
        neighbours: Any = held[(index + 1) % THREADS]
        with _context(exchange):
            for source, _, taken in neighbours:
                exchange.apart().expect_values(source, exchange.read(taken))
            del taken
            neighbours.clear()

    _all_well(exchange, together(drop))
    for source, _ in sources:
        if exchange.producer.name == REFERENCE and exchange.protocol is Protocol.DLPACK:
            _expect_released(exchange, source)


def _right_alone(exchange: Exchange) -> list[tuple[Source, bool]]:
    """Return one array of the producer for each element type, with whether the import is shared.

    Arrays that are not exchanged correctly alone are left out. Raise :class:`Refused` if none remains.
    """
    found: list[tuple[Source, bool]] = []
    for number, name in enumerate(exchange.producer.candidate_dtypes):
        for form in (_FORMS[number % len(_FORMS)], _FORMS[0]):
            try:
                source = exchange.source(seed=number, kind=dtype(name), form=layout(form))
            except Exception as error:  # the library has no such array
                exchange.check_context(error)
                continue
            try:
                with exchange.control(described(form, name)):
                    taken = _looked_at(exchange, source, is_shared=False)
                    shared = exchange.consumer.describe(taken).address == source.address
                    del taken
            except (Failure, Refused, Unsupported, Inconclusive):
                continue
            found.append((source, shared))
            break
    if not found:
        raise Refused(f"no array of {exchange.producer.name} is exchanged correctly alone")
    return found


def _looked_at(exchange: Exchange, source: Source, is_shared: bool) -> Any:
    """Return the import of an array. Raise if it does not describe that array."""
    taken = exchange.take(source, promised=_BESIDE_OTHERS)
    view = exchange.look(taken)
    exchange.expect_handed(source)
    expect_typestr(exchange, source.dtype)
    if view.dtype is not None:
        expect_name(exchange, source, taken, view.dtype)
    exchange.expect_shape(source, view)
    if is_shared:
        exchange.expect_address(source, view)
    exchange.expect_values(source, exchange.read(taken))
    return taken


@invariant(
    "threads.release-after-main",
    producer="DLP-29 DLP-27",
    consumer="DLP-26",
    bugs="I24 context-13",
    level=Level.MUST,
    isolation=Isolation.EXIT,
    cases=lambda env: every(_beside_reference(env), build=BUILDS),
)
def test_release_after_main(exchange: Exchange) -> None:
    """Two libraries must let the interpreter exit cleanly if a thread releases an import after the main thread has ended."""
    source = exchange.source()
    if isinstance(exchange.producer, ReferenceAdapter):
        source.array.override = {"deleter": Deleter.NATIVE}
    held = [exchange.take(source)]
    threading.Thread(target=_release_last, args=(held,)).start()


def _release_last(held: list[Any]) -> None:
    threading.main_thread().join()
    held.clear()


def _links(pair: Pair) -> tuple[str, ...]:
    """Return the protocols by which the array can enter the first library."""
    return tuple(protocol.value for protocol in pair.producer.sides[pair.device].imports)


def _chains(env: Environment) -> Iterator[Pair]:
    """Yield pairs of libraries that can pass an import on by DLPack."""
    return (p for p in env.pairs(Protocol.DLPACK) if Protocol.DLPACK in p.target.exports)


@invariant(
    "threads.chain",
    long=True,
    producer="DLP-27 DLP-28 DLP-59",
    consumer="DLP-26 DLP-58",
    context="CAI-27 CAI-32",
    bugs="I19 I24 capsule-13 capsule-22",
    level=Level.MUST,
    cases=lambda env: every(_chains(env), entry=_links, build=BUILDS),
)
def test_chain(exchange: Exchange) -> None:
    """Two libraries must release an array that passed through both exactly once, from a thread that does not hold the GIL.

    Each import holds the one before it. The deleter of the last one is called as a C function, with the GIL released.
    """
    reference = exchange.library(REFERENCE)
    source = exchange.make(reference)
    end = [_pass_on(exchange, reference, source)]
    exchange.expect_values(source, reference.read(end[0]))
    elsewhere(lambda: end.pop().release())
    if exchange.option("entry") == Protocol.DLPACK.value:
        _expect_released(exchange, source, exchange.producer, exchange.consumer)
    _expect_unharmed(exchange, source, reference)


def _pass_on(exchange: Exchange, reference: Any, source: Source) -> Imported:
    """Pass an array from the reference through both libraries to the reference. Only the last import is held."""
    entry = Protocol(exchange.option("entry"))
    first, second = exchange.producer, exchange.consumer
    try:
        given = first.take(reference.offer(source.array, entry), entry, exchange.device)
        exchange.expect_intact(source, first, entry)
        passed = second.take(exchange.offer(given, giver=first), Protocol.DLPACK, exchange.device)
        exchange.expect_handed(source)
        exchange.expect_intact(source, second)
        back: Imported = reference.take(exchange.offer(passed, giver=second), Protocol.DLPACK, exchange.device)
        exchange.expect_handed(source)
    except (Failure, Refused):
        raise
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"a library in the chain refuses: {brief(error)}") from error
    return back


def _takers_of_capsules(env: Environment) -> Iterator[Pair]:
    """Yield consumers that take bare capsules. The reference's own call is for host memory only."""
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
    """A consumer must give a capsule that eight threads take at once to exactly one thread, and must release the array once."""
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
            Code.CAPSULE_TAKEN_TWICE if winners else Code.REFUSED_BESIDE_THREADS,
            "DLP-25",
            role=Role.CONSUMER,
            reason="several threads consume one capsule" if winners else "none of several threads gets the capsule",
            expected=f"1 import and {THREADS - 1} refusals",
            seen=f"{len(winners)} imports; refusals: {'; '.join(sorted(losers)) or 'none'}",
            given="",
        )
    exchange.expect_values(source, exchange.read(winners[0]))
