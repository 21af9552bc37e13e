"""Family ``capsule``: who owns the struct at which moment, told by the capsule's name alone."""

from __future__ import annotations

import threading
from typing import Any

from conformance.adapters.base import Protocol
from conformance.protocols import capsule, dlpack
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import DELETER, LEGACY, USED_LEGACY, USED_VERSIONED, VERSIONED
from conformance.reference.managed import Deleter, settle

from .catalogue import dtypes, every, invariant, layouts
from .exchange import UNCLEAN, Exchange, brief
from .layouts import OFFSET
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
from .outcomes import Refused, fail

ROUNDS = 100
"""Races for a capsule in one case."""


def _versioned(exchange: Exchange) -> bool:
    return exchange.option("struct") == "versioned"


def _take(exchange: Exchange, offer: Prepared) -> Any:
    """Import a kept capsule; one that holds a struct which the consumer did not ask for may be refused."""
    return exchange.take(offer, promised="" if _versioned(exchange) else None)


def _expect_released(exchange: Exchange, array: Watched, what: str) -> None:
    """The producer has released the memory, and once."""
    happens(lambda: array.released >= 1)
    if array.released != 1:
        fail(
            "DLP-24", role=Role.PRODUCER, reason=f"{what}: the memory is {'not' if not array.released else 'twice'} released",
            expected="released once",
            **late_or_lost(exchange, lambda: array.released == 1, f"released {array.released} times"),
        )  # fmt: skip


def _expect_held(exchange: Exchange, array: Watched, what: str) -> None:
    """The producer still holds the memory, whose content is untouched."""
    if array.released:
        fail(
            "DLP-28", "DLP-24", role=Role.PRODUCER, level=Level.MUST, reason=f"{what}: the memory is already released",
            expected="held", seen=f"released {array.released} times",
        )  # fmt: skip
    seen = exchange.peek(array.address, len(array.values))
    if seen != array.values:
        fail(
            "DLP-28", "DLP-43", role=Role.PRODUCER, reason=f"{what}: the elements changed",
            expected=array.values.hex(), seen=seen.hex(),
        )  # fmt: skip


# -- what a producer hands out


@invariant(
    "capsule.name",
    producer="DLP-01",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), struct=STRUCTS, dtype=dtypes("float32", "uint8")),
)
def test_name(exchange: Exchange) -> None:
    """An export is a capsule with a struct inside, under one of the two names, which outlives the array."""
    source = exchange.source()
    exported = exchange.capsule_of(source, **({"max_version": (1, 0)} if _versioned(exchange) else {}))
    pointer = exchange.decode(exported).address
    before = capsule.name(exported)
    del source
    if before not in (LEGACY, VERSIONED) or capsule.name(exported) != before or not pointer:
        fail(
            "DLP-01",
            role=Role.PRODUCER,
            reason="not a capsule that a consumer can recognise",
            expected=f"{LEGACY!r} or {VERSIONED!r}, and the same once the array is gone",
            seen=f"{before!r}, then {capsule.name(exported)!r}, pointer {pointer:#x}",
        )


@invariant(
    "capsule.unconsumed",
    producer="DLP-24 DLP-28",
    bugs="I20",
    level=Level.MUST,
    cases=lambda env: every(exports_of_imports(env), struct=STRUCTS, dies=("array-first", "capsule-first")),
)
def test_unconsumed(exchange: Exchange) -> None:
    """A capsule that nobody consumes keeps the memory as long as it lives, and releases it then."""
    array = watched(exchange)
    exported = export_again(exchange, array.array, versioned=_versioned(exchange))
    if exchange.option("dies") == "array-first":
        array.array = None
        _expect_held(exchange, array, "the capsule lives")
        del exported
    else:
        del exported
        settle()
        _expect_held(exchange, array, "the array lives")
        array.array = None
    _expect_released(exchange, array, "capsule and array are gone")


@invariant(
    "capsule.many-exports",
    producer="DLP-24 DLP-28",
    bugs="I22",
    level=Level.MUST,
    cases=lambda env: every(exports_of_imports(env), struct=STRUCTS),
)
def test_many_exports(exchange: Exchange) -> None:
    """An array can be exported many times; each capsule is on its own, and the last one out releases the memory."""
    array = watched(exchange)
    exported = [export_again(exchange, array.array, versioned=_versioned(exchange)) for _ in range(3)]
    decoded = [exchange.decode(each) for each in exported]
    if len({tensor.address for tensor in decoded}) != 3 or {tensor.element0 for tensor in decoded} != {array.address}:
        fail(
            "DLP-24", role=Role.PRODUCER, level=Level.MUST, reason="exports of one array are not on their own",
            expected=f"three structs with element 0 at {array.address:#x}",
            seen=", ".join(f"a struct at {t.address:#x} with element 0 at {t.element0:#x}" for t in decoded),
        )  # fmt: skip
    array.array = None
    while exported:
        _expect_held(exchange, array, f"{len(exported)} capsules live")
        exported.pop()
        settle()
    _expect_released(exchange, array, "all capsules are gone")


@invariant(
    "capsule.used-is-inert",
    producer="DLP-24",
    consumer="DLP-26",
    bugs="I20",
    level=Level.MUST,
    cases=lambda env: every(exports_of_imports(env), struct=STRUCTS),
)
def test_used_is_inert(exchange: Exchange) -> None:
    """A capsule that is marked as used does nothing when it dies: the memory waits for the consumer's deleter call."""
    array = watched(exchange)
    exported = export_again(exchange, array.array, versioned=_versioned(exchange))
    tensor = exchange.decode(exported)
    capsule.rename(exported, USED_LEGACY if tensor.version is None else USED_VERSIONED)
    array.array = None
    del exported
    settle()
    _expect_held(exchange, array, "the used capsule is gone, the consumer is not")
    if tensor.deleter:
        DELETER(tensor.deleter)(tensor.address)
    _expect_released(exchange, array, "the consumer has called the deleter")


@invariant(
    "capsule.exception-in-flight",
    producer="DLP-24",
    bugs="I20",
    level=Level.MUST,
    cases=lambda env: every(exports_of_imports(env), struct=STRUCTS),
)
def test_exception_in_flight(exchange: Exchange) -> None:
    """A capsule that dies while an exception is on its way releases the memory, and lets the exception pass.

    ``int(capsule)`` raises ``TypeError`` and drops the capsule before anybody has seen it.
    """
    array = watched(exchange)
    export_again(exchange, array.array, versioned=_versioned(exchange))
    offer = exchange.offer(array.array)
    keywords = {"max_version": (1, 0)} if _versioned(exchange) else {}
    try:
        int(offer.__dlpack__(**keywords))
        seen = "no exception"
    except TypeError:
        seen = ""
    except Exception as error:
        seen = brief(error)
    if seen:
        fail(
            "DLP-24", role=Role.PRODUCER, reason="the capsule's destructor loses an exception that is in flight",
            expected="TypeError from int()", seen=seen,
        )  # fmt: skip
    array.array = offer = None
    _expect_released(exchange, array, "the capsule died with an exception in flight")


# -- what a consumer does with it


@invariant(
    "capsule.renamed",
    consumer="DLP-25",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), struct=STRUCTS),
)
def test_renamed(exchange: Exchange) -> None:
    """A consumer marks the capsule as used, by the name that belongs to its struct."""
    offer = prepared(exchange, exchange.source())
    taken = _take(exchange, offer)
    wanted = USED_VERSIONED if _versioned(exchange) else USED_LEGACY
    seen = capsule.name(offer.capsule)
    del taken
    if seen != wanted:
        fail("DLP-25", role=Role.CONSUMER, reason="the capsule is not marked as used", expected=wanted, seen=seen)


@invariant(
    "capsule.second-import",
    consumer="DLP-25 DLP-26",
    bugs="I22",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), struct=STRUCTS),
)
def test_second_import(exchange: Exchange) -> None:
    """A capsule is consumed once: the second attempt is refused and leaves the first import as it was."""
    source = exchange.crafted(override={"deleter": Deleter.NATIVE})
    offer = prepared(exchange, source)
    taken = _take(exchange, offer)
    exchange.expect_refusal(
        lambda: exchange.consumer.take(offer, exchange.protocol, exchange.device),
        "DLP-25",
        role=Role.CONSUMER,
        reason="a capsule that is used already",
    )
    exchange.expect_values(source, exchange.read(taken))
    del taken
    expect_one_owner(offer, Role.CONSUMER, "the second import was refused")


@invariant(
    "capsule.dies-before-the-view",
    consumer="DLP-25 DLP-26",
    bugs="I20",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), struct=STRUCTS),
)
def test_dies_before_the_view(exchange: Exchange) -> None:
    """The import does not need the capsule: with the capsule gone it still reads its memory, and releases it once."""
    source = exchange.source()
    offer = prepared(exchange, source)
    managed = offer.managed
    taken = _take(exchange, offer)
    del offer
    settle()
    early = managed.deleter_calls
    if early:
        fail(
            "DLP-25", "DLP-26", role=Role.CONSUMER, reason="the memory went with the capsule",
            expected="held by the import", seen=f"{early} calls of the deleter while the import lives",
        )  # fmt: skip
    exchange.expect_values(source, exchange.read(taken))
    del taken
    happens(lambda: managed.deleter_calls >= 1)
    if managed.deleter_calls != 1:
        fail(
            "DLP-26", role=Role.CONSUMER, reason="the import does not release its memory once",
            expected="one call of the deleter",
            **late_or_lost(exchange, lambda: managed.deleter_calls == 1, f"{managed.deleter_calls} calls"),
        )  # fmt: skip


@invariant(
    "capsule.struct-untouched",
    consumer="DLP-26",
    bugs="I08",
    level=Level.SHOULD,
    cases=lambda env: every(
        env.imports(Protocol.DLPACK), struct=STRUCTS, layout=layouts("c-order", "fortran", "columns", *OFFSET)
    ),
)
def test_struct_untouched(exchange: Exchange) -> None:
    """The consumer changes nothing in the struct, its shape or its strides: they stay the producer's."""
    offer = prepared(exchange, exchange.source())
    address, name = offer.managed.address, capsule.name(offer.capsule)
    before = dlpack.raw(address, name)
    taken = _take(exchange, offer)
    exchange.read(taken)
    after = dlpack.raw(address, name)
    if after != before:
        fail(
            "DLP-26",
            role=Role.CONSUMER,
            level=Level.SHOULD,
            reason="the consumer writes into the producer's struct",
            expected=before.hex(),
            seen=after.hex(),
        )
    del taken


@invariant(
    "capsule.race",
    consumer="DLP-25 DLP-26",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), struct=STRUCTS),
)
def test_race(exchange: Exchange) -> None:
    """Of two threads that import one capsule at the same time exactly one gets it, and its memory is released once."""
    source = exchange.crafted(override={"deleter": Deleter.NATIVE})
    for _ in range(ROUNDS):
        offer = prepared(exchange, source)
        _race(exchange, offer)
        expect_one_owner(offer, Role.CONSUMER, "two threads raced for the capsule")


def _race(exchange: Exchange, offer: Prepared) -> None:
    start = threading.Barrier(2)
    won: list[Any] = []
    lost: list[str] = []

    def attempt() -> None:
        start.wait()
        try:
            won.append(exchange.consumer.take(offer, exchange.protocol, exchange.device))
        except UNCLEAN as error:
            lost.append(f"(not a refusal) {brief(error)}")
        except Exception as error:
            lost.append(brief(error))

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    exchange.check_context()
    if not won and not offer.consumed:
        raise Refused(f"{exchange.consumer.name} refused to import: {lost[0]}")
    if len(won) != 1:
        fail(
            "DLP-25", role=Role.CONSUMER, reason="two threads raced for the capsule",
            expected="one import and one refusal", seen=f"{len(won)} imports; {'; '.join(lost)}",
        )  # fmt: skip
