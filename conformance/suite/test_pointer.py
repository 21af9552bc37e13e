"""Family ``pointer``: memory that both sides share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from itertools import chain
from typing import Any, NoReturn

from conformance.adapters.base import Adapter, Device, DLPackOffer, Protocol, Trait
from conformance.checks.catalogue import VIA, Draft, dtypes, every, invariant, layouts
from conformance.checks.codes import Code
from conformance.checks.copies import copy_is_shared, expect_copied, expect_no_copy
from conformance.checks.exchange import Exchange, Source, brief, show
from conformance.checks.handover_record import decoded
from conformance.checks.kernel_control import kernel_trouble, unless_environment
from conformance.checks.layouts import NEGATIVE, OFFSET, PLAIN, STRIDED, ZERO_STRIDE, Layout
from conformance.checks.libraries import REFERENCE, Environment, Pair, shows_one_library
from conformance.checks.outcomes import ACCUSED, Inconclusive, Refused, Side, fail
from conformance.checks.patterns import pattern
from conformance.checks.steps import Doing
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import dtype
from conformance.protocols.strided import Broadcast, Index, offsets, span
from conformance.reference.exporter import NEWEST
from conformance.reference.memory import ALIGNMENT

WRITE_LAYOUTS = ("c-order", "columns", "fortran")


def both_have(*names: str) -> Callable[[Pair], tuple[str, ...]]:
    """Return an axis: the layouts out of ``names`` that both sides can make, so that the consumer can represent the import."""
    return lambda pair: tuple(n for n in names if n in pair.source.layouts and n in pair.target.layouts)


def mutable(pairs: Iterable[Pair], *traits: Trait) -> Iterator[Pair]:
    """Return the pairs whose producer has writable arrays and whose consumer has these traits."""
    return (p for p in pairs if not p.producer.has(Trait.IMMUTABLE) and all(p.consumer.has(trait) for trait in traits))


# -- sharing


def expect_shared(exchange: Exchange, source: Source, taken: Any) -> None:
    """Fail unless the import shares the producer's memory. A copy that the protocol allows is only recorded."""
    view = exchange.look(taken)
    is_left_open = view.address != source.address and may_copy(exchange, source)
    exchange.expect_address(source, view, copying=Level.OBSERVED if is_left_open else None)


def may_copy(exchange: Exchange, source: Source) -> bool:
    """Return whether the protocol allows the consumer to copy this array without a request.

    DLPack requires shared memory "if possible". So a consumer may copy an array that is not aligned to 256 bytes or not row-major. Over the
    CUDA Array Interface a consumer must share every layout that its own arrays can have.
    """
    if exchange.protocol is Protocol.DLPACK:
        return bool(source.address % ALIGNMENT) or not source.view.contiguous
    return not source.view.contiguous and not _has_layout(exchange)


def _has_layout(exchange: Exchange) -> bool:
    """Return whether the consumer itself can make arrays of the case's layout."""
    library, form = exchange.consumer, exchange.layout
    try:
        base = library.array(exchange.dtype, form.base, pattern(exchange.dtype, form.elements), exchange.device)
        reduce(library.view, form.steps, base)
    except Exception:
        return False
    return True


@invariant(
    "pointer.same-address",
    producer="DLP-59 CAI-05",
    consumer="DLP-43 CAI-32",
    bugs="I31",
    level=Level.MUST,
    cases=lambda env: chain(
        every(env.pairs(), layout=layouts(*PLAIN), dtype=("float32",)),
        every(
            filter(shows_one_library, env.pairs()),
            layout=both_have(*STRIDED, *ZERO_STRIDE, "scalar"),
            dtype=("float32",),
        ),
    ),
)
def test_same_address(exchange: Exchange) -> None:
    """A consumer must share the memory of the producer's array: element 0 of the import must have the producer's address.

    Every consumer must share a row-major array. Over DLPack a consumer may copy another layout, or an array that is not aligned to 256 bytes.
    Over the CUDA Array Interface it may copy a layout that its own arrays cannot have. The suite only records such a copy.
    """
    source = exchange.source()
    expect_shared(exchange, source, exchange.take(source))


@invariant(
    "pointer.values",
    producer="DLP-59 DLP-20 CAI-05 CAI-11",
    consumer="DLP-58 CAI-32",
    bugs="I07",
    level=Level.MUST,
    cases=lambda env: chain(
        every(env.pairs(), layout=layouts("c-order", "reversed-rows", "reversed-step"), dtype=("float32",)),
        every(filter(shows_one_library, env.pairs()), layout=layouts(*STRIDED, *ZERO_STRIDE), dtype=("float32",)),
    ),
)
def test_values(exchange: Exchange) -> None:
    """A consumer must read exactly the producer's elements, in every layout.

    A consumer may refuse a layout, but must not read other elements.
    """
    source = exchange.source()
    taken = exchange.take(source)
    exchange.expect_values(source, exchange.read(taken))


@invariant(
    "pointer.view-export",
    producer="DLP-59 CAI-05",
    bugs="I02",
    level=Level.MUST,
    cases=lambda env: every(
        env.exports(),
        layout=layouts("inner", "rows", *STRIDED, *NEGATIVE, *ZERO_STRIDE, "scalar-view"),
        dtype=dtypes("float32", "uint8"),
    ),
)
def test_view_export(exchange: Exchange) -> None:
    """A producer must export the address of the view's first element: the address of the block plus the offset of the view."""
    source = exchange.source()
    if exchange.protocol is Protocol.DLPACK:
        clause, seen = "DLP-59", exchange.decode(exchange.capsule_of(source)).element0
    else:
        clause, seen = "CAI-05", _published_address(exchange, source)
    if seen != source.address:
        exchange.expect_handed(source)
        inside = source.start <= seen < source.start + len(source.block)
        fail(
            Code.WRONG_ADDRESS if inside else Code.NOT_SHARED,
            clause,
            role=Role.PRODUCER,
            reason="the producer exports a different address than that of the view's first element",
            expected=f"element 0 at {source.address:#x}",
            seen=f"element 0 at {seen:#x}" + (f", {seen - source.address:+d} bytes off" if inside else ""),
        )


def _published_address(exchange: Exchange, source: Source) -> int:
    """Return the address in the producer's dictionary; raise ``Inconclusive`` if the dictionary is malformed."""
    published = decoded(exchange.protocol, exchange.dictionary_of(source))
    if published is None:
        raise Inconclusive(f"the dictionary of {exchange.producer.name} is malformed (see cai.form)")
    return published.address


# -- writes


@invariant(
    "pointer.producer-write-seen",
    producer="DLP-59 CAI-05",
    consumer="DLP-43 DLP-58 CAI-32",
    context="G2",
    bugs="I31",
    level=Level.MUST,
    cases=lambda env: every(mutable(env.pairs()), layout=layouts(*WRITE_LAYOUTS)),
)
def test_producer_write_seen(exchange: Exchange) -> None:
    """A consumer must see the elements that the producer writes after the exchange.

    For a consumer with immutable arrays this is undefined, so the suite only records it. The same holds for a copy that the protocol
    allows.
    """
    source = exchange.source()
    taken = exchange.take(source)
    exchange.read(taken)
    data = exchange.rewrite(source)
    undefined = Trait.IMMUTABLE in exchange.consumer.traits
    if not undefined:
        expect_shared(exchange, source, taken)
    exchange.expect_values(source, exchange.read(taken), "G2" if undefined else "", expected=data)


@invariant(
    "pointer.consumer-write-seen",
    producer="DLP-59 CAI-05",
    consumer="DLP-43 DLP-58 CAI-32",
    bugs="I31",
    level=Level.MUST,
    cases=lambda env: every(mutable(env.pairs(), Trait.WRITES), layout=layouts(*WRITE_LAYOUTS)),
)
def test_consumer_write_seen(exchange: Exchange) -> None:
    """A producer must see the elements that the consumer writes, and the consumer must not change an element outside of the view."""
    source = exchange.source()
    taken = exchange.take(source)
    _require_writable(exchange, source, taken)
    expect_shared(exchange, source, taken)
    data = pattern(source.dtype, source.view.size, seed=1)
    exchange.write(source, taken, data)
    _expect_written(exchange, source, data)


@invariant(
    "pointer.kernel-write-seen",
    producer="DLP-59 CAI-05",
    consumer="DLP-43 DLP-58 CAI-32",
    bugs="I32 use-03",
    level=Level.MUST,
    cases=lambda env: every(mutable(env.pairs(), Trait.KERNEL), layout=layouts("vector", "cube", *OFFSET)),
)
def test_kernel_write_seen(exchange: Exchange) -> None:
    """A producer must see the elements that a kernel of the consumer writes, and no element outside of the view must change.

    Some arrays are aligned only to their element size. If the kernel also fails on the consumer's own arrays, the environment is at
    fault. An example is a driver that is older than the compiler of the kernels.
    """
    source = exchange.source(kind=dtype("int32"))
    exchange.poke(source.address, _numbers(source.view.size, start=1))
    before = exchange.peek(source.start, len(source.block))
    taken = exchange.take(source)
    _require_writable(exchange, source, taken)
    expect_shared(exchange, source, taken)
    with unless_environment(exchange, lambda: kernel_trouble(exchange.consumer, exchange.device)):
        exchange.using(lambda: exchange.consumer.kernel_increment(taken), "a kernel on the import")
        _expect_written(exchange, source, _numbers(source.view.size, start=2), before)


def _numbers(count: int, start: int) -> bytes:
    """Return consecutive small numbers as int32, which are exact even for kernels that compute in floating point."""
    return b"".join(number.to_bytes(4, sys.byteorder) for number in range(start, start + count))


def _require_writable(exchange: Exchange, source: Source, taken: Any) -> None:
    """End the case as refused if the import is read-only, and fail if the hand-over describes other memory."""
    exchange.expect_handed(source)
    if exchange.look(taken).readonly:
        raise Refused(f"{exchange.consumer.name} imports the array as read-only")


def _expect_written(exchange: Exchange, source: Source, data: bytes, before: bytes | None = None) -> None:
    """Fail unless the producer reads ``data`` from the view's elements and the rest of the block is unchanged."""
    seen = exchange.producer.read(source.array)
    if seen != data:
        exchange.expect_handed(source)
        if exchange.holds(source, data):
            fail(
                Code.VALUES_CHANGED,
                exchange.describing(),
                role=Role.PRODUCER,
                reason="the memory that the producer handed over holds the consumer's elements, but the producer reads others",
                expected=show(data, source.dtype),
                seen=show(seen, source.dtype),
                accused=Side.PRODUCER,
            )
        fail(
            Code.VALUES_CHANGED,
            exchange.reading(),
            role=Role.CONSUMER,
            reason="the producer does not see the elements that the consumer wrote",
            expected=show(data, source.dtype),
            seen=show(seen, source.dtype),
            accused=exchange.reader_at_fault(),
        )
    expected = Source(source.array, source.dtype, source.view, source.address, before or source.block).block_with(data)
    block = exchange.peek(source.start, len(source.block))
    if block != expected:
        _fail_outside(exchange, source, "the consumer's write changes elements outside of the view", expected, block)


def _fail_outside(exchange: Exchange, source: Source, reason: str, expected: bytes, seen: bytes) -> NoReturn:
    exchange.expect_handed(source)
    fail(
        Code.WRITE_OUTSIDE,
        exchange.reading(),
        role=Role.CONSUMER,
        reason=reason,
        expected=show(expected, source.dtype, limit=32),
        seen=show(seen, source.dtype, limit=32),
        accused=exchange.reader_at_fault(),
    )


@invariant(
    "pointer.zero-stride-write",
    producer="DLP-59 CAI-05",
    consumer="DLP-58 CAI-32",
    context="G5",
    level=Level.OBSERVED,
    cases=lambda env: every(mutable(env.pairs(), Trait.WRITES), layout=layouts(*ZERO_STRIDE)),
)
def test_zero_stride_write(exchange: Exchange) -> None:
    """The suite records whether a consumer refuses a write through a view with stride 0, or leaves one of the written values.

    Several elements of such a view have the same memory, and no document says which value is written last. No other element may change.
    """
    source = exchange.source(form=_REPEATED[exchange.layout.name])
    taken = exchange.take(source)
    _require_writable(exchange, source, taken)
    data = pattern(source.dtype, source.view.size, seed=1)
    try:
        with exchange.step(Doing.USE, Role.CONSUMER):
            exchange.consumer.write(taken, data)
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"{exchange.consumer.name} does not write through stride 0: {brief(error)}") from error
    _expect_one_of_the_written(exchange, source, data)


_REPEATED = {
    "broadcast-rows": Layout("broadcast-rows", (3, 4), (Index((slice(1, 2),)), Broadcast((3, 4)))),
    "broadcast-columns": Layout("broadcast-columns", (3, 4), (Index((slice(None), slice(1, 2))), Broadcast((3, 4)))),
}
"""Repeated elements with others around them."""


def _expect_one_of_the_written(exchange: Exchange, source: Source, data: bytes) -> None:
    size = source.dtype.itemsize
    allowed: dict[int, set[bytes]] = {}
    for i, offset in enumerate(offsets(source.view)):
        allowed.setdefault(offset, set()).add(data[i * size : (i + 1) * size])
    block = exchange.peek(source.start, len(source.block))
    for offset in range(len(block) // size):
        seen, old = (b[offset * size : (offset + 1) * size] for b in (block, source.block))
        if offset not in allowed and seen != old:
            reason = f"the consumer's write changes element {offset} of the block, which is outside of the view"
            _fail_outside(exchange, source, reason, old, seen)
        if offset in allowed and seen not in allowed[offset]:
            fail(
                Code.VALUES_CHANGED,
                "G5",
                role=Role.CONSUMER,
                reason=f"element {offset} of the block holds none of the values that the consumer wrote there",
                expected=" or ".join(show(value, source.dtype) for value in sorted(allowed[offset])),
                seen=show(seen, source.dtype),
            )


# -- byte_offset

_WINDOWS = {
    "packed": Layout("packed", (80, 4), (Index((slice(64, 68),)),)),
    "stepped": Layout("stepped", (80, 4), (Index((slice(64, 72, 2), slice(None, None, 2))),)),
    "scalar": Layout("scalar", (300,), (Index((256,)),)),
}
"""Views whose element 0 lies 256 elements inside the block, so that ``data`` stays in the block even for elements of one byte."""
_OFFSETS = {"aligned": 256, "element": 4}
"""The ``byte_offset``: 256 bytes keep ``data`` aligned as the header requires (DLP-18); 4 bytes are one element."""
_GIVEN_OFFSET = "a capsule with a `byte_offset`"


def _split(exchange: Exchange) -> Source:
    """Return an array of the reference whose capsule splits the address of element 0 into ``data`` and ``byte_offset``."""
    offset = _OFFSETS[exchange.option("offset")]
    newest = None if exchange.option("capsule") == "legacy" else NEWEST
    source = exchange.crafted(form=_WINDOWS[exchange.option("view")], newest=newest)
    source.array.override = {"data": source.address - offset, "byte_offset": offset}
    exchange.special(_GIVEN_OFFSET)
    return source


def _splits(pairs: Iterable[Pair]) -> Iterator[Draft]:
    return every(pairs, view=tuple(_WINDOWS), offset=tuple(_OFFSETS), capsule=("versioned", "legacy"))


@invariant(
    "pointer.byte-offset",
    consumer="DLP-58 DLP-17 DLP-43",
    bugs="I01",
    level=Level.MUST,
    cases=lambda env: _splits(env.imports(Protocol.DLPACK)),
)
def test_byte_offset(exchange: Exchange) -> None:
    """A consumer must read element 0 at ``data + byte_offset``, however the producer splits the address between the two."""
    source = _split(exchange)
    taken = exchange.take(source, promised=None if exchange.option("view") == "packed" else "")
    if exchange.option("capsule") == "versioned":
        exchange.require_versioned(source)
    seen = exchange.look(taken)
    if exchange.is_elsewhere(source, seen.address):
        exchange.expect_values(source, exchange.read(taken))  # a copy must have the elements too
    exchange.expect_address(source, seen, copying=Level.OBSERVED)
    exchange.expect_values(source, exchange.read(taken))


@invariant(
    "pointer.byte-offset-passed-on",
    consumer="DLP-58 DLP-17",
    bugs="I01",
    level=Level.MUST,
    cases=lambda env: _splits(p for p in env.imports(Protocol.DLPACK) if Protocol.DLPACK in p.target.exports),
)
def test_byte_offset_passed_on(exchange: Exchange) -> None:
    """A library must export an array that it imported with a ``byte_offset`` with the same element 0."""
    source = _split(exchange)
    taken = exchange.take(source, promised="")
    if exchange.option("capsule") == "versioned":
        exchange.require_versioned(source)
    imported = exchange.look(taken)
    exchange.expect_address(source, imported, copying=Level.OBSERVED)
    exchange.special("what it imported with a `byte_offset`")
    again = _passed_on(exchange, exchange.consumer, taken, exchange.library(REFERENCE))
    seen = exchange.library(REFERENCE).describe(again).address
    if seen != imported.address:
        fail(
            Code.WRONG_ADDRESS,
            "DLP-59",
            role=Role.PRODUCER,
            reason="the library exports its import with a different element 0",
            expected=f"element 0 at {imported.address:#x}",
            seen=f"element 0 at {seen:#x}, {seen - imported.address:+d} bytes off",
            accused=Side.PRODUCER,
            library=exchange.consumer.name,
        )


def _passed_on(exchange: Exchange, giver: Adapter, taken: Any, taker: Adapter) -> Any:
    """Return the import by ``taker`` of an import that ``giver`` exports again."""
    return exchange.take(exchange.offer(taken, giver=giver), promised="", giver=giver, taker=taker)


# -- several imports


@invariant(
    "pointer.imports-alias",
    producer="DLP-59 CAI-05",
    consumer="DLP-43 DLP-58 CAI-32",
    level=Level.MUST,
    cases=lambda env: every(env.pairs(), layout=layouts("c-order", "columns", "vector")),
)
def test_imports_alias(exchange: Exchange) -> None:
    """Two imports of one array must share its memory: the second must see a write through the first.

    If neither library can write, only the addresses are compared.
    """
    source = exchange.source()
    first, second = exchange.take(source), exchange.take(source)
    expect_shared(exchange, source, first)
    expect_shared(exchange, source, second)
    partners = exchange.producer.traits | exchange.consumer.traits
    if Trait.IMMUTABLE not in partners:
        exchange.expect_handed(source)
        data = _write_first(exchange, source, first)
        exchange.expect_values(source, exchange.read(second), expected=data)


def _write_first(exchange: Exchange, source: Source, first: Any) -> bytes:
    """Write through the first import, or by the producer if the import is read-only or its library cannot write; return the elements."""
    if Trait.WRITES not in exchange.consumer.traits or exchange.look(first).readonly:
        return exchange.rewrite(source)
    data = pattern(source.dtype, source.view.size, seed=1)
    exchange.write(source, first, data)
    return data


@invariant(
    "pointer.imports-apart",
    producer="DLP-59 CAI-05",
    consumer="DLP-58 CAI-32 DLP-43",
    level=Level.MUST,
    cases=lambda env: every(env.pairs(), first=("kept", "dropped")),
)
def test_imports_apart(exchange: Exchange) -> None:
    """A consumer must not confuse an array with one of the same shape and type that it imported before.

    A library that caches wrappers could reuse the wrong one.
    """
    source = exchange.source()
    earlier = exchange.source(seed=1)
    before = exchange.take(earlier)
    exchange.read(before)
    if exchange.option("first") == "dropped":
        del before
    exchange.special("an array like one that came before it")
    taken = exchange.take(source)
    exchange.expect_values(source, exchange.read(taken))
    expect_shared(exchange, source, taken)


# -- copies


def _copying(env: Environment) -> Iterator[Pair]:
    return (p for p in env.pairs(Protocol.DLPACK) if p.consumer.has(Trait.COPY_KEYWORD))


@invariant(
    "pointer.copy-true",
    producer="DLP-39 DLP-59",
    consumer="DLP-44 DLP-58",
    bugs="I23",
    level=Level.MUST,
    cases=lambda env: every(_copying(env), layout=layouts("c-order", "columns", "stepped-permuted", *OFFSET)),
)
def test_copy_true(exchange: Exchange) -> None:
    """``copy=True`` must return a copy with the same values, which a later write of the producer must not change."""
    source = exchange.source()
    offer = exchange.offer(source)
    try:
        taken = exchange.take(offer, promised="", copy=True)
    except Refused as refusal:
        role, clause = _blamed(offer)
        if exchange.promises() and not _unknown_keyword(offer):
            fail(
                Code.COPY_REFUSED, clause, role=role, reason=f"the {role.value} refuses copy=True for a plain array", expected="a copy",
                seen=refusal, accused=ACCUSED[role],
            )  # fmt: skip
        raise
    expect_copied(exchange, source, exchange.read(taken))
    view = exchange.look(taken)
    if source.start <= view.address < source.start + len(source.block):
        seen_at = f"element 0 at {view.address:#x}, the producer's at {source.address:#x}"
        copy_is_shared(exchange, source, expected="an address outside of the producer's block", seen=seen_at)
    if Trait.IMMUTABLE not in exchange.producer.traits:
        exchange.rewrite(source)
        seen = exchange.read(taken)
        if seen != source.values:
            copy_is_shared(exchange, source, expected=show(source.values, source.dtype), seen=show(seen, source.dtype))


@invariant(
    "pointer.copy-false",
    producer="DLP-39",
    consumer="DLP-44",
    context="X4",
    bugs="I23 I32",
    level=Level.MUST,
    cases=lambda env: every(_copying(env), layout=layouts("c-order", "columns", "fortran", "stepped", *OFFSET)),
)
def test_copy_false(exchange: Exchange) -> None:
    """``copy=False`` must share the producer's memory, or raise an exception if only a copy is possible."""
    source = exchange.source()
    shares = exchange.look(exchange.take(source)).address == source.address
    offer = exchange.offer(source)
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            taken = exchange.consumer.take(offer, exchange.protocol, exchange.device, copy=False)
    except Exception as error:
        _judge_refused_copy(exchange, source, offer, error, shares=shares and source.view.size > 0)
    exchange.expect_values(source, exchange.read(taken))
    expect_no_copy(exchange, source, exchange.look(taken))


def _judge_refused_copy(
    exchange: Exchange, source: Source, offer: DLPackOffer, error: Exception, *, shares: bool
) -> NoReturn:
    """Fail if the refusal of ``copy=False`` is wrong: for a plain array that can be shared, or with a wrong exception.

    First check the request and the hand-over: a consumer may refuse a wrong description, and a producer a call that the protocol forbids.
    """
    exchange.check_context(error)
    exchange.expect_call(offer)
    if offer.raised is None:
        exchange.expect_handed(source)
    role, clause = _blamed(offer)
    if not _unknown_keyword(offer):
        if shares and exchange.promises():
            fail(
                Code.SHARING_REFUSED,
                clause,
                role=role,
                reason=f"the {role.value} refuses copy=False, although the array is shared without it",
                expected="the producer's memory",
                seen=brief(error),
                accused=ACCUSED[role],
            )
        if not isinstance(error, (BufferError, ValueError)):
            fail(
                Code.WRONG_EXCEPTION,
                clause,
                role=role,
                level=Level.SHOULD,
                reason=f"the {role.value} refuses copy=False with the wrong kind of exception",
                expected="BufferError (or ValueError, X4)",
                seen=brief(error),
                given="`copy=False`",
                accused=ACCUSED[role],
            )
    raise Refused(f"copy=False is refused: {brief(error)}") from error


def _blamed(offer: DLPackOffer) -> tuple[Role, str]:
    """Return the side that refused, and the clause on ``copy`` for that side."""
    return (Role.CONSUMER, "DLP-44") if offer.raised is None else (Role.PRODUCER, "DLP-39")


def _unknown_keyword(offer: DLPackOffer) -> bool:
    """Return whether the producer raised ``TypeError``: it is too old to know the keyword."""
    return isinstance(offer.raised, TypeError)


@invariant(
    "pointer.copy-false-elsewhere",
    producer="DLP-39 DLP-38",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK)),
)
def test_copy_false_elsewhere(exchange: Exchange) -> None:
    """A producer must refuse ``copy=False`` for another device with ``BufferError``, because only a copy can be there."""
    source = exchange.source()
    elsewhere = (2, 0) if exchange.device is Device.HOST else (1, 0)
    offer = exchange.offer(source)
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            exported = offer.__dlpack__(max_version=NEWEST, dl_device=elsewhere, copy=False)
    except BufferError:
        return
    except Exception as error:
        _judge_refused_device(exchange, error, elsewhere)
    tensor = exchange.decode(exported)
    ignored = tensor.device != elsewhere
    fail(
        Code.DEVICE_IGNORED if ignored else Code.COPY_MADE,
        "DLP-38" if ignored else "DLP-39",
        role=Role.PRODUCER,
        reason="the producer exports to a different device than requested"
        if ignored
        else "the producer copies although copy=False forbids it",
        expected="BufferError",
        seen=f"a capsule on device {tensor.device}, element 0 at {tensor.element0:#x} (the array's: {source.address:#x})",
    )


def _judge_refused_device(exchange: Exchange, error: Exception, elsewhere: tuple[int, int]) -> NoReturn:
    exchange.check_context(error)
    if isinstance(error, TypeError):
        raise Refused(f"{exchange.producer.name} does not know dl_device or copy: {brief(error)}") from error
    fail(
        Code.WRONG_EXCEPTION,
        "DLP-39",
        role=Role.PRODUCER,
        level=Level.SHOULD,
        reason=f"the producer refuses dl_device={elsewhere} with copy=False with the wrong kind of exception",
        expected="BufferError",
        seen=brief(error),
        given="`copy=False` with another device as `dl_device`",
    )


@invariant(
    "pointer.misaligned",
    producer="DLP-59 CAI-05",
    consumer="DLP-58 CAI-32 DLP-43",
    context="DLP-18 X6",
    bugs="I32 I31",
    level=Level.MUST,
    cases=lambda env: every(env.pairs(), layout=layouts(*OFFSET), dtype=dtypes("float32", "complex128")),
)
def test_misaligned(exchange: Exchange) -> None:
    """A consumer must read the elements of a packed array that is aligned only to its element size.

    The DLPack header asks for 256 bytes, but says that consumers should not rely on it. So a consumer may copy such an array over DLPack,
    and the suite records that. Over the CUDA Array Interface it must share the memory.
    """
    source = exchange.source()
    taken = exchange.take(source)
    exchange.expect_values(source, exchange.read(taken))
    expect_shared(exchange, source, taken)


# -- three libraries


def _chains(env: Environment) -> Iterator[Draft]:
    """Yield the chains. The middle library is any other than the two ends; the reference is in the middle of every pair, its own too."""

    def middles(pair: Pair) -> tuple[str, ...]:
        return tuple(
            library.name
            for library in env.present
            if (library.name == REFERENCE or library.name not in (pair.producer.name, pair.consumer.name))
            and pair.device in library.sides
            and pair.protocol in library.sides[pair.device].imports
            and pair.protocol in library.sides[pair.device].exports
        )

    return every(env.pairs(), via=middles)


@invariant(
    "pointer.chain",
    producer="DLP-59 CAI-05",
    consumer="DLP-43 DLP-58 CAI-32",
    level=Level.MUST,
    cases=_chains,
)
def test_chain(exchange: Exchange) -> None:
    """A chain of three libraries must share one memory: each end must see the writes of the other.

    If a library has immutable arrays or passes on a read-only array, only the addresses and the existing values are compared.
    """
    source = exchange.source()
    middle = exchange.library(exchange.option(VIA))
    exchange.special("an array that goes through a library in between")
    between = exchange.take(source, promised="", taker=middle)
    exchange.expect_intact(source, middle)
    _expect_same_memory(exchange, source, middle, between)
    last = _passed_on(exchange, middle, between, exchange.consumer)
    exchange.expect_intact(source, exchange.consumer)
    _expect_same_memory(exchange, source, exchange.consumer, last)
    exchange.expect_values(source, exchange.read(last))
    if Trait.IMMUTABLE in exchange.producer.traits | middle.traits | exchange.consumer.traits:
        return
    data = exchange.rewrite(source)
    exchange.expect_values(source, exchange.read(last), expected=data)
    if Trait.WRITES in exchange.consumer.traits and not exchange.look(last).readonly:
        exchange.expect_handed(source)
        data = pattern(source.dtype, source.view.size, seed=2)
        exchange.using(lambda: exchange.consumer.write(last, data), "writing through the last import")
        _expect_written(exchange, source, data)


def _expect_same_memory(exchange: Exchange, source: Source, library: Adapter, taken: Any) -> None:
    """Fail unless this link of the chain shares the producer's memory. A copy that the protocol allows ends the case as refused."""
    view = exchange.using(lambda: library.describe(taken), f"describing the import of {library.name}")
    if view.address != source.address and may_copy(exchange, source):
        raise Refused(
            f"{library.name} copies an array that is not aligned to {ALIGNMENT} bytes or not row-major, as the protocol allows"
        )
    exchange.expect_address(source, view, exchange.reading() if exchange.protocol is Protocol.CAI else "")


# -- the extent of the memory


@invariant(
    "pointer.memory-behind",
    consumer="DLP-58 CAI-32",
    level=Level.OBSERVED,
    cases=lambda env: every(
        (p for p in env.imports() if p.consumer.has(Trait.EXTENT)),
        layout=layouts("c-order", "cube", "columns", "stepped", "stepped-permuted", "broadcast-rows"),
        dtype=("float32", "uint8"),
    ),
)
def test_memory_behind(exchange: Exchange) -> None:
    """The suite records whether the memory extent that a consumer computes for an import covers all elements inside the producer's block.

    Neither protocol states the size of the memory. A consumer computes it from shape and strides, and some copies use it.
    """
    source = exchange.source()
    taken = exchange.take(source)
    exchange.expect_shape(source, exchange.look(taken))
    low, high = span(source.view)
    size = source.dtype.itemsize
    first, end = source.start + low * size, source.start + high * size
    seen = exchange.using(lambda: exchange.consumer.extent(taken), "asking for the memory behind the import")
    if not (source.start <= seen[0] <= first and end <= seen[1] <= source.start + len(source.block)):
        fail(
            Code.WRONG_EXTENT,
            exchange.reading(),
            role=Role.CONSUMER,
            level=Level.OBSERVED,
            reason="the consumer computes a wrong memory extent for the import",
            expected=f"bytes {first - source.start} to {end - source.start} of a block of {len(source.block)}, at least",
            seen=f"bytes {seen[0] - source.start} to {seen[1] - source.start}",
        )
