"""Family ``lifetime``: memory lives as long as anybody sees it, and no longer.

What is released is counted, never weighed: calls of our deleters, references that are gone, objects of the interpreter.
Only device memory is measured in bytes, against a margin that no other process reaches.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any

from conformance.adapters.base import Adapter, Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.cuda import memory as cuda_memory
from conformance.protocols import capsule
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import USED_LEGACY, USED_VERSIONED
from conformance.protocols.strided import Index
from conformance.reference.exporter import Exporter, Log
from conformance.reference.managed import Deleter, Managed, stray_deleter_calls

from .catalogue import Isolation, Needs, every, invariant
from .exchange import Exchange, Source, brief
from .layouts import Layout
from .libraries import REFERENCE, Environment, Pair
from .offers import (
    STRUCTS,
    Prepared,
    Watched,
    expect_one_owner,
    export_again,
    exports_of_imports,
    happens,
    late_or_lost,
    prepared,
    watched,
)
from .outcomes import Inconclusive, Refused, fail

PRESSURE = 16
"""Arrays that are made to fill whatever memory has become free."""
EXCHANGES = 64
WARM_UP = 8
BIG = Layout("big", (1 << 26,))
"""256 MiB of float32."""
BIG_EXCHANGES = 16
PATIENT_TRIES = 5
"""How often a loss has to show before it counts: what others take and give back meanwhile does not last."""
COLLECT_EVERY = 16
"""So that what only cycles keep alive is never more than 1 GiB."""
LEAK_BYTES = 2 << 30
"""Half of what is missing if none of :data:`BIG_EXCHANGES` arrays of 256 MiB comes back."""
UNTIL_EXIT = "_conformance_until_exit"
"""Name of a module that keeps things until the interpreter takes its modules apart."""


def _take(exchange: Exchange, offer: Prepared) -> Any:
    """Import a kept capsule; one that holds a struct which the consumer did not ask for may be refused."""
    return exchange.take(offer, promised="" if exchange.option("struct", "legacy") == "versioned" else None)


def _pressed(exchange: Exchange, library: Adapter) -> list[Source]:
    """Arrays of other content and the same size, which reuse memory that should not be free."""
    return [exchange.make(library, seed=seed) for seed in range(1, PRESSURE + 1)]


# -- the consumer's side of the bargain


@invariant(
    "lifetime.deleter-once",
    consumer="DLP-26",
    bugs="I20",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), struct=STRUCTS),
)
def test_deleter_once(exchange: Exchange) -> None:
    """The consumer calls the deleter when its array dies, not before, once, and with the pointer that it was given."""
    source = exchange.source()
    offer = prepared(exchange, source)
    strays = len(stray_deleter_calls)
    taken = _take(exchange, offer)
    _expect_no_call(exchange, offer, "the import lives")
    exchange.expect_values(source, exchange.read(taken))
    _expect_no_call(exchange, offer, "the import has been read")
    del taken
    happens(lambda: offer.managed.deleter_calls >= 1 or len(stray_deleter_calls) > strays)
    if offer.managed.deleter_calls != 1 or len(stray_deleter_calls) > strays:
        fail(
            "DLP-26",
            role=Role.CONSUMER,
            reason="the import is gone, and its memory not released once",
            expected=f"one call of the deleter, with {offer.managed.address:#x}",
            **late_or_lost(
                exchange,
                lambda: offer.managed.deleter_calls == 1 and len(stray_deleter_calls) == strays,
                f"{offer.managed.deleter_calls} calls with it, "
                f"{[hex(address) for address in stray_deleter_calls[strays:]]} others",
            ),
        )


def _expect_no_call(exchange: Exchange, offer: Prepared, what: str) -> None:
    if offer.managed.deleter_calls:
        fail(
            "DLP-26", role=Role.CONSUMER, reason=f"{what}, and its memory is released already",
            expected="no call of the deleter", seen=f"{offer.managed.deleter_calls} calls",
        )  # fmt: skip


NO_VIEWS = frozenset({"cuda_python"})
"""Whose imports have no views, though the arrays that the adapter makes have."""


def _viewing(env: Environment) -> Iterator[Pair]:
    """Consumers that make views of parts of their arrays."""
    for pair in env.imports(Protocol.DLPACK):
        if "rows" in pair.target.layouts and pair.consumer.name not in NO_VIEWS:
            yield pair


@invariant(
    "lifetime.derived-view",
    consumer="DLP-26",
    bugs="I19 I20",
    level=Level.MUST,
    cases=lambda env: every(_viewing(env), struct=STRUCTS),
)
def test_derived_view(exchange: Exchange) -> None:
    """A view of part of an import keeps the memory after the import is gone, and is the last to let go of it."""
    source = exchange.source()
    offer = prepared(exchange, source)
    taken = _take(exchange, offer)
    rest = Index((slice(1, None), slice(None)))
    part = exchange.using(partial(exchange.consumer.view, taken, rest), "slicing the import")
    del taken
    _expect_no_call(exchange, offer, "a view of the import lives")
    row = source.view.shape[1] * source.dtype.itemsize
    exchange.expect_values(source, exchange.read(part), expected=source.values[row:])
    del part
    happens(lambda: offer.managed.deleter_calls >= 1)
    if offer.managed.deleter_calls != 1:
        fail(
            "DLP-26", role=Role.CONSUMER, reason="the last view is gone, and the memory not released once",
            expected="one call of the deleter", **_late_or_lost(exchange, offer.managed),
        )  # fmt: skip


def _late_or_lost(exchange: Exchange, managed: Managed) -> dict[str, Any]:
    """What to say of a struct whose deleter was not called once when the import was gone."""
    return late_or_lost(exchange, lambda: managed.deleter_calls == 1, f"{managed.deleter_calls} calls")


@invariant(
    "lifetime.other-thread",
    consumer="DLP-26",
    bugs="I24",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), struct=STRUCTS),
)
def test_other_thread(exchange: Exchange) -> None:
    """An import whose last reference goes in another thread than the one that made it is released there, once."""
    offer = prepared(exchange, exchange.crafted(override={"deleter": Deleter.NATIVE}))
    holder = [_take(exchange, offer)]
    _expect_no_call(exchange, offer, "the import lives")
    thread = threading.Thread(target=holder.clear)
    thread.start()
    thread.join()
    happens(lambda: offer.managed.deleter_calls >= 1)
    exchange.check_context()
    if offer.managed.deleter_calls != 1:
        fail(
            "DLP-26", role=Role.CONSUMER, reason="the import died in another thread, and was not released once",
            expected="one call of the deleter", **_late_or_lost(exchange, offer.managed),
        )  # fmt: skip


@invariant(
    "lifetime.null-deleter",
    consumer="DLP-26",
    level=Level.MUST,
    isolation=Isolation.RISKY,
    cases=lambda env: every(env.imports(Protocol.DLPACK), struct=STRUCTS),
)
def test_null_deleter(exchange: Exchange) -> None:
    """A struct without deleter is used like any other, and dropping the import calls nothing."""
    source = exchange.crafted(override={"deleter": Deleter.NULL})
    offer = prepared(exchange, source)
    taken = _take(exchange, offer)
    exchange.expect_values(source, exchange.read(taken))
    del taken
    exchange.consumer.let_go()  # what it keeps for later would kill a later case instead of this one
    if exchange.producer.read(source.array) != source.values:
        fail(
            "DLP-26", role=Role.CONSUMER, reason="dropping an import that has no deleter changed its memory",
            expected=source.values.hex(), seen=exchange.producer.read(source.array).hex(),
        )  # fmt: skip


DAMAGE: dict[str, dict[str, Any]] = {
    "type-code": {"code": 200},
    "type-bits": {"code": 0, "bits": 7},
    "vector": {"lanes": 4},
    "device": {"device": (99, 0)},
}


@invariant(
    "lifetime.failed-import",
    consumer="DLP-26 DLP-25",
    context="G7",
    bugs="I20",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), struct=STRUCTS, damage=tuple(DAMAGE)),
)
def test_failed_import(exchange: Exchange) -> None:
    """An import that fails leaves one owner of the memory: it is released by the consumer, or later by the capsule."""
    source = exchange.crafted(override={"deleter": Deleter.NATIVE, **DAMAGE[exchange.option("damage")]})
    offer = prepared(exchange, source)
    try:
        taken = exchange.consumer.take(offer, exchange.protocol, exchange.device)
        what = "a struct that cannot be held was accepted and dropped"
        del taken
    except Exception as error:
        exchange.check_context(error)
        what = "the import failed"
    expect_one_owner(offer, Role.CONSUMER, what)


# -- the producer's side


FAILING: dict[str, dict[str, Any]] = {
    "device": {"dl_device": (99, 0)},
    "version": {"max_version": "1.0"},
    "stream": {"stream": "x"},
}


@invariant(
    "lifetime.failed-export",
    producer="DLP-24 DLP-27 DLP-28",
    bugs="I20 I21",
    level=Level.MUST,
    cases=lambda env: every(exports_of_imports(env), reason=tuple(FAILING)),
)
def test_failed_export(exchange: Exchange) -> None:
    """Exports that fail hold nothing: once the array is gone so is its memory, after twenty of them as after none."""
    array = watched(exchange)
    exporter = exchange.producer.exporter(array.array, Protocol.DLPACK)
    for _ in range(20):
        try:
            exporter.__dlpack__(**FAILING[exchange.option("reason")])
        except Exception as error:
            exchange.check_context(error)
    if array.released:
        fail(
            "DLP-28", role=Role.PRODUCER, level=Level.MUST, reason="exports have failed, and the array's memory is released under it",
            expected="not released while the array lives", seen=f"released {array.released} times",
        )  # fmt: skip
    array.array = exporter = None
    _expect_released(exchange, array, "DLP-24", "exports had failed before")


def _expect_released(exchange: Exchange, array: Watched, clause: str, what: str) -> None:
    happens(lambda: array.released >= 1)
    if array.released != 1:
        fail(
            clause, role=Role.PRODUCER, reason=f"{what}: the memory is not released once",
            expected="released once",
            **late_or_lost(exchange, lambda: array.released == 1, f"released {array.released} times"),
        )  # fmt: skip


@invariant(
    "lifetime.native-thread",
    producer="DLP-27",
    bugs="I24",
    level=Level.MUST,
    cases=lambda env: every(exports_of_imports(env), struct=STRUCTS),
)
def test_native_thread(exchange: Exchange) -> None:
    """The producer's deleter works on a thread that Python has never seen, without the GIL, and frees everything.

    The thread's start routine is the deleter itself, so no Python runs between the two.
    """
    array = watched(exchange)
    exported = export_again(exchange, array.array, versioned=exchange.option("struct") == "versioned")
    tensor = exchange.decode(exported)
    capsule.rename(exported, USED_LEGACY if tensor.version is None else USED_VERSIONED)
    array.array = exported = None
    if not tensor.deleter:
        raise Refused(f"{exchange.producer.name} exports without deleter")
    _call_on_native_thread(tensor.deleter, tensor.address)
    _expect_released(exchange, array, "DLP-27", "the deleter was called on a native thread")


def _call_on_native_thread(function: int, argument: int) -> None:
    """Run a C function with one pointer on a new thread of the operating system, and wait for it without the GIL."""
    libc = ctypes.CDLL(None)
    thread = ctypes.c_ulong()
    code = libc.pthread_create(ctypes.byref(thread), None, ctypes.c_void_p(function), ctypes.c_void_p(argument))
    if code:
        raise OSError(code, "pthread_create")
    libc.pthread_join(thread, None)


# -- both together


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
    """An import of a temporary array keeps its elements, whatever the producer allocates afterwards.

    The array interface leaves keeping the owner alive to the user, so there it is only observed that a consumer does not.
    """
    taken, values = _from_temporary(exchange)
    pressure = _pressed(exchange, exchange.producer)
    seen = exchange.read(taken)
    del pressure
    if seen != values:
        clauses = ("DLP-26", "DLP-28") if exchange.protocol is Protocol.DLPACK else ("CAI-27",)
        fail(
            *clauses,
            role=Role.CONSUMER,
            level=Level.MUST if exchange.protocol is Protocol.DLPACK else Level.OBSERVED,
            reason="the memory was reused under the import",
            expected=values.hex(),
            seen=seen.hex(),
        )


def _from_temporary(exchange: Exchange) -> tuple[Any, bytes]:
    """An import whose producer's array nobody else holds, and its elements."""
    source = exchange.source()
    return exchange.take(source), source.values


@invariant(
    "lifetime.owner-released",
    producer="DLP-27",
    consumer="DLP-26",
    context="CAI-27",
    bugs="I19 I21",
    level=Level.MUST,
    cases=lambda env: every(env.pairs()),
)
def test_owner_released(exchange: Exchange) -> None:
    """Once the import is gone, nothing keeps the producer's array alive."""
    source = exchange.source()
    owner = weakref.ref(source.array)
    taken = exchange.take(source)
    source.array = None
    exchange.read(taken)
    del taken
    if happens(lambda: owner() is None):
        return
    by_dlpack = exchange.protocol is Protocol.DLPACK
    role = Role.PRODUCER if exchange.consumer.name == REFERENCE else Role.CONSUMER
    told = late_or_lost(exchange, lambda: owner() is None, f"{sys.getrefcount(owner()) - 1} references")
    fail(
        ("DLP-27" if role is Role.PRODUCER else "DLP-26") if by_dlpack else "CAI-27",
        role=role,
        reason="the producer's array is still held though the import is gone",
        expected="released",
        seen=told["seen"],
        level=told["level"] if by_dlpack else Level.SHOULD,
    )


def _chains(env: Environment) -> Iterator[Pair]:
    """Consumers that export again."""
    return (p for p in env.pairs(Protocol.DLPACK) if Protocol.DLPACK in p.target.exports)


@invariant(
    "lifetime.chain",
    producer="DLP-28",
    consumer="DLP-26",
    bugs="I19",
    level=Level.MUST,
    cases=lambda env: every(_chains(env), dies=("first-to-last", "last-to-first")),
)
def test_chain(exchange: Exchange) -> None:
    """In a chain of imports of imports every link keeps the memory, whichever dies first."""
    values, links = _chain(exchange)
    reference = exchange.library(REFERENCE)
    readers = [exchange.producer, exchange.consumer, reference]
    for _ in range(2):
        at = 0 if exchange.option("dies") == "first-to-last" else -1
        links.pop(at), readers.pop(at)
        pressure = _pressed(exchange, exchange.producer)
        for link, reader in zip(links, readers):
            seen = exchange.using(partial(reader.read, link), "reading a link of the chain")
            if seen != values:
                fail(
                    "DLP-26", "DLP-28", role=Role.CONSUMER, level=Level.MUST,
                    reason="the memory was reused under a link of the chain",
                    expected=values.hex(), seen=f"{reader.name} reads {seen.hex()}",
                )  # fmt: skip
        del pressure


def _chain(exchange: Exchange) -> tuple[bytes, list[Any]]:
    """The producer's array, the consumer's import of it, and the reference's import of that."""
    reference = exchange.library(REFERENCE)
    source = exchange.source()
    middle = exchange.take(source)
    offer = exchange.offer(middle, giver=exchange.consumer)
    last = exchange.take(offer, promised="", giver=exchange.consumer, taker=reference)
    return source.values, [source.array, middle, last]


def _one_side_ours(env: Environment) -> Iterator[Pair]:
    """Exchanges with the reference on either side: who keeps something is then known."""
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
    """Many exchanges of one array leave its reference count and the number of the interpreter's objects as they were.

    Other threads of a library may make objects of their own meanwhile, once; a leak shows every time.
    """
    source = exchange.source()
    for _ in range(WARM_UP):
        _exchange_and_drop(exchange, source)
    for _ in range(PATIENT_TRIES):
        references, blocks = _left_behind(exchange, source)
        if references <= 0 and blocks < EXCHANGES:
            return
    role = Role.PRODUCER if exchange.consumer.name == REFERENCE else Role.CONSUMER
    fail(
        {Role.PRODUCER: "DLP-27", Role.CONSUMER: "DLP-26"}[role] if exchange.protocol is Protocol.DLPACK else "CAI-27",
        role=role,
        level=Level.MUST if exchange.protocol is Protocol.DLPACK and references > 0 else Level.SHOULD,
        reason="every exchange leaves something behind",
        expected=f"as many references and objects as before {EXCHANGES} exchanges",
        seen=f"{references:+d} references to the array, {blocks:+d} blocks of the interpreter's memory",
    )


def _left_behind(exchange: Exchange, source: Source) -> tuple[int, int]:
    """References to the array and blocks of the interpreter's memory that many exchanges have added."""
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
    """The device's free memory is the same after many exchanges of large arrays, accepted or refused.

    Other processes use the same device, so what is missing has to be missing every time, and the arrays' own memory too.
    """
    _big_exchange(exchange)
    for _ in range(PATIENT_TRIES):
        lost, addresses = _big_exchanges(exchange)
        if lost < LEAK_BYTES:
            return
    if addresses < BIG_EXCHANGES // 2:
        raise Inconclusive(f"{lost >> 20} MiB are missing, but the arrays' memory was reused: others use the device")
    by_dlpack = exchange.protocol is Protocol.DLPACK
    role = Role.PRODUCER if exchange.consumer.name == REFERENCE else Role.CONSUMER
    fail(
        ("DLP-27" if role is Role.PRODUCER else "DLP-26") if by_dlpack else "CAI-27",
        role=role,
        level=Level.MUST if by_dlpack else Level.SHOULD,
        reason="device memory does not come back",
        expected=f"less than {LEAK_BYTES >> 20} MiB missing after {BIG_EXCHANGES} exchanges of 256 MiB",
        seen=f"{lost >> 20} MiB missing, and the arrays were at {addresses} different addresses",
    )


def _big_exchanges(exchange: Exchange) -> tuple[int, int]:
    """Bytes of the device that are missing after many exchanges, and at how many addresses the arrays were."""
    before = cuda_memory.free_bytes()
    addresses = set()
    for number in range(1, BIG_EXCHANGES + 1):
        addresses.add(_big_exchange(exchange))
        if number % COLLECT_EVERY == 0:
            gc.collect()
    return before - cuda_memory.free_bytes(), len(addresses)


def _big_exchange(exchange: Exchange) -> int:
    """An array of 256 MiB with nothing in it goes to the consumer and is dropped on both sides; its address."""
    array = exchange.producer.empty(exchange.dtype, BIG.base, exchange.device)
    if exchange.option("imports") == "refused":
        array.override = {"lanes": 4}
    try:
        exchange.consumer.take(exchange.offer(array), exchange.protocol, exchange.device)
    except Exception as error:
        exchange.check_context(error)
        if exchange.option("imports") == "taken":
            raise Refused(f"{exchange.consumer.name} refused 256 MiB: {brief(error)}") from error
    return exchange.producer.describe(array).address


# -- at the interpreter's exit


@invariant(
    "lifetime.import-until-exit",
    producer="DLP-29 DLP-27",
    bugs="I24",
    level=Level.SHOULD,
    isolation=Isolation.EXIT,
    cases=lambda env: every(env.pairs(Protocol.DLPACK)),
)
def test_import_until_exit(exchange: Exchange) -> None:
    """An import that lives until the interpreter ends lets it end cleanly, whoever is taken apart first."""
    source = _for_exit(exchange)
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
    """A capsule that nobody consumed and that lives until the interpreter ends lets it end cleanly."""
    source = _for_exit(exchange)
    versioned = exchange.option("struct") == "versioned"
    _keep(exchange.capsule_of(source, **({"max_version": (1, 0)} if versioned else {})))


def _for_exit(exchange: Exchange) -> Source:
    """The producer's array; the reference's deleter must not need an interpreter that is gone."""
    source = exchange.source()
    if isinstance(exchange.producer, ReferenceAdapter):
        source.array.override = {"deleter": Deleter.NATIVE}
    return source


def _keep(thing: Any) -> None:
    module = types.ModuleType(UNTIL_EXIT)
    module.thing = thing  # type: ignore[attr-defined]
    sys.modules[UNTIL_EXIT] = module
