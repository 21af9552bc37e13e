"""Family ``use``: operations of users on an import, together with arrays of the consumer's own.

The suite computes the expected elements from bytes. A failure counts only if the same operation works on two arrays of the
consumer's own. If it fails there too, the environment is at fault.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from conformance.adapters.base import Adapter, Protocol, Trait
from conformance.checks.catalogue import Draft, every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Source, brief, show
from conformance.checks.kernel_control import kernel_trouble, unless_environment
from conformance.checks.layouts import Layout, layout
from conformance.checks.libraries import Environment, Pair
from conformance.checks.outcomes import Inconclusive, Refused, fail
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import DType, dtype
from conformance.protocols.strided import Index, packed

from .test_pointer import both_have

_KIND = dtype("int32")
_CODES = {"int32": "i", "int64": "q", "float32": "f", "float64": "d"}
"""The :mod:`struct` code of each element type that is added and stacked."""
_FORM = Layout("c-order", (3, 4))
_GIVEN = tuple(range(1, 13))
"""The elements of the producer's array. Those of the consumer's own array are 1000 times as large, so every sum is exact in float32."""


def _words(numbers: Iterable[int], kind: DType = _KIND) -> bytes:
    return b"".join(struct.pack(f"={_CODES[kind.name]}", number) for number in numbers)


@dataclass(frozen=True)
class Operation:
    """One operation on an import.

    ``results`` returns arrays, and ``expected`` the elements of each, computed from the elements of the own array and of the import.
    ``told`` describes the operation as the subject of a sentence, and ``given`` the import.
    """

    trait: Trait
    told: str
    given: str
    results: Callable[[Adapter, Any, Any], list[Any]]
    expected: Callable[[Numbers, Numbers], list[Numbers]]


Numbers = tuple[int, ...]


def _added(library: Adapter, own: Any, taken: Any) -> list[Any]:
    return [library.add(own, taken), library.add(taken, own)]


def _sums(own: Numbers, given: Numbers) -> list[Numbers]:
    return [tuple(a + b for a, b in zip(own, given))] * 2


def _stacked(library: Adapter, own: Any, taken: Any) -> list[Any]:
    return [library.stack([own, taken]), library.stack([taken, own])]


def _behind(own: Numbers, given: Numbers) -> list[Numbers]:
    return [own + given, given + own]


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
        lambda own, given: [given],
    ),
}  # fmt: skip


def _can(*names: str) -> Callable[[Pair], tuple[str, ...]]:
    """Return an axis of cases: the operations of ``names`` that the consumer has."""
    return lambda pair: tuple(name for name in names if pair.consumer.has(OPERATIONS[name].trait))


Twin = Callable[[], Any]
"""A function that makes an array of the consumer's own with the same special property as the import."""


def _expect_operation(
    exchange: Exchange, operation: Operation, source: Source, taken: Any, *, own: tuple[Any, Numbers] | None = None,
    given: Numbers | None = None, twin: Twin | None = None,
) -> None:  # fmt: skip
    """Raise unless the operation on the import gives the elements that the suite computes, as it does on arrays of the consumer's own.

    ``own`` is the other operand with its elements. ``given`` are the elements of ``taken``, where that is not the import itself. If the operation fails
    on the consumer's own packed arrays of the usual element type, the environment is at fault. If it fails on other own arrays, the library lacks it.
    """
    consumer, kind = exchange.consumer, source.dtype
    given = _numbers(source.values, kind) if given is None else given
    shape = consumer.describe(taken).shape
    other, numbers = own or (_own(exchange, kind, shape, _thousands(given)), _thousands(given))
    is_usual = twin is None and kind is _KIND
    exchange.special(f"{operation.given}{exchange.given and ', '}{exchange.given}")

    def work() -> list[bytes]:
        return [consumer.read(result) for result in operation.results(consumer, other, taken)]

    trouble = partial(_trouble, exchange, operation, kind, shape, given, twin)
    try:
        with unless_environment(exchange, trouble):
            seen = exchange.using(work, operation.told)
            wanted = [_words(result, kind) for result in operation.expected(numbers, given)]
            if seen != wanted:
                _wrong(exchange, operation, source, b"".join(wanted), b"".join(seen))
    except Inconclusive as lacking:
        if is_usual:
            raise
        raise Refused(
            f"{consumer.name} does not support the operation on such arrays of its own: {lacking}"
        ) from lacking


def _wrong(exchange: Exchange, operation: Operation, source: Source, wanted: bytes, seen: bytes) -> None:
    exchange.expect_handed(source)
    fail(
        Code.VALUES_CHANGED, exchange.reading(), role=Role.CONSUMER, reason=f"{operation.told} gives wrong elements",
        expected=show(wanted, source.dtype, limit=24), seen=show(seen, source.dtype, limit=24), accused=exchange.reader_at_fault(),
    )  # fmt: skip


def _thousands(given: Numbers) -> Numbers:
    """Return the elements of the consumer's own array."""
    return tuple(1000 * (index + 1) for index in range(len(given)))


def _own(exchange: Exchange, kind: DType, shape: tuple[int, ...], numbers: Numbers) -> Any:
    """Return a packed array of the consumer's own."""
    return exchange.consumer.array(kind, shape, _words(numbers, kind), exchange.device)


def _numbers(data: bytes, kind: DType = _KIND) -> Numbers:
    return tuple(int(number) for (number,) in struct.iter_unpack(f"={_CODES[kind.name]}", data))


def _trouble(
    exchange: Exchange, operation: Operation, kind: DType, shape: tuple[int, ...], given: Numbers, twin: Twin | None
) -> str:  # fmt: skip
    """Describe the failure of the operation on two arrays of the consumer's own. The text is empty if it works."""
    library, numbers = exchange.consumer, _thousands(given)
    try:
        other = twin() if twin is not None else _own(exchange, kind, shape, given)
        results = operation.results(library, _own(exchange, kind, shape, numbers), other)
        seen = [library.read(result) for result in results]
    except Exception as error:
        return f"an operation of {library.name} fails on arrays of its own: {brief(error)}"
    if seen != [_words(result, kind) for result in operation.expected(numbers, given)]:
        return f"an operation of {library.name} gives wrong elements on arrays of its own"
    return ""


def _source(exchange: Exchange, *, form: Layout = _FORM, first: int = 1, readonly: bool = False) -> Source:
    """Return the producer's array of the case's element type. The elements of its block count from ``first``."""
    kind = dtype(exchange.option("dtype", _KIND.name))
    block = _words(range(first, first + form.elements), kind)
    return exchange.make(exchange.producer, kind=kind, form=form, block=block, readonly=readonly)


def _both_count(pair: Pair) -> bool:
    return all(_KIND.name in side.dtypes for side in (pair.source, pair.target))


_LAYOUTS = ("fortran", "stepped", "reversed-rows", "broadcast-rows")
READONLY, PART, TWO = "readonly", "part", "two-imports"
_GIVENS = {
    **dict.fromkeys(_LAYOUTS, "an import with strides"), READONLY: "a read-only array", PART: "a view of an import", TWO: "two imports",
}  # fmt: skip
"""The special property of the import. All layouts share one text: arithmetic that misreads strides does so for each of them, by one cause."""


def _operations(env: Environment) -> Iterator[Draft]:
    """Yield a packed array of one element type for every pair, and other imports and element types for pairs with the reference."""
    pairs = tuple(filter(_both_count, env.pairs()))
    shown = tuple(pair for pair in pairs if pair.with_reference)
    operation = _can("add", "stack")
    yield from every(pairs, operation=operation)
    yield from every(shown, quick=_never, operation=operation, array=_arrays)
    yield from every(shown, quick=_never, operation=operation, dtype=_types)


def _never(pair: Pair) -> bool:
    return False


def _arrays(pair: Pair) -> tuple[str, ...]:
    """Return the special imports: layouts, a read-only array, a view that the consumer makes of its import, and two imports at once."""
    found = tuple(name for name in _LAYOUTS if name in pair.source.layouts and name in pair.target.layouts)
    found += (READONLY,) if pair.producer.has(Trait.READONLY) else ()
    return found + ((PART,) if "misaligned" in pair.target.layouts else ()) + (TWO,)


def _types(pair: Pair) -> tuple[str, ...]:
    return tuple(n for n in _CODES if n != _KIND.name and n in pair.source.dtypes and n in pair.target.dtypes)


@invariant(
    "use.own-arrays",
    producer="DLP-59 CAI-05",
    consumer="DLP-58 CAI-32",
    context="DLP-42",
    bugs="use-01",
    level=Level.MUST,
    cases=_operations,
)
def test_own_arrays(exchange: Exchange) -> None:
    """A consumer must compute the right elements when it adds an import to an array of its own or stacks them, in either order.

    The same holds for a view of an import, and for two imports. The producer's array must be unchanged.
    """
    operation, name = OPERATIONS[exchange.option("operation")], exchange.option("array", "c-order")
    if name in _GIVENS:
        exchange.special(_GIVENS[name])
    form = layout(name) if name in _LAYOUTS else _FORM
    source = _source(exchange, form=form, readonly=name == READONLY)
    taken = exchange.take(source, promised="" if name in (READONLY, *_LAYOUTS) else None)
    exchange.expect_values(source, exchange.read(taken))
    if name == PART:
        _expect_on_part(exchange, operation, source, taken)
    elif name == TWO:
        other = _source(exchange, first=100)
        own = exchange.take(other), _numbers(other.values)
        exchange.expect_values(other, exchange.read(own[0]))
        _expect_operation(exchange, operation, source, taken, own=own)
    else:
        _expect_operation(exchange, operation, source, taken, twin=_twin(exchange, name, source))
    exchange.expect_intact(source, exchange.consumer)


def _twin(exchange: Exchange, name: str, source: Source) -> Twin | None:
    """Return a function that makes an array of the consumer's own with this layout, or a read-only one if the library has them."""
    library = exchange.consumer
    locked = name == READONLY and Trait.READONLY in library.traits
    if name not in _LAYOUTS and not locked:
        return None
    return lambda: (
        exchange.make(library, kind=source.dtype, form=source.form, block=source.block, readonly=locked).array
    )


def _expect_on_part(exchange: Exchange, operation: Operation, source: Source, taken: Any) -> None:
    """Check the operation on a view of the import that leaves out the first row."""
    consumer, step = exchange.consumer, Index((slice(1, None), slice(None)))
    numbers = _numbers(source.values, source.dtype)

    def twin() -> Any:
        return consumer.view(_own(exchange, source.dtype, _FORM.base, numbers), step)

    part = exchange.using(lambda: consumer.view(taken, step), "making a view of the import", own=twin)
    _expect_operation(exchange, operation, source, part, given=numbers[_FORM.base[1] :], twin=twin)


def _placed(env: Environment) -> Iterator[Draft]:
    pairs = tuple(p for p in env.pairs(Protocol.DLPACK) if p.consumer.has(Trait.DEVICE_ATTRIBUTE))
    yield from every(pairs)
    yield from every((p for p in pairs if p.with_reference), quick=_never, array=_elsewhere)


def _elsewhere(pair: Pair) -> tuple[str, ...]:
    """Return imports for which a consumer may report another device: empty, zero-dimensional and read-only ones."""
    found = tuple(name for name in ("empty-rows", "scalar") if name in pair.source.layouts)
    return found + ((READONLY,) if pair.producer.has(Trait.READONLY) else ())


@invariant(
    "use.device",
    consumer="DLP-42",
    bugs="use-01",
    level=Level.MUST,
    cases=_placed,
)
def test_device(exchange: Exchange) -> None:
    """A consumer must report a device for an import that is equal to the device of its own array in the same place."""
    name = exchange.option("array", "c-order")
    locked = name == READONLY
    if locked:
        exchange.special(_GIVENS[name])
    source = exchange.make(exchange.producer, form=_FORM if locked else layout(name), readonly=locked)
    taken = exchange.take(source, promised=None if name == "c-order" else "")
    own = exchange.make(exchange.consumer).array
    consumer = exchange.consumer
    seen = exchange.using(lambda: consumer.device_of(taken), "asking for the device of the import")
    wanted = consumer.device_of(own)
    if wanted != consumer.device_of(exchange.make(exchange.consumer, seed=1).array):
        raise Inconclusive(f"two arrays of {consumer.name}'s own report different devices: {wanted!r}")
    if not (seen == wanted and wanted == seen):
        fail(
            Code.WRONG_DEVICE, "DLP-42", role=Role.CONSUMER, reason="the import reports another device than an array of the consumer's own",
            expected=repr(wanted), seen=repr(seen), given="an import beside arrays of its own",
        )  # fmt: skip


# -- an offset


_BLOCK = (80,)
_OFFSETS = {"element": 0, "page": 256}
"""Bytes between the data pointer of the capsule and element 0. 0 stands for one element; ``dlpack.h`` mentions an alignment of 256 bytes."""
_WORK = ("kernel", "add", "stack", "copy")


def _offset_work(pair: Pair) -> tuple[str, ...]:
    kernel = ("kernel",) if pair.consumer.has(Trait.KERNEL) else ()
    return kernel + _can(*_WORK[1:])(pair)


def _offsets(env: Environment) -> Iterator[Draft]:
    pairs = tuple(pair for pair in env.imports(Protocol.DLPACK) if _both_count(pair))
    wide = ("float64",)
    yield from every(pairs, work=_offset_work, offset=tuple(_OFFSETS))
    yield from every(
        (pair for pair in pairs if "float64" in pair.target.dtypes),
        quick=_never,
        work=_can(*_WORK[1:]),
        offset=tuple(_OFFSETS),
        dtype=wide,
    )


@invariant(
    "use.offset",
    consumer="DLP-58 DLP-17",
    bugs="use-02 I01 pointer-18",
    level=Level.MUST,
    cases=_offsets,
)
def test_offset(exchange: Exchange) -> None:
    """A consumer must use the elements at ``data + byte_offset`` in kernels, arithmetic and copies.

    The data pointer points to other elements of the same block, which the consumer must neither read nor write.
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


def _with_offset(exchange: Exchange, nbytes: int) -> Source:
    """Return an array of the reference that starts ``nbytes`` bytes into its block, or one element if that is 0.

    The capsule's data pointer is the start of the block.
    """
    kind = dtype(exchange.option("dtype", _KIND.name))
    size, ahead = len(_GIVEN), nbytes // kind.itemsize or 1
    form = Layout("offset", _BLOCK, (Index((slice(ahead, ahead + size),)),))
    source = exchange.crafted(kind=kind, form=form)
    start = ahead * kind.itemsize
    block = _words(range(5000, 5000 + _BLOCK[0]), kind)
    source.block = block[:start] + _words(_GIVEN, kind) + block[start + size * kind.itemsize :]
    exchange.poke(source.start, source.block)
    source.array.override = {
        "data": source.start, "byte_offset": start, "shape": _FORM.base, "strides": packed(_FORM.base).strides,
    }  # fmt: skip
    exchange.special("a capsule with a `byte_offset`")
    return source


def _expect_incremented(exchange: Exchange, source: Source, taken: Any) -> None:
    """Raise unless each element of the import is one larger, also in the block if the import is shared, and no other byte has changed."""
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
        "a kernel of the consumer computes wrong elements on the import",
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
    """A consumer must copy an import with its elements, and the copy must not change with the producer's array.

    A consumer that cannot copy an array of its own with this layout is not tested.
    """
    source, consumer = exchange.source(), exchange.consumer
    taken = exchange.take(source)
    exchange.expect_values(source, exchange.read(taken))
    exchange.special("an import that is copied")
    copy = exchange.using(
        lambda: consumer.copied(taken), "copying the import", own=lambda: consumer.copied(exchange.make(consumer).array)
    )
    _expect_copy(exchange, source, copy, "the copy of the import has wrong elements")
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
