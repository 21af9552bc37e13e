"""Family ``lifetime``: memory must live as long as any array uses it, and must be released afterwards.

The cases count releases exactly: calls of the suite's deleters, references that are gone, objects of the interpreter.
Only device memory is measured in bytes, with a margin that is too large for other processes to reach.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import types
import typing
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from conformance.adapters.base import Adapter, Device, Protocol, Trait
from conformance.adapters.making import NONE_INSIDE
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Isolation, Needs, every, invariant, layouts
from conformance.checks.codes import Code
from conformance.checks.exchange import GONE, Exchange, Source, brief, show
from conformance.checks.exchange_in_fork import in_fork
from conformance.checks.handover_record import Handed, is_mapped
from conformance.checks.layouts import Layout
from conformance.checks.libraries import REFERENCE, Environment, Pair, shows_one_library
from conformance.checks.offers import (
    HELD,
    REFUSED_IMPORT,
    STRUCTS,
    Offered,
    Prepared,
    Watched,
    expect_one_owner,
    export_again,
    exports_of_imports,
    happens,
    prepared,
    reused,
    still_held,
    unreleased,
    watched,
)
from conformance.checks.outcomes import ACCUSED, Failure, Inconclusive, Refused, fail
from conformance.checks.pressure import expect_reuse, pressed
from conformance.checks.steps import Doing
from conformance.cuda import memory as cuda_memory
from conformance.protocols import capsule
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import DELETER, USED_LEGACY, USED_VERSIONED
from conformance.protocols.strided import Index
from conformance.reference.exporter import Exporter, Log
from conformance.reference.managed import Deleter, Managed, settle, stray_deleter_calls

EXCHANGES = 64
WARM_UP = 8
NOTHING = "empty"
"""The size of arrays without elements, in a case's parameters."""
EMPTY = Layout("none-inside", NONE_INSIDE)
BIG = Layout("big", (1 << 26,))
"""256 MiB of float32."""
BIG_EXCHANGES = 16
PATIENT_TRIES = 5
"""How often a loss must show before it counts: memory that other processes use meanwhile does not stay lost."""
COLLECT_EVERY = 16
"""Exchanges between two garbage collections, so that reference cycles never hold more than 4 GiB."""
LEAK_BYTES = 2 << 30
"""Half of the memory that is missing if none of :data:`BIG_EXCHANGES` arrays of 256 MiB is freed."""
UNTIL_EXIT = "_conformance_until_exit"
"""Name of a module that keeps an object until the interpreter clears its modules."""


def _source(exchange: Exchange) -> Source:
    """Return the producer's array, without elements if the case says so."""
    if exchange.option("size", "") != NOTHING:
        return exchange.source()
    exchange.special("an array without elements")
    return exchange.source(form=EMPTY)


def _take(exchange: Exchange, offer: Prepared) -> Any:
    """Import a prepared capsule. A consumer may refuse a versioned struct, because it did not ask for one, or an empty array."""
    is_odd = exchange.option("struct", "legacy") == "versioned" or exchange.option("size", "") == NOTHING
    return exchange.take(offer, promised="" if is_odd else None)


# -- consumers


@invariant(
    "lifetime.deleter-once",
    consumer="DLP-26 DLP-58",
    bugs="I20",
    level=Level.MUST,
    cases=lambda env: chain(
        every(env.imports(Protocol.DLPACK), struct=STRUCTS),
        every(env.imports(Protocol.DLPACK), struct=STRUCTS, size=(NOTHING,)),
    ),
)
def test_deleter_once(exchange: Exchange) -> None:
    """A consumer must call the deleter exactly once, when its array dies, with the pointer from the capsule.

    A consumer that copies may call it earlier. An array without elements has a NULL data pointer, and is released like any other.
    """
    _judge_release(exchange, _released_once)


class _Released(typing.Protocol):
    """A function that makes one exchange and checks its release, such as :func:`_released_once`."""

    def __call__(self, exchange: Exchange, *, patient: bool) -> Prepared: ...


def _judge_release(exchange: Exchange, released: _Released) -> None:
    """Make an exchange and check its release. If another thread released it, repeat with ``patient``: that release may have begun early."""
    offer = released(exchange, patient=False)
    if set(offer.managed.callers) - {threading.get_native_id()}:
        released(exchange, patient=True)


def _released_once(exchange: Exchange, *, patient: bool) -> Prepared:
    """Import, drop the import, and check the release.

    A release on another thread may begin before the import is gone. With ``patient`` the import lives long enough for such a release to
    show.
    """
    source = _source(exchange)
    offer = prepared(exchange, source)
    strays = len(stray_deleter_calls)
    taken = _take(exchange, offer)
    if source.block:
        exchange.expect_values(source, exchange.read(taken))
    if not _is_copy(exchange, source, taken):
        _expect_no_call(offer, "while the import lives", patient=patient)
    del taken
    in_time = happens(lambda: offer.managed.deleter_calls >= 1 or len(stray_deleter_calls) > strays)
    others = [hex(address) for address in stray_deleter_calls[strays:]]
    if others:
        fail(
            Code.DELETER_ARGUMENT_WRONG, "DLP-26", role=Role.CONSUMER,
            reason="the consumer calls the deleter with a wrong pointer",
            expected=f"one call, with {offer.managed.address:#x}",
            seen=f"{offer.managed.deleter_calls} calls with it, and calls with {', '.join(others)}",
        )  # fmt: skip
    _expect_one_call(exchange, offer.managed, "when the import is gone", in_time=in_time)
    return offer


def _is_copy(exchange: Exchange, source: Source, taken: Any) -> bool:
    """Return whether the consumer has copied the array, so that it no longer needs the producer's memory."""
    if not source.block:
        return True  # an array without elements needs no memory
    return not source.start <= exchange.look(taken).address < source.start + len(source.block)


def _expect_no_call(offer: Prepared, when: str, *, patient: bool = False) -> None:
    """Fail if the deleter has been called. With ``patient``, wait first, because a consumer may call it on another thread."""
    settle()
    if offer.managed.deleter_calls > 0 or (patient and happens(lambda: offer.managed.deleter_calls > 0)):
        fail(
            Code.RELEASED_EARLY, "DLP-26", role=Role.CONSUMER, reason=f"the consumer releases the producer's memory {when}",
            expected="no call of the deleter", seen=f"{offer.managed.deleter_calls} calls",
        )  # fmt: skip


def _expect_one_call(
    exchange: Exchange, managed: Managed, when: str, special: str = "", *, in_time: bool | None = None
) -> None:
    """Fail unless the deleter is called exactly once within the timeout.

    ``special`` describes the array of the failure if the consumer does release plain imports. ``in_time`` is the result of an earlier
    wait for the call.
    """
    if not (happens(lambda: managed.deleter_calls >= 1) if in_time is None else in_time):
        what = special if special and _releases(exchange) else HELD[Role.CONSUMER]
        unreleased(
            exchange, lambda: managed.deleter_calls == 1, "DLP-26", role=Role.CONSUMER,
            reason=f"the consumer does not release the producer's memory {when}", expected="one call of the deleter", seen="no call",
            what=what,
        )  # fmt: skip
    if managed.deleter_calls > 1:
        fail(
            Code.RELEASED_TWICE, "DLP-26", role=Role.CONSUMER, reason=f"the consumer releases the producer's memory more than once {when}",
            expected="one call of the deleter", seen=f"{managed.deleter_calls} calls", given=HELD[Role.CONSUMER],
        )  # fmt: skip


def _releases(exchange: Exchange) -> bool:
    """Return whether the consumer releases a plain import that this thread drops."""
    offer = prepared(exchange, exchange.source())
    _take(exchange, offer)
    return happens(lambda: offer.managed.deleter_calls >= 1)


def _viewing(env: Environment) -> Iterator[Pair]:
    """Yield consumers that can make views of parts of their arrays."""
    for pair in env.imports(Protocol.DLPACK):
        if "rows" in pair.target.layouts and not pair.consumer.has(Trait.VIEW_ONLY):
            yield pair


@invariant(
    "lifetime.derived-view",
    consumer="DLP-26 DLP-58",
    bugs="I19 I20",
    level=Level.MUST,
    cases=lambda env: every(_viewing(env), struct=STRUCTS),
)
def test_derived_view(exchange: Exchange) -> None:
    """A consumer must keep the memory while a view of part of an import lives, and must release it after the last view is gone."""
    _judge_release(exchange, _viewed)


def _viewed(exchange: Exchange, *, patient: bool) -> Prepared:
    """Import, make a view, drop the import and then the view. With ``patient`` the view lives long enough for an early release to show."""
    source = exchange.source()
    offer = prepared(exchange, source)
    taken = _take(exchange, offer)
    rest = Index((slice(1, None), slice(None)))
    part = exchange.using(partial(exchange.consumer.view, taken, rest), "slicing the import")
    copied = _is_copy(exchange, source, taken)
    del taken
    if not copied:
        _expect_no_call(offer, "while a view of the import lives", patient=patient)
    row = source.view.shape[1] * source.dtype.itemsize
    exchange.expect_values(source, exchange.read(part), expected=source.values[row:])
    del part
    _expect_one_call(exchange, offer.managed, "when the last view is gone")
    return offer


_ACROSS = "an exchange across a fork"


@invariant(
    "lifetime.across-fork",
    producer="DLP-59 DLP-27 DLP-28",
    consumer="DLP-58 DLP-26",
    level=Level.SHOULD,
    isolation=Isolation.CHILD,  # an earlier case may have started CUDA, which cannot be used after a fork
    cases=lambda env: every(pair for pair in env.pairs(Protocol.DLPACK, on=(Device.HOST,)) if pair.with_reference),
)
def test_across_fork(exchange: Exchange) -> None:
    """An array that is exported before a fork should be importable in the child and in the parent, and both should release their imports.

    The child also drops an import of the parent. Its memory is a copy of the parent's, so the parent does not see its changes. No
    document covers forks, so a failure is a deviation.
    """
    source = exchange.source()
    held = [exchange.take(source)]
    exchange.expect_values(source, exchange.read(held[0]))
    capsule = _exported(exchange, source)
    exchange.special(_ACROSS)
    in_fork(exchange, _ACROSS, lambda child: _both_end(child, source, held, capsule))
    try:
        _both_end(exchange, source, held, capsule)
    except Failure as failure:
        failure.level = failure.level.at_most(Level.SHOULD)
        raise


def _exported(exchange: Exchange, source: Source) -> Offered:
    """Return an offer of one capsule that is exported now, with the keywords of the consumer's last request.

    A consumer that does not accept such a capsule ends the case as refused.
    """
    asked = exchange.answers[-1].keywords if exchange.answers else {}
    offers = []
    for _ in range(2):
        exported = exchange.capsule_of(source, **asked)
        offers.append(
            Offered(lambda *args, capsule=exported, **keywords: capsule, exchange.told_device(exchange.offer(source)))
        )
    trial, kept = offers
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            exchange.consumer.take(trial, exchange.protocol, exchange.device)
    except Exception as error:
        raise Refused(
            f"{exchange.consumer.name} does not accept a capsule that was exported earlier: {brief(error)}"
        ) from error
    return kept


def _both_end(exchange: Exchange, source: Source, held: list[Any], offer: Offered) -> None:
    """Import the capsule, read it and the import from before the fork, drop both, and count the releases."""
    exports = source.array.log.exports if isinstance(source.array, Exporter) else []
    exchange.expect_values(source, exchange.read(held[0]))
    action = partial(exchange.consumer.take, offer, exchange.protocol, exchange.device)
    taken = [exchange.accepting(action, offer, promised="")]
    view = exchange.look(taken[0])
    exchange.expect_shape(source, view)
    exchange.expect_values(source, exchange.read(taken[0]))
    exchange.expect_intact(source, exchange.consumer)
    taken.clear()
    held.clear()
    for managed in exports:
        _expect_one_call(exchange, managed, "after a fork", _ACROSS)
    exchange.expect_intact(source, exchange.consumer)


@invariant(
    "lifetime.other-thread",
    consumer="DLP-26",
    bugs="I24",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), struct=STRUCTS),
)
def test_other_thread(exchange: Exchange) -> None:
    """A consumer must release an import that another thread drops, exactly once."""
    _drop_elsewhere(exchange, patient=False)
    if _has_threads(exchange):
        _drop_elsewhere(exchange, patient=True)


def _has_threads(exchange: Exchange) -> bool:
    """Return whether the consumer releases on its own threads. A native deleter does not record its thread, so this uses one in Python."""
    offer = prepared(exchange, exchange.source())
    _take(exchange, offer)
    happens(lambda: offer.managed.deleter_calls >= 1)
    return bool(set(offer.managed.callers) - {threading.get_native_id()})


def _drop_elsewhere(exchange: Exchange, *, patient: bool) -> None:
    """Import, drop the import in another thread, and check the release.

    A release on a third thread may begin early. With ``patient`` the import lives long enough for such a release to show.
    """
    source = exchange.crafted(override={"deleter": Deleter.NATIVE})
    offer = prepared(exchange, source)
    holder = [_take(exchange, offer)]
    if not _is_copy(exchange, source, holder[0]):
        _expect_no_call(offer, "while the import lives", patient=patient)
    thread = threading.Thread(target=holder.clear)
    thread.start()
    thread.join()
    in_time = happens(lambda: offer.managed.deleter_calls >= 1)
    exchange.check_context()
    special = "an import that is dropped in another thread"
    _expect_one_call(exchange, offer.managed, "when the import dies in another thread", special, in_time=in_time)


@invariant(
    "lifetime.null-deleter",
    consumer="DLP-26 DLP-58",
    level=Level.MUST,
    isolation=Isolation.RISKY,
    cases=lambda env: every(env.imports(Protocol.DLPACK), struct=STRUCTS),
)
def test_null_deleter(exchange: Exchange) -> None:
    """A consumer must accept a struct without a deleter, and must not free its memory when it drops the import."""
    _take(exchange, prepared(exchange, exchange.source()))
    source = exchange.crafted(override={"deleter": Deleter.NULL})
    offer = prepared(exchange, source)
    exchange.special("a NULL deleter")
    taken = exchange.take(offer, promised="DLP-26")
    exchange.expect_values(source, exchange.read(taken))
    with exchange.step(Doing.RELEASE, Role.CONSUMER):
        del taken
        exchange.consumer.let_go()  # clear caches now, so that a late crash is not blamed on a later case
    seen = exchange.producer.read(source.array)
    if seen != source.values:
        fail(
            Code.FREED_WITHOUT_DELETER, "DLP-26", role=Role.CONSUMER,
            reason="the consumer changes the memory of an import without deleter when it drops it",
            expected=show(source.values, source.dtype), seen=show(seen, source.dtype),
        )  # fmt: skip


@invariant(
    "lifetime.null-context",
    consumer="DLP-26 DLP-58",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), struct=STRUCTS),
)
def test_null_context(exchange: Exchange) -> None:
    """A consumer must import and release a struct with a NULL ``manager_ctx`` like any other.

    All other structs of the reference have a ``manager_ctx``.
    """
    _take(exchange, prepared(exchange, exchange.source()))
    exchange.special("a NULL `manager_ctx`")
    _judge_release(exchange, _released_without_context)


def _released_without_context(exchange: Exchange, *, patient: bool) -> Prepared:
    """Import such a struct, and drop the import. With ``patient`` it lives long enough for an early release to show."""
    source = exchange.crafted(override={"has_context": False})
    offer = prepared(exchange, source)
    taken = exchange.take(offer)
    exchange.expect_values(source, exchange.read(taken))
    if not _is_copy(exchange, source, taken):
        _expect_no_call(offer, "while the import lives", patient=patient)
    del taken
    _expect_one_call(exchange, offer.managed, "when the import is gone", "an import with a NULL `manager_ctx`")
    return offer


DAMAGE: dict[str, dict[str, Any]] = {
    "type-code": {"code": 200},
    "type-bits": {"code": 0, "bits": 7},
    "vector": {"lanes": 4},
    "device": {"device": (99, 0)},
}
_DAMAGED = {
    "type-code": "an unknown element type",
    "type-bits": "7-bit integers",
    "vector": "elements of 4 lanes",
    "device": "an array on an unknown device",
}


@invariant(
    "lifetime.failed-import",
    consumer="DLP-26 DLP-25",
    context="G7",
    bugs="I20",
    level=Level.MUST,
    cases=lambda env: chain(
        every(env.imports(Protocol.DLPACK), struct=STRUCTS, damage=tuple(DAMAGE)),
        every(env.imports(Protocol.DLPACK), struct=("versioned",), damage=("type-code",), size=(NOTHING,)),
    ),
)
def test_failed_import(exchange: Exchange) -> None:
    """A failed import must leave exactly one owner of the memory. The consumer releases it, or the capsule does later."""
    source = exchange.crafted(
        override={"deleter": Deleter.NATIVE, **DAMAGE[exchange.option("damage")]},
        form=EMPTY if exchange.option("size", "") == NOTHING else None,
    )
    offer = prepared(exchange, source)
    exchange.special(_DAMAGED[exchange.option("damage")])
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            taken = exchange.consumer.take(offer, exchange.protocol, exchange.device)
        what = "the consumer accepts a struct with an element type or device that it does not support"
        del taken
    except Exception as error:
        exchange.check_context(error)
        what = "the consumer refuses the capsule"
    expect_one_owner(exchange, offer, Role.CONSUMER, what)


# -- producers


FAILING: dict[str, dict[str, Any]] = {
    "device": {"dl_device": (99, 0)},
    "version": {"max_version": "1.0"},
    "stream": {"stream": "x"},
}
_ILLEGAL = {"version": "`max_version='1.0'`", "stream": "`stream='x'`"}
"""The keywords out of these that the protocol does not allow."""
_PATIENT = "device"
"""The failure after which the case also waits for a release on another thread."""


@invariant(
    "lifetime.failed-export",
    producer="DLP-28 DLP-27",
    bugs="I20 I21",
    level=Level.MUST,
    cases=lambda env: every(exports_of_imports(env), reason=tuple(FAILING)),
)
def test_failed_export(exchange: Exchange) -> None:
    """A failed export must not keep the array alive. After twenty of them the memory must be released with the array."""
    array = watched(exchange)
    exporter = exchange.producer.exporter(array.array, Protocol.DLPACK)
    reason = exchange.option("reason")
    if reason in _ILLEGAL:
        exchange.illegal(_ILLEGAL[reason])
    for _ in range(20):
        try:
            with exchange.step(Doing.EXPORT, Role.PRODUCER):
                exporter.__dlpack__(**FAILING[reason])
        except Exception as error:
            exchange.check_context(error)
    settle()
    if array.released > 0 or (reason == _PATIENT and happens(lambda: array.released > 0)):
        fail(
            Code.RELEASED_EARLY, "DLP-28", role=Role.PRODUCER, reason="the producer releases the memory of a living array when an export of it fails",
            expected="not released while the array lives", seen=f"released {array.released} times",
        )  # fmt: skip
    array.array = exporter = None
    _expect_released(
        exchange, array, "after exports of the array have failed", lambda: "an array whose export has failed"
    )


def _expect_released(exchange: Exchange, array: Watched, when: str, what: Callable[[], str]) -> None:
    """Fail unless the producer releases the memory exactly once; ``what`` then describes the memory that is not released."""
    if not happens(lambda: array.released >= 1):
        unreleased(
            exchange, lambda: array.released == 1, "DLP-27", role=Role.PRODUCER, reason=f"the producer does not release its memory {when}",
            expected="released once", seen="never released", what=what(),
        )  # fmt: skip
    if array.released > 1:
        fail(
            Code.RELEASED_TWICE, "DLP-27", role=Role.PRODUCER, reason=f"the producer releases its memory more than once {when}",
            expected="released once", seen=f"released {array.released} times", given=HELD[Role.PRODUCER],
        )  # fmt: skip


@invariant(
    "lifetime.native-thread",
    producer="DLP-27",
    bugs="I24",
    level=Level.MUST,
    cases=lambda env: every(exports_of_imports(env), struct=STRUCTS),
)
def test_native_thread(exchange: Exchange) -> None:
    """A producer's deleter must release the memory when a native thread calls it without the GIL.

    The start routine of the thread is the deleter itself, so no Python code runs before it.
    """
    array = _deleted(exchange, _call_on_native_thread)

    def what() -> str:
        special = _is_deleted_in_python(exchange)
        return "an export whose deleter runs on a native thread" if special else HELD[Role.PRODUCER]

    _expect_released(exchange, array, "when the deleter is called on a native thread", what)


def _deleted(exchange: Exchange, call: Callable[[int, int], None]) -> Watched:
    """Return an array that the producer has exported and dropped, after a call of the export's deleter by ``call``."""
    array = watched(exchange)
    exported = export_again(exchange, array.array, versioned=exchange.option("struct") == "versioned")
    tensor = exchange.decode(exported)
    capsule.rename(exported, USED_LEGACY if tensor.version is None else USED_VERSIONED)
    array.array = exported = None
    if not tensor.deleter:
        raise Refused(f"{exchange.producer.name} exports without deleter")
    with exchange.step(Doing.RELEASE, Role.PRODUCER):
        call(tensor.deleter, tensor.address)
    return array


def _is_deleted_in_python(exchange: Exchange) -> bool:
    """Return whether the producer releases such memory when this thread calls the deleter."""
    array = _deleted(exchange, lambda function, argument: DELETER(function)(argument))
    return happens(lambda: array.released >= 1)


def _call_on_native_thread(function: int, argument: int) -> None:
    """Run a C function with one pointer on a new thread of the operating system, and wait for it without the GIL."""
    # ctypes.CDLL releases the GIL during each call, so the deleter can take it while pthread_join waits.
    libc = ctypes.CDLL(None)
    thread = ctypes.c_ulong()
    code = libc.pthread_create(ctypes.byref(thread), None, ctypes.c_void_p(function), ctypes.c_void_p(argument))
    if code:
        raise OSError(code, "pthread_create")
    libc.pthread_join(thread, None)


# -- both sides


@invariant(
    "lifetime.temporary",
    producer="DLP-28",
    consumer="DLP-26",
    context="CAI-27",
    bugs="I19",
    level=Level.MUST,
    cases=lambda env: every(env.pairs()),
)
def test_temporary(exchange: Exchange) -> None:
    """An import must keep its elements after the producer's array is dropped, whatever the producer allocates afterwards.

    The CUDA Array Interface leaves it to the user to keep the owner alive, so the suite only records a consumer that does not.
    """
    _expect_sound(exchange)
    taken, values = _from_temporary(exchange)
    lost = GONE if exchange.is_gone(taken) else ""
    if not lost:
        with pressed(exchange, exchange.producer):
            seen = exchange.read(taken)
        if seen == values:
            expect_reuse(exchange, exchange.producer)
            return
        lost = show(seen, exchange.dtype)
    expected = show(values, exchange.dtype)
    if exchange.protocol is Protocol.CAI:
        fail(
            Code.OWNER_NOT_HELD, "CAI-27", role=Role.CONSUMER, reason="the consumer does not hold the exporting object, and its memory is reused",
            expected=expected, seen=lost,
        )  # fmt: skip
    reused(exchange, "the memory is reused while the import lives", expected, lost)


def _expect_sound(exchange: Exchange) -> None:
    """Fail unless the consumer reads a living array correctly: otherwise wrong elements of a dropped one prove nothing about its memory."""
    source = exchange.source()
    exchange.expect_values(source, exchange.read(exchange.take(source)))


def _from_temporary(exchange: Exchange) -> tuple[Any, bytes]:
    """Return an import of an array to which no other reference exists, and its elements."""
    source = exchange.source()
    taken = exchange.take(source)
    exchange.expect_handed(source)
    return taken, source.values


@invariant(
    "lifetime.owner-released",
    producer="DLP-27",
    consumer="DLP-26",
    context="CAI-27",
    bugs="I19 I21",
    level=Level.MUST,
    cases=lambda env: chain(
        every(env.pairs()),
        every(env.pairs(), size=(NOTHING,)),
        every(
            filter(shows_one_library, env.pairs()),
            quick=lambda pair: False,
            layout=layouts("rows", "stepped", "scalar", "cube"),
        ),
    ),
)
def test_owner_released(exchange: Exchange) -> None:
    """Producer and consumer must not keep the producer's array alive after the import is gone, also if it is empty, a slice or a scalar."""
    source = _source(exchange)
    owner = weakref.ref(source.array)
    taken = exchange.take(source, promised=None if source.block and not exchange.option("layout", "") else "")
    source.array = None
    if source.block:
        exchange.read(taken)
    del taken
    if happens(lambda: owner() is None):
        return
    still_held(exchange, lambda: owner() is None, f"{sys.getrefcount(owner()) - 1} references to the producer's array")


_RELEASING = {Role.PRODUCER: "DLP-27", Role.CONSUMER: "DLP-26"}


def _chains(env: Environment) -> Iterator[Pair]:
    """Yield the pairs with a consumer that can export its import again."""
    return (p for p in env.pairs(Protocol.DLPACK) if Protocol.DLPACK in p.target.exports)


@invariant(
    "lifetime.chain",
    producer="DLP-28",
    consumer="DLP-26",
    bugs="I19",
    level=Level.MUST,
    cases=lambda env: chain(
        every(_chains(env), dies=("first-to-last", "last-to-first")),
        every(filter(shows_one_library, _chains(env)), dies=("first-to-last",), size=(NOTHING,)),
    ),
)
def test_chain(exchange: Exchange) -> None:
    """Each link in a chain of imports must keep the memory, whichever dies first, and the last one must release it.

    An array without elements has no memory that could be reused, so the case checks only its release after the last link.
    """
    if exchange.option("size", "") == NOTHING:
        _expect_chain_released(exchange)
        return
    _expect_sound(exchange)
    values, arrays = _chain(exchange)
    readers = [exchange.producer, exchange.consumer, exchange.library(REFERENCE)]
    links = [_Link(reader, array, exchange.memory_of(reader, array)) for reader, array in zip(readers, arrays)]
    arrays.clear()
    for _ in range(2):
        links.pop(0 if exchange.option("dies") == "first-to-last" else -1).reader.let_go()
        with pressed(exchange, exchange.producer):
            wrong = [(link, seen) for link in links if (seen := _wrong_in(exchange, link, values))]
        for link, seen in wrong[:1]:
            _expect_plain_holds(exchange)
            reused(
                exchange, "the memory is reused while a link of the chain lives", show(values, exchange.dtype),
                f"{link.reader.name} reads {seen}",
            )  # fmt: skip
    expect_reuse(exchange, exchange.producer)


@dataclass(frozen=True)
class _Link:
    """An array, its library, and its memory when all links lived."""

    reader: Adapter
    array: Any
    memory: Handed | None


def _wrong_in(exchange: Exchange, link: _Link, values: bytes) -> str:
    """Return the wrong elements that a link reads, or that its memory is gone, in words; empty if it reads ``values``."""
    if link.memory is not None and not is_mapped(link.memory):
        return GONE
    seen = exchange.using(partial(link.reader.read, link.array), "reading a link of the chain")
    return "" if seen == values else show(seen, exchange.dtype)


def _expect_chain_released(exchange: Exchange) -> None:
    """Fail if something keeps the producer's array alive after all links of the chain are gone."""
    source = _source(exchange)
    owner = weakref.ref(source.array)
    middle = exchange.take(source, promised="")
    source.array = None
    again = exchange.offer(middle, giver=exchange.consumer)
    last = exchange.take(again, promised="", giver=exchange.consumer, taker=exchange.library(REFERENCE))
    del middle, again, last
    if not happens(lambda: owner() is None):
        still_held(
            exchange, lambda: owner() is None, f"{sys.getrefcount(owner()) - 1} references to the producer's array"
        )


def _chain(exchange: Exchange) -> tuple[bytes, list[Any]]:
    """Return the elements, and the links: the producer's array, the consumer's import of it, and the reference's import of that."""
    reference = exchange.library(REFERENCE)
    source = exchange.source()
    middle = exchange.take(source)
    exchange.expect_handed(source)
    offer = exchange.offer(middle, giver=exchange.consumer)
    last = exchange.take(offer, promised="", giver=exchange.consumer, taker=reference)
    exchange.expect_handed(source)
    return source.values, [source.array, middle, last]


def _expect_plain_holds(exchange: Exchange) -> None:
    """Fail a library that does not hold memory in a plain exchange with the reference, because the chain then adds nothing."""
    reference = exchange.library(REFERENCE)
    for library, role in (
        (exchange.producer, Role.PRODUCER),
        (exchange.consumer, Role.CONSUMER),
        (exchange.consumer, Role.PRODUCER),
    ):
        giver, taker = (library, reference) if role is Role.PRODUCER else (reference, library)
        with exchange.control():
            kept = _kept(exchange, giver, taker)
        if kept:
            expected, seen = kept
            fail(
                Code.RELEASED_EARLY, "DLP-28" if role is Role.PRODUCER else "DLP-26", role=role,
                reason="the memory is reused while an import lives", expected=expected, seen=seen, accused=ACCUSED[role],
                library=library.name, given="",
            )  # fmt: skip


def _kept(exchange: Exchange, giver: Adapter, taker: Adapter) -> tuple[str, str] | None:
    """Return the elements of a dropped array and the elements that its import reads; ``None`` if they are equal or the import is refused."""
    source = exchange.make(giver)
    try:
        taken = taker.take(giver.offer(source.array, Protocol.DLPACK), Protocol.DLPACK, exchange.device)
    except Exception as error:
        exchange.check_context(error)
        return None
    link = _Link(taker, taken, exchange.memory_of(taker, taken))
    source.array = None
    with pressed(exchange, giver):
        seen = _wrong_in(exchange, link, source.values)
    return (show(source.values, source.dtype), seen) if seen else None


def _one_side_ours(env: Environment) -> Iterator[Pair]:
    """Yield the pairs with the reference on one side: only the other side can then be at fault."""
    return (p for p in env.pairs() if REFERENCE in (p.producer.name, p.consumer.name))


@invariant(
    "lifetime.flat-counts",
    producer="DLP-27",
    consumer="DLP-26",
    context="CAI-27",
    bugs="I21",
    level=Level.MUST,
    cases=lambda env: every(_one_side_ours(env)),
)
def test_flat_counts(exchange: Exchange) -> None:
    """Repeated exchanges of one array must not increase its reference count or the number of the interpreter's memory blocks.

    Other threads of a library may create objects once in the meantime. A leak shows in every try.
    """
    source = exchange.source()
    for _ in range(WARM_UP):
        _exchange_and_drop(exchange, source)
    before, _ = _counts(source)
    for _ in range(PATIENT_TRIES):
        references, blocks = _left_behind(exchange, source)
        if references <= 0 and blocks < EXCHANGES:
            return
    seen = f"{references:+d} references to the array, {blocks:+d} blocks of the interpreter's memory"
    if references > 0:
        still_held(exchange, lambda: sys.getrefcount(source.array) <= before, f"{seen} after {EXCHANGES} exchanges")
    role = exchange.suspect()
    fail(
        Code.MEMORY_LEAKED,
        _RELEASING[role] if exchange.protocol is Protocol.DLPACK else "CAI-27",
        role=role,
        level=Level.SHOULD,
        reason="every exchange leaks references or memory of the interpreter",
        expected=f"as many references and blocks as before {EXCHANGES} exchanges",
        seen=seen,
    )


def _left_behind(exchange: Exchange, source: Source) -> tuple[int, int]:
    """Return how many references to the array and blocks of the interpreter's memory many exchanges add."""
    before = _counts(source)
    for _ in range(EXCHANGES):
        _exchange_and_drop(exchange, source)
    happens(lambda: sys.getrefcount(source.array) <= before[0])
    after = _counts(source)
    return after[0] - before[0], after[1] - before[1]


def _exchange_and_drop(exchange: Exchange, source: Source) -> None:
    exchange.take(source)
    if isinstance(source.array, Exporter):
        source.array.log = Log()


def _counts(source: Source) -> tuple[int, int]:
    gc.collect()
    return sys.getrefcount(source.array), sys.getallocatedblocks()


@invariant(
    "lifetime.device-memory",
    producer="DLP-27",
    consumer="DLP-26",
    context="CAI-27",
    bugs="I21",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(
        env.pairs(on=(Device.CUDA,)),
        imports=lambda pair: (
            ("taken", "refused") if pair.producer.name == REFERENCE and pair.protocol is Protocol.DLPACK else ("taken",)
        ),
    ),
)
def test_device_memory(exchange: Exchange) -> None:
    """Repeated exchanges of large arrays, accepted or refused, must not reduce the free memory of the device.

    Other processes use the same device, so the loss must show in every try, and each array must have had new memory.
    """
    _big_exchange(exchange)
    before = cuda_memory.free_bytes()
    for _ in range(PATIENT_TRIES):
        lost, addresses = _big_exchanges(exchange)
        if lost < LEAK_BYTES:
            return
    if addresses < BIG_EXCHANGES // 2:
        raise Inconclusive(
            f"{lost >> 20} MiB are missing, but the arrays' memory was reused: other processes use the device"
        )
    refused, role = exchange.option("imports") == "refused", exchange.suspect()
    unreleased(
        exchange, lambda: before - cuda_memory.free_bytes() < LEAK_BYTES,
        _RELEASING[role] if exchange.protocol is Protocol.DLPACK else "CAI-27", role=role,
        level=Level.SHOULD if refused else None, reason="device memory is not freed",
        expected=f"less than {LEAK_BYTES >> 20} MiB missing after {BIG_EXCHANGES} exchanges of 256 MiB",
        seen=f"{lost >> 20} MiB missing, and the arrays were at {addresses} different addresses",
        what=REFUSED_IMPORT if refused else HELD[role],
    )  # fmt: skip


def _big_exchanges(exchange: Exchange) -> tuple[int, int]:
    """Return the bytes of device memory that are missing after many exchanges, and the number of different addresses of the arrays."""
    before = cuda_memory.free_bytes()
    addresses = set()
    for number in range(1, BIG_EXCHANGES + 1):
        addresses.add(_big_exchange(exchange))
        if number % COLLECT_EVERY == 0:
            gc.collect()
    return before - cuda_memory.free_bytes(), len(addresses)


def _big_exchange(exchange: Exchange) -> int:
    """Hand an uninitialized array of 256 MiB to the consumer, drop it on both sides, and return its address."""
    array = exchange.producer.empty(exchange.dtype, BIG.base, exchange.device)
    if exchange.option("imports") == "refused":
        array.override = {"lanes": 4}
    offer = exchange.offer(array)
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            exchange.consumer.take(offer, exchange.protocol, exchange.device)
    except Exception as error:
        exchange.check_context(error)
        if exchange.option("imports") == "taken":
            raise Refused(f"{exchange.consumer.name} refused 256 MiB: {brief(error)}") from error
    return exchange.producer.describe(array).address


# -- exit of the interpreter


@invariant(
    "lifetime.import-until-exit",
    producer="DLP-29 DLP-27",
    consumer="DLP-26",
    bugs="I24",
    level=Level.SHOULD,
    isolation=Isolation.EXIT,
    cases=lambda env: every(env.pairs(Protocol.DLPACK)),
)
def test_import_until_exit(exchange: Exchange) -> None:
    """An import that lives until the interpreter exits should not disturb its exit, in any order of the teardown."""
    source = _for_exit(exchange)
    exchange.special("an import that lives until the interpreter ends")
    _keep(exchange.take(source))


@invariant(
    "lifetime.capsule-until-exit",
    producer="DLP-29 DLP-24",
    bugs="I24",
    level=Level.SHOULD,
    isolation=Isolation.EXIT,
    cases=lambda env: every(env.exports(Protocol.DLPACK), struct=STRUCTS),
)
def test_capsule_until_exit(exchange: Exchange) -> None:
    """An unconsumed capsule that lives until the interpreter exits should not disturb its exit."""
    source = _for_exit(exchange)
    exchange.special("a capsule that lives until the interpreter ends")
    versioned = exchange.option("struct") == "versioned"
    _keep(exchange.capsule_of(source, **({"max_version": (1, 0)} if versioned else {})))


def _for_exit(exchange: Exchange) -> Source:
    """Return the producer's array. The reference gets a native deleter, which needs no interpreter."""
    source = exchange.source()
    if isinstance(exchange.producer, ReferenceAdapter):
        source.array.override = {"deleter": Deleter.NATIVE}
    return source


def _keep(thing: Any) -> None:
    # The interpreter clears sys.modules late in its exit, so the object dies among half-cleared modules.
    module = types.ModuleType(UNTIL_EXIT)
    module.thing = thing  # type: ignore[attr-defined]
    sys.modules[UNTIL_EXIT] = module
