"""Family ``use``: what users do with an import, beside arrays of their own.

The expected elements are computed by the suite from bytes. A failure counts only if the same operation goes well on two arrays of the
consumer's own: one that fails there too is a fault of the environment.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from conformance.adapters.base import Adapter, Protocol, Trait
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import dtype
from conformance.protocols.strided import Index, packed

from .catalogue import Draft, every, invariant
from .codes import Code
from .exchange import Exchange, Source, brief, show
from .layouts import Layout
from .libraries import Environment, Pair
from .outcomes import Inconclusive, fail
from .test_pointer import both_have
from .working import kernel_trouble, unless_environment

_KIND = dtype("int32")
_SHAPE = (3, 4)
_OWN = tuple(1000 * number for number in range(1, 13))
"""The elements of the consumer's own array."""
_GIVEN = tuple(range(1, 13))
"""Those of the producer's. Every sum of two is another number, and exact in float32."""


def _words(numbers: Iterable[int]) -> bytes:
    return b"".join(struct.pack("=i", number) for number in numbers)


@dataclass(frozen=True)
class Operation:
    """One thing to do with an import. ``results`` are arrays, ``expected`` the elements of each, from those of own array and import.

    ``told`` says what is done, as the subject of a sentence; ``given`` what is special about the import then.
    """

    trait: Trait
    told: str
    given: str
    results: Callable[[Adapter, Any, Any], list[Any]]
    expected: Callable[[tuple[int, ...], tuple[int, ...]], list[bytes]]


def _added(library: Adapter, own: Any, taken: Any) -> list[Any]:
    return [library.add(own, taken), library.add(taken, own)]


def _sums(own: tuple[int, ...], given: tuple[int, ...]) -> list[bytes]:
    return [_words(a + b for a, b in zip(own, given))] * 2


def _stacked(library: Adapter, own: Any, taken: Any) -> list[Any]:
    return [library.stack([own, taken]), library.stack([taken, own])]


def _behind(own: tuple[int, ...], given: tuple[int, ...]) -> list[bytes]:
    return [_words(own + given), _words(given + own)]


OPERATIONS = {
    "add": Operation(
        Trait.ADDS, "adding the import to an array of the consumer's own", "an import that is added to an array of its own",
        _added, _sums,
    ),
    "stack": Operation(
        Trait.STACKS, "stacking the import with an array of the consumer's own",
        "an import that is stacked with an array of its own", _stacked, _behind,
    ),
    "copy": Operation(
        Trait.COPIES, "copying the import", "an import that is copied", lambda library, own, taken: [library.copied(taken)],
        lambda own, given: [_words(given)],
    ),
}  # fmt: skip


def _can(*names: str) -> Callable[[Pair], tuple[str, ...]]:
    """An axis: those of these operations that the consumer has."""
    return lambda pair: tuple(name for name in names if pair.consumer.has(OPERATIONS[name].trait))


def _expect_operation(exchange: Exchange, operation: Operation, source: Source, taken: Any) -> None:
    """The operation on the import gives what our own computation gives, if it does so on arrays of the consumer's own."""
    consumer, given = exchange.consumer, _numbers(source.values)
    own = _own(exchange, _OWN)
    exchange.special(operation.given)

    def work() -> list[bytes]:
        return [consumer.read(result) for result in operation.results(consumer, own, taken)]

    with unless_environment(exchange, partial(_trouble, exchange, operation)):
        seen = exchange.using(work, operation.told)
        wanted = operation.expected(_OWN, given)
        if seen != wanted:
            _wrong(exchange, operation, source, b"".join(wanted), b"".join(seen))


def _wrong(exchange: Exchange, operation: Operation, source: Source, wanted: bytes, seen: bytes) -> None:
    exchange.expect_handed(source)
    fail(
        Code.VALUES_CHANGED, exchange.reading(), role=Role.CONSUMER, reason=f"{operation.told} gives other elements",
        expected=show(wanted, _KIND, limit=24), seen=show(seen, _KIND, limit=24), accused=exchange.reader_at_fault(),
    )  # fmt: skip


def _own(exchange: Exchange, numbers: tuple[int, ...]) -> Any:
    """A packed array of the consumer's own."""
    return exchange.consumer.array(_KIND, _SHAPE, _words(numbers), exchange.device)


def _numbers(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"={len(data) // _KIND.itemsize}i", data)


def _trouble(exchange: Exchange, operation: Operation) -> str:
    """What is wrong with the operation on two arrays of the consumer's own; empty if nothing is."""
    library = exchange.consumer
    try:
        results = operation.results(library, _own(exchange, _OWN), _own(exchange, _GIVEN))
        seen = [library.read(result) for result in results]
    except Exception as error:
        return f"an operation of {library.name} fails on arrays of its own: {brief(error)}"
    if seen != operation.expected(_OWN, _GIVEN):
        return f"an operation of {library.name} computes something else on arrays of its own"
    return ""


def _source(exchange: Exchange) -> Source:
    """The producer's array, with elements of ours."""
    form = Layout("c-order", _SHAPE)
    return exchange.make(exchange.producer, kind=_KIND, form=form, block=_words(_GIVEN))


def _both_count(pair: Pair) -> bool:
    return all(_KIND.name in side.dtypes for side in (pair.source, pair.target))


@invariant(
    "use.own-arrays",
    producer="DLP-59 CAI-05",
    consumer="DLP-58 CAI-32",
    context="DLP-42",
    bugs="use-01",
    level=Level.MUST,
    cases=lambda env: every(filter(_both_count, env.pairs()), operation=_can("add", "stack")),
)
def test_own_arrays(exchange: Exchange) -> None:
    """An import is added to an array of the consumer's own and stacked with it, in either order, and the elements are right.

    The array of the producer has its elements still.
    """
    source = _source(exchange)
    taken = exchange.take(source)
    exchange.expect_values(source, exchange.read(taken))
    _expect_operation(exchange, OPERATIONS[exchange.option("operation")], source, taken)
    exchange.expect_intact(source, exchange.consumer)


@invariant(
    "use.device",
    consumer="DLP-42",
    bugs="use-01",
    level=Level.MUST,
    cases=lambda env: every(p for p in env.pairs(Protocol.DLPACK) if p.consumer.has(Trait.DEVICE_ATTRIBUTE)),
)
def test_device(exchange: Exchange) -> None:
    """The device that an import tells is equal to that of an array of the consumer's own in the same place."""
    taken = exchange.take(exchange.source())
    own = exchange.make(exchange.consumer).array
    consumer = exchange.consumer
    seen = exchange.using(lambda: consumer.device_of(taken), "asking for the device of the import")
    wanted = consumer.device_of(own)
    if wanted != consumer.device_of(exchange.make(exchange.consumer, seed=1).array):
        raise Inconclusive(f"two arrays of {consumer.name}'s own tell different devices: {wanted!r}")
    if not (seen == wanted and wanted == seen):
        fail(
            Code.WRONG_DEVICE, "DLP-42", role=Role.CONSUMER, reason="the import tells another device than an array of the consumer's own",
            expected=repr(wanted), seen=repr(seen), given="an import beside arrays of its own",
        )  # fmt: skip


# -- an offset


_BLOCK = (80,)
_OFFSETS = {"element": 1, "page": 64}
"""Elements between the data pointer of the capsule and element 0: 4 bytes, and the 256 that the header speaks of."""
_WORK = ("kernel", "add", "stack", "copy")


def _offset_work(pair: Pair) -> tuple[str, ...]:
    kernel = ("kernel",) if pair.consumer.has(Trait.KERNEL) else ()
    return kernel + _can(*_WORK[1:])(pair)


def _offsets(env: Environment) -> Iterator[Draft]:
    pairs = (pair for pair in env.imports(Protocol.DLPACK) if _both_count(pair))
    return every(pairs, work=_offset_work, offset=tuple(_OFFSETS))


@invariant(
    "use.offset",
    consumer="DLP-58 DLP-17",
    bugs="use-02 I01 pointer-18",
    level=Level.MUST,
    cases=_offsets,
)
def test_offset(exchange: Exchange) -> None:
    """A kernel, arithmetic and a copy work on the elements at ``data + byte_offset``.

    The data pointer leads to other elements of the same block, which nothing may read or write.
    """
    source = _with_offset(exchange, _OFFSETS[exchange.option("offset")])
    taken = exchange.take(source, promised="")
    exchange.expect_values(source, exchange.read(taken))
    if exchange.option("work") != "kernel":
        _expect_operation(exchange, OPERATIONS[exchange.option("work")], source, taken)
        return
    exchange.special("a capsule with a `byte_offset`")
    with unless_environment(exchange, lambda: kernel_trouble(exchange.consumer, exchange.device)):
        exchange.using(lambda: exchange.consumer.kernel_increment(taken), "a kernel on the import")
        _expect_incremented(exchange, source, taken)


def _with_offset(exchange: Exchange, ahead: int) -> Source:
    """An array of the reference, so many elements into its block; the capsule's data pointer is the block's start."""
    size = len(_GIVEN)
    form = Layout("offset", _BLOCK, (Index((slice(ahead, ahead + size),)),))
    source = exchange.crafted(kind=_KIND, form=form)
    block = _words(range(5000, 5000 + _BLOCK[0]))
    source.block = block[: 4 * ahead] + _words(_GIVEN) + block[4 * (ahead + size) :]
    exchange.poke(source.start, source.block)
    source.array.override = {
        "data": source.start, "byte_offset": 4 * ahead, "shape": _SHAPE, "strides": packed(_SHAPE).strides,
    }  # fmt: skip
    exchange.special("a capsule with a `byte_offset`")
    return source


def _expect_incremented(exchange: Exchange, source: Source, taken: Any) -> None:
    """The import has one more in each element, and so has the block if it is shared; nothing else has changed."""
    wanted = _words(number + 1 for number in _GIVEN)
    seen = exchange.read(taken)
    shared = not exchange.is_elsewhere(source, exchange.look(taken).address)
    block = exchange.peek(source.start, len(source.block))
    if seen == wanted and block == (source.block_with(wanted) if shared else source.block):
        return
    is_beside = seen == wanted or (shared and block != source.block)
    fail(
        Code.WRITE_OUTSIDE if is_beside else Code.VALUES_CHANGED, exchange.reading(), role=Role.CONSUMER,
        reason="a kernel of the consumer writes other elements than those of the import" if is_beside else
        "a kernel of the consumer computes something else on the import",
        expected=show(wanted, _KIND), seen=show(seen, _KIND),
    )  # fmt: skip


# -- a copy


@invariant(
    "use.copy",
    producer="DLP-59 CAI-05",
    consumer="DLP-58 CAI-32",
    bugs="strides-04",
    level=Level.MUST,
    cases=lambda env: every(
        (p for p in env.pairs() if p.consumer.has(Trait.COPIES)), layout=both_have("c-order", "stepped")
    ),
)
def test_copy(exchange: Exchange) -> None:
    """A copy that the consumer makes of its import has the elements, and does not change with the producer's array.

    A consumer that cannot copy an array of its own with this layout has no such operation.
    """
    source, consumer = exchange.source(), exchange.consumer
    taken = exchange.take(source)
    exchange.expect_values(source, exchange.read(taken))
    exchange.special("an import that is copied")
    copy = exchange.using(
        lambda: consumer.copied(taken), "copying the import", own=lambda: consumer.copied(exchange.make(consumer).array)
    )
    _expect_copy(exchange, source, copy, "the copy of the import has other elements")
    if Trait.IMMUTABLE in exchange.producer.traits:
        return
    exchange.rewrite(source)
    _expect_copy(exchange, source, copy, "the copy of the import changes with the producer's array")


def _expect_copy(exchange: Exchange, source: Source, copy: Any, reason: str) -> None:
    seen = exchange.using(lambda: exchange.consumer.read(copy), "reading the copy")
    if seen != source.values:
        exchange.expect_handed(source)
        fail(
            Code.VALUES_CHANGED, exchange.reading(), role=Role.CONSUMER, reason=reason, expected=show(source.values, source.dtype),
            seen=show(seen, source.dtype), accused=exchange.reader_at_fault(),
        )  # fmt: skip
