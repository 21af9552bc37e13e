"""Family ``layout``: shape, strides and padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any, NoReturn

from conformance.adapters.base import Protocol, Trait
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.base_exceptions import text_of
from conformance.checks.catalogue import Isolation, Tier, dtypes, every, invariant, layouts
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Source, brief
from conformance.checks.input_words import described
from conformance.checks.layouts import (
    EMPTY,
    HIGH_RANK,
    NEGATIVE,
    OFFSET,
    PADDED,
    PLAIN,
    SCALAR,
    STRIDED,
    UNIT,
    ZERO_STRIDE,
    Layout,
    layout,
)
from conformance.checks.libraries import REFERENCE, Pair, shows_one_library
from conformance.checks.outcomes import Inconclusive, Refused, Side, fail
from conformance.checks.patterns import pattern
from conformance.checks.steps import Doing
from conformance.cuda.driver import CudaError
from conformance.protocols import dlpack
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import DType, dtype
from conformance.protocols.strided import Index, Strided, packed, same_strides, span
from conformance.reference.exporter import NEWEST, REMOVED

ODD_STRIDES = {"zero": 0, "negative": -1, "odd": 7, "huge": 2**40}
"""Strides in elements that are useful only where they have no effect: in dimensions of size 0 or 1. ``split`` is 7 bytes."""


# -- exports


def _all_layouts() -> tuple[str, ...]:
    groups = (PLAIN, STRIDED, NEGATIVE, ZERO_STRIDE, OFFSET, PADDED, UNIT, EMPTY, SCALAR)
    return tuple(dict.fromkeys(name for group in groups for name in group))


_WIDTHS = ("uint8", "int16", "complex128")
"""Element sizes of 1, 2 and 16 bytes, beside the 4 of float32."""


@invariant(
    "layout.capsule-strides",
    producer="DLP-20 DLP-59",
    bugs="I04 I06",
    level=Level.MUST,
    cases=lambda env: chain(
        every(env.exports(Protocol.DLPACK), layout=layouts(*_all_layouts()), capsule=("newest", "legacy")),
        every(
            env.exports(Protocol.DLPACK),
            layout=layouts("stepped-permuted", "columns", "reversed-step", "broadcast-rows"),
            dtype=dtypes(*_WIDTHS),
        ),
    ),
)
def test_capsule_strides(exchange: Exchange) -> None:
    """A producer must export the shape of the view, and its signed strides in elements.

    NULL strides mean that the array is C-contiguous. Only a capsule below version 1.2 may have them.
    """
    source = exchange.source()
    legacy = exchange.option("capsule", "newest") == "legacy"
    exported = exchange.capsule_of(source) if legacy else exchange.newest_capsule(source)
    tensor = exchange.decode(exported)
    _expect_layout(exchange, source, tensor)
    if tensor.strides is None and (tensor.version or (0, 0)) >= (1, 2):
        fail(
            Code.STRIDES_MISSING,
            "DLP-20",
            role=Role.PRODUCER,
            reason=f"the producer exports a capsule of version {tensor.version} without strides",
            expected=f"strides of {len(source.view.shape)} dimensions",
            seen="NULL",
            given="a C-contiguous array in a capsule of version 1.2 or newer",
        )


def _expect_layout(exchange: Exchange, source: Source, tensor: dlpack.Tensor) -> None:
    if tensor.shape != source.view.shape:
        fail(
            Code.SHAPE_CHANGED,
            "DLP-59",
            role=Role.PRODUCER,
            reason="the producer exports a different shape in the capsule",
            expected=source.view.shape,
            seen=tensor.shape,
        )
    if source.view.size and not source.start <= tensor.element0 < source.start + len(source.block):
        raise Refused(f"{exchange.producer.name} exports a copy of the array, with strides of its own")
    if not same_strides(tensor.shape, tensor.strides_or_packed, source.view.strides):
        missing = tensor.strides is None
        fail(
            Code.STRIDES_MISSING if missing else Code.STRIDES_CHANGED,
            "DLP-20",
            role=Role.PRODUCER,
            reason=f"the producer exports {'no' if missing else 'different'} strides in the capsule",
            expected=f"{source.view.strides} elements",
            seen="NULL (C-contiguous)" if missing else f"{tensor.strides} elements",
        )


@invariant(
    "layout.interface-strides",
    producer="CAI-11 CAI-02 CAI-12",
    context="X14",
    level=Level.MUST,
    cases=lambda env: chain(
        every(env.exports(Protocol.CAI), layout=layouts(*_all_layouts())),
        every(
            env.exports(Protocol.CAI),
            layout=layouts("stepped-permuted", "columns", "reversed-step", "broadcast-rows"),
            dtype=dtypes(*_WIDTHS),
        ),
    ),
)
def test_interface_strides(exchange: Exchange) -> None:
    """A producer must publish the shape of the view, and its strides in bytes unless the view is C-contiguous.

    A producer may also publish the strides of a C-contiguous array (X14).
    """
    source = exchange.source()
    described = exchange.dictionary_of(source)
    strides = described.get("strides")
    if described["shape"] != source.view.shape:
        fail(
            Code.SHAPE_CHANGED,
            "CAI-02",
            role=Role.PRODUCER,
            reason="the producer publishes a different shape",
            expected=source.view.shape,
            seen=described["shape"],
        )
    if strides is None and not source.view.contiguous:
        fail(
            Code.STRIDES_MISSING,
            "CAI-12",
            role=Role.PRODUCER,
            reason="the producer publishes no strides, though the array is not C-contiguous",
            expected=f"{source.strides} bytes",
            seen="None" if "strides" in described else "no such key",
        )
    if strides is not None and not same_strides(source.view.shape, strides, source.strides):
        fail(
            Code.STRIDES_CHANGED,
            "CAI-11",
            role=Role.PRODUCER,
            reason="the producer publishes different strides",
            expected=f"{source.strides} bytes",
            seen=f"{strides} bytes",
        )


@invariant(
    "layout.empty-export",
    producer="CAI-06 DLP-19 CAI-04",
    context="X7",
    bugs="I02 I03",
    level=Level.MUST,
    cases=lambda env: every(env.exports(), layout=layouts(*EMPTY)),
)
def test_empty_export(exchange: Exchange) -> None:
    """A producer must export an array without elements with address 0, however the array was made."""
    source = exchange.source()
    if exchange.protocol is Protocol.CAI:
        clause, seen = "CAI-06", exchange.dictionary_of(source)["data"][0]
    else:
        clause, seen = "DLP-19", exchange.decode(exchange.newest_capsule(source)).data
    if not isinstance(seen, int):
        fail(
            Code.DICTIONARY_MALFORMED, "CAI-04", role=Role.PRODUCER, reason="the producer publishes an address that is not an integer",
            expected="0", seen=repr(seen), given="data",
        )  # fmt: skip
    if seen != 0:
        fail(
            Code.ADDRESS_FOR_EMPTY, clause, role=Role.PRODUCER, reason="the producer exports an address for an array without elements",
            expected="0", seen=hex(seen),
        )  # fmt: skip


@invariant(
    "layout.unit-strides-export",
    producer="DLP-23 DLP-59 CAI-11",
    bugs="I05",
    level=Level.MUST,
    cases=lambda env: every(
        (p for p in env.exports() if p.producer.has(Trait.STRIDES)),
        layout=layouts("unit-dims", "unit-row", "unit-column"),
        stride=_makeable_strides,
    ),
)
def test_unit_strides_export(exchange: Exchange) -> None:
    """Strides of size-1 dimensions must not affect the export or the elements of an array."""
    plain = exchange.source()
    exchange.take(plain)
    strides = _with_odd_strides(plain, exchange.option("stride"))
    source = replace(plain, array=exchange.producer.restride(plain.array, strides))
    exchange.special(_MEANINGLESS)
    try:
        taken = exchange.take(source, promised="")
    except Refused as refusal:
        fail(
            Code.REFUSED,
            "DLP-23" if exchange.protocol is Protocol.DLPACK else "CAI-11",
            role=Role.PRODUCER,
            level=Level.SHOULD,
            reason=f"the producer refuses strides of {strides} bytes, although those of dimensions of size 1 have no effect",
            expected=f"an export, as with strides of {plain.strides} bytes",
            seen=refusal,
        )
    exchange.expect_shape(source, exchange.look(taken))
    exchange.expect_values(source, exchange.read(taken))


_MEANINGLESS = "an array with arbitrary strides in dimensions of size 0 or 1"


def _makeable_strides(pair: Pair) -> tuple[str, ...]:
    """Return an axis: the odd strides that the producer can give a dimension. Negative ones are left out: not every producer can make them."""
    whole = ("zero", "odd", "huge")
    return (*whole, "split") if pair.producer.has(Trait.BYTE_STRIDES) else whole


def _with_odd_strides(source: Source, name: str) -> tuple[int, ...]:
    """Return the source's strides in bytes, with an odd one in each dimension where it has no effect."""
    odd = 7 if name == "split" else ODD_STRIDES[name] * source.dtype.itemsize
    empty = source.view.size == 0
    return tuple(odd if extent < 2 or empty else s for extent, s in zip(source.view.shape, source.strides))


@invariant(
    "layout.partial-strides-export",
    producer="DLP-20 DLP-23 CAI-11",
    level=Level.MUST,
    cases=lambda env: every(p for p in env.exports() if p.producer.has(Trait.BYTE_STRIDES)),
)
def test_partial_strides_export(exchange: Exchange) -> None:
    """A producer must refuse strides that are not a multiple of the element size with ``BufferError`` over DLPack.

    Over the CUDA Array Interface it must publish them in bytes. A field of a structured array has such strides.
    """
    whole = exchange.source(form=_FOUR_OF_TWELVE)
    array = exchange.producer.restride(whole.array, (_PARTIAL,))
    if exchange.protocol is Protocol.CAI:
        seen = exchange.dictionary_of(replace(whole, array=array)).get("strides")
        if seen != (_PARTIAL,):
            fail(
                Code.STRIDES_CHANGED, "CAI-11", role=Role.PRODUCER, reason="the producer publishes different strides",
                expected=f"{(_PARTIAL,)} bytes", seen=f"{seen} bytes", given=_PARTIAL_STRIDES,
            )  # fmt: skip
        return
    offer = exchange.offer(array)
    exchange.expect_refusal(
        lambda: offer.__dlpack__(),
        "DLP-20",
        role=Role.PRODUCER,
        given=_PARTIAL_STRIDES,
        named=(BufferError,),
        class_clause="DLP-23",
        accepted=Code.INEXPRESSIBLE_EXPORTED,
    )


_FOUR_OF_TWELVE = Layout("four-of-twelve", (12,), (Index((slice(0, 4),)),))
_PARTIAL = 6
"""Bytes from one float32 to the next."""
_PARTIAL_STRIDES = "an array with strides that are no multiple of the element size"


# -- imports


def _expressible(*names: str) -> Callable[[Pair], tuple[str, ...]]:
    """Return an axis: the layouts out of ``names`` that the producer can make.

    Negative strides only for consumers that have such views; ``pointer.values`` covers the others.
    """
    return lambda pair: tuple(
        n for n in names if n in pair.source.layouts and (n not in NEGATIVE or n in pair.target.layouts)
    )


@invariant(
    "layout.import-strides",
    producer="DLP-20 DLP-59 CAI-11",
    consumer="DLP-58 CAI-32",
    bugs="I07",
    level=Level.MUST,
    cases=lambda env: every(
        filter(shows_one_library, env.pairs()),
        layout=_expressible("c-order", *STRIDED, *ZERO_STRIDE, *NEGATIVE, *PADDED[1:]),
    ),
)
def test_import_strides(exchange: Exchange) -> None:
    """A consumer must import the shape, strides and elements of the producer's array. Strides of size-1 dimensions do not count.

    A consumer without such layouts may copy the elements to another layout, but must not change the shape.
    """
    source = exchange.source()
    taken = exchange.take(source)
    exchange.expect_shape(source, exchange.look(taken))
    exchange.expect_values(source, exchange.read(taken))


@invariant(
    "layout.unit-strides-import",
    consumer="DLP-58 DLP-53 CAI-13 CAI-32",
    bugs="I05",
    level=Level.MUST,
    cases=lambda env: every(env.imports(), layout=layouts(*UNIT, "empty-rows"), stride=_statable_strides),
)
def test_unit_strides_import(exchange: Exchange) -> None:
    """Strides of size-1 dimensions, and all strides of an empty array, must not affect an import.

    The consumer must accept the array, read its elements and report its contiguity as with the usual strides.
    """
    plain = exchange.source()
    usual = exchange.take(plain, promised="")
    strides = _with_odd_strides(plain, exchange.option("stride"))
    in_elements = tuple(s // plain.dtype.itemsize for s in strides)
    source = exchange.crafted(override={"strides": in_elements}, cai_override={"strides": strides})
    exchange.special(_MEANINGLESS)
    try:
        taken = exchange.take(source, promised="")
    except Refused as refusal:
        fail(
            Code.REFUSED,
            _meaningless_strides(exchange, source),
            role=Role.CONSUMER,
            level=Level.SHOULD,
            reason=f"the consumer refuses strides of {strides} bytes for the shape {source.view.shape}",
            expected=f"an import, as with strides of {plain.strides} bytes",
            seen=refusal,
        )
    view = exchange.look(taken)
    exchange.expect_shape(source, view)
    exchange.expect_values(source, exchange.read(taken))
    if Trait.CONTIGUITY in exchange.consumer.traits:
        before, after = exchange.consumer.contiguous(usual), exchange.consumer.contiguous(taken)
        if before != after:
            _wrong_contiguity(
                exchange,
                source,
                "strides without effect change whether the consumer calls the array contiguous",
                before,
                after,
            )


def _statable_strides(pair: Pair) -> tuple[str, ...]:
    """Return an axis: the odd strides that the protocol can express."""
    return (*ODD_STRIDES, "split") if pair.protocol is Protocol.CAI else tuple(ODD_STRIDES)


def _meaningless_strides(exchange: Exchange, source: Source) -> str:
    """Return the clause which says that strides of dimensions of size 0 and 1 have no effect."""
    if exchange.protocol is Protocol.CAI:
        return "CAI-13"
    return "DLP-58" if source.view.size else "DLP-53"


def _wrong_contiguity(exchange: Exchange, source: Source, reason: str, expected: bool, seen: bool) -> NoReturn:
    words = {True: "C-contiguous", False: "not C-contiguous"}
    fail(
        Code.CONTIGUITY_WRONG, _meaningless_strides(exchange, source), role=Role.CONSUMER, level=Level.SHOULD, reason=reason,
        expected=words[expected], seen=words[seen],
    )  # fmt: skip


@invariant(
    "layout.contiguity",
    consumer="DLP-58 DLP-53 CAI-13",
    bugs="I05",
    level=Level.SHOULD,
    cases=lambda env: every(
        (p for p in env.pairs() if p.consumer.has(Trait.CONTIGUITY)),
        layout=layouts("c-order", "columns", "fortran", *UNIT, *EMPTY),
    ),
)
def test_contiguity(exchange: Exchange) -> None:
    """A consumer should report an import as C-contiguous exactly if the array is, also with dimensions of size 0 and 1."""
    source = exchange.source()
    taken = exchange.take(source, promised="")
    view = exchange.look(taken)
    exchange.expect_shape(source, view)
    if view.address != source.address and source.view.size:
        raise Refused(f"{exchange.consumer.name} copies the array to a layout of its own")
    seen = exchange.using(lambda: exchange.consumer.contiguous(taken), "asking whether the import is contiguous")
    if seen != source.view.contiguous:
        reason = "the consumer reports the wrong contiguity of the import"
        _wrong_contiguity(exchange, source, reason, source.view.contiguous, seen)


@invariant(
    "layout.null-strides",
    consumer="DLP-21 DLP-58",
    context="X5 DLP-20",
    bugs="I06",
    level=Level.MUST,
    cases=lambda env: every(
        env.imports(Protocol.DLPACK), layout=layouts(*PLAIN, "empty-rows"), capsule=("legacy", "1.0", "1.1")
    ),
)
def test_null_strides(exchange: Exchange) -> None:
    """A consumer must read a capsule without strides as row-major. Such a capsule is legal before DLPack 1.2."""
    plain = exchange.source()
    exchange.take(plain, promised="")
    name = exchange.option("capsule")
    newest = None if name == "legacy" else (1, int(name[-1]))
    source = exchange.crafted(override={"strides": None}, newest=newest)
    exchange.special("an array with NULL strides")
    taken = exchange.take(source, promised="DLP-21")
    if newest is not None:
        exchange.require_versioned(source)
    exchange.expect_shape(source, exchange.look(taken))
    exchange.expect_values(source, exchange.read(taken))


@invariant(
    "layout.stride-forms",
    consumer="CAI-10 CAI-13 CAI-32",
    bugs="I09",
    level=Level.MUST,
    cases=lambda env: every(
        env.dictionaries(), strides=tuple(_FORMS), layout=layouts("c-order", "vector", "cube", "rank-8", "scalar")
    ),
)
def test_stride_forms(exchange: Exchange) -> None:
    """A consumer must treat a missing ``strides`` key, ``None`` and the explicit strides of a C-contiguous array alike."""
    form = exchange.option("strides")
    source = _with_strides(exchange, form)
    exchange.special(_SPELLINGS[form])
    try:
        taken = exchange.take(source, promised="")
    except Refused as refusal:
        others = [name for name in _FORMS if name != form and _is_taken(exchange, name)]
        if others:
            fail(
                Code.REFUSED,
                "CAI-13" if form == "explicit" else "CAI-10",
                role=Role.CONSUMER,
                reason=f"the consumer refuses {_SPELLINGS[form]}, and accepts {_SPELLINGS[others[0]]}",
                expected="an import of both",
                seen=refusal,
            )
        raise
    exchange.expect_shape(source, exchange.look(taken))
    exchange.expect_values(source, exchange.read(taken))


_FORMS: dict[str, Callable[[Source], Any]] = {
    "missing": lambda source: REMOVED,
    "none": lambda source: None,
    "explicit": lambda source: source.strides,
}


_SPELLINGS = {
    "missing": "a dictionary without `strides`",
    "none": "`strides` of `None`",
    "explicit": "explicit strides of a C-contiguous array",
}


def _with_strides(exchange: Exchange, form: str) -> Source:
    source = exchange.crafted()
    source.array.cai_override = {"strides": _FORMS[form](source)}
    return source


def _is_taken(exchange: Exchange, form: str) -> bool:
    try:
        exchange.take(_with_strides(exchange, form), promised="")
    except Refused:
        return False
    return True


@invariant(
    "layout.partial-strides-import",
    consumer="CAI-32",
    level=Level.MUST,
    cases=lambda env: every(env.dictionaries()),
)
def test_partial_strides_import(exchange: Exchange) -> None:
    """A consumer must import strides that are not a multiple of the element size unchanged, or refuse them. It must not round them."""
    source = exchange.crafted(form=_FOUR_OF_TWELVE, cai_override={"strides": (_PARTIAL,)})
    exchange.special(_PARTIAL_STRIDES)
    view = exchange.look(exchange.take(source, promised=""))
    if (view.shape, view.strides) != (source.view.shape, (_PARTIAL,)):
        fail(
            Code.STRIDES_CHANGED,
            "CAI-32",
            role=Role.CONSUMER,
            reason="the consumer imports the array with different strides",
            expected=f"shape {source.view.shape}, strides {(_PARTIAL,)} bytes",
            seen=f"shape {view.shape}, strides {view.strides} bytes",
        )


# -- no dimensions, no elements


@invariant(
    "layout.zero-dimensional",
    producer="DLP-59 CAI-02 CAI-05",
    consumer="DLP-58 CAI-32",
    context="DLP-22",
    level=Level.MUST,
    cases=lambda env: every(env.pairs(), layout=layouts(*SCALAR), dtype=dtypes("float32", "complex128")),
)
def test_zero_dimensional(exchange: Exchange) -> None:
    """A consumer must import a 0-d array as a 0-d array with the same value."""
    source = exchange.source()
    taken = exchange.take(source)
    exchange.expect_shape(source, exchange.look(taken))
    exchange.expect_values(source, exchange.read(taken))


@invariant(
    "layout.zero-dimensional-null",
    consumer="DLP-22 DLP-52 DLP-58",
    bugs="I06",
    level=Level.MUST,
    cases=lambda env: every(
        env.imports(Protocol.DLPACK), capsule=("versioned", "legacy"), layout=("scalar",), shape=("null", "empty")
    ),
)
def test_zero_dimensional_null(exchange: Exchange) -> None:
    """A consumer must accept a capsule of a 0-d array with NULL strides, or with NULL shape and strides."""
    newest = None if exchange.option("capsule") == "legacy" else NEWEST
    exchange.take(exchange.crafted(newest=newest), promised="")
    nothing = None if exchange.option("shape") == "null" else ()
    source = exchange.crafted(newest=newest, override={"shape": nothing, "strides": None})
    exchange.special(f"a 0-d array with NULL {'strides' if nothing == () else 'shape and strides'}")
    taken = exchange.take(source, promised="DLP-22" if nothing == () else "DLP-52")
    if newest is not None:
        exchange.require_versioned(source)
    exchange.expect_shape(source, exchange.look(taken))
    exchange.expect_address(source, exchange.look(taken), copying=Level.OBSERVED)
    exchange.expect_values(source, exchange.read(taken))


@invariant(
    "layout.empty-import",
    producer="DLP-59 CAI-02 CAI-03",
    consumer="DLP-19 CAI-07 DLP-58 DLP-42 CAI-32",
    bugs="I03",
    level=Level.MUST,
    cases=lambda env: every(env.pairs(), layout=layouts(*EMPTY), dtype=dtypes("float32", "uint8")),
)
def test_empty_import(exchange: Exchange) -> None:
    """A consumer must import an array without elements if it imports one with elements.

    The import must keep the shape, the element type and the device.
    """
    with exchange.control(described(kind=exchange.dtype.name)):
        exchange.take(exchange.source(form=layout("c-order")), promised="")
    source = exchange.source()
    offer = exchange.offer(source)
    try:
        taken = exchange.take(offer, promised="")
    except Refused as refusal:
        if offer.raised is not None:
            raise
        _fail_refused_empty(exchange, refusal)
    _expect_empty(exchange, source, taken)


def _fail_refused_empty(exchange: Exchange, refusal: Refused) -> NoReturn:
    """Fail because the consumer refuses arrays without elements, or only those with this form of dictionary."""
    strides = exchange.protocol is Protocol.CAI and exchange.handed is not None and exchange.handed.are_strides_told
    by_strides = strides and _takes_empty(exchange, "no-strides") and not _takes_empty(exchange, "strides")
    fail(
        Code.REFUSED, _EMPTIES[exchange.protocol], role=Role.CONSUMER, reason="the consumer refuses an array without elements",
        expected="the array is exchanged", seen=refusal, given=_EMPTY_SPELLINGS["strides"] if by_strides else None,
        accused=Side.CONSUMER if by_strides else None,
    )  # fmt: skip


_EMPTIES = {Protocol.DLPACK: "DLP-19", Protocol.CAI: "CAI-07"}


def _expect_empty(exchange: Exchange, source: Source, taken: Any) -> None:
    view = exchange.look(taken)
    exchange.expect_shape(source, view)
    exchange.expect_type(source, view)
    device = (exchange.device.dlpack_type, 0)
    if view.device not in (None, device):
        fail(
            Code.WRONG_DEVICE,
            "DLP-42" if exchange.protocol is Protocol.DLPACK else "CAI-32",
            role=Role.CONSUMER,
            reason="the consumer imports the array on a different device",
            expected=f"device {device}",
            seen=f"device {view.device}",
        )
    exchange.expect_values(source, exchange.read(taken))


@invariant(
    "layout.empty-spelling",
    consumer="DLP-19 CAI-07 DLP-58 DLP-42 CAI-32",
    context="X7",
    bugs="I03 I05",
    level=Level.MUST,
    cases=lambda env: every(
        env.imports(), layout=layouts("empty", "empty-rows", "empty-columns"), spelling=_empty_spellings
    ),
)
def test_empty_spelling(exchange: Exchange) -> None:
    """A consumer must accept an array without elements with a NULL or a valid pointer, and with strides or without."""
    spelling = exchange.option("spelling")
    if spelling in _EMPTY_SPELLINGS and _takes_empty(exchange, _USUAL[exchange.protocol]):
        exchange.special(_EMPTY_SPELLINGS[spelling])
    source = _spelt(exchange, spelling)
    taken = exchange.take(source, promised=_EMPTIES[exchange.protocol])
    _expect_empty(exchange, source, taken)


def _spelt(exchange: Exchange, spelling: str) -> Source:
    """Return an array of the reference without elements, described in this form."""
    source = exchange.make(exchange.library(REFERENCE))
    source.array.override = {"data": source.start if spelling == "valid-pointer" else 0}
    source.array.cai_override = {"strides": source.strides if spelling == "strides" else None}
    return source


def _takes_empty(exchange: Exchange, spelling: str) -> bool:
    """Return whether the consumer accepts an array of the reference in this form."""
    offer = exchange.library(REFERENCE).offer(_spelt(exchange, spelling).array, exchange.protocol)
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            exchange.consumer.take(offer, exchange.protocol, exchange.device)
    except Exception as error:
        exchange.check_context(error)
        return False
    return True


_USUAL = {Protocol.DLPACK: "null-pointer", Protocol.CAI: "no-strides"}
_EMPTY_SPELLINGS = {
    "valid-pointer": "an array without elements at a valid pointer",
    "strides": "an array without elements at address 0 with explicit strides",
}
"""Names of the forms that a consumer may refuse although it accepts the usual one."""


def _empty_spellings(pair: Pair) -> tuple[str, ...]:
    """Return an axis: the forms of the protocol. The CUDA Array Interface fixes the pointer (CAI-06), and DLPack requires the strides."""
    return ("null-pointer", "valid-pointer") if pair.protocol is Protocol.DLPACK else ("no-strides", "strides")


# -- large numbers


@invariant(
    "layout.rank",
    producer="DLP-59 DLP-20 CAI-11",
    consumer="DLP-58 CAI-32",
    bugs="I07",
    level=Level.MUST,
    cases=lambda env: every(env.pairs(), layout=layouts(*(n for n in HIGH_RANK if n != "rank-65"))),
)
def test_rank(exchange: Exchange) -> None:
    """A consumer must import an array of many dimensions unchanged, or refuse it. Each library has its own limit."""
    source = exchange.source()
    taken = exchange.take(source)
    exchange.expect_shape(source, exchange.look(taken))
    exchange.expect_values(source, exchange.read(taken))


@invariant(
    "layout.rank-beyond-limits",
    consumer="DLP-58 CAI-32",
    bugs="I07",
    level=Level.MUST,
    cases=lambda env: every(env.imports(), layout=("rank-65",)),
)
def test_rank_beyond_limits(exchange: Exchange) -> None:
    """A consumer must import an array of 65 dimensions unchanged or refuse it, and must not crash.

    No library supports that many dimensions today.
    """
    test_rank(exchange)


@invariant(
    "layout.beyond-2gib",
    consumer="DLP-58 CAI-32",
    level=Level.MUST,
    cases=lambda env: (replace(draft, tier=Tier.FULL) for draft in every(env.imports(), reach=tuple(_LARGE))),
)
def test_beyond_2gib(exchange: Exchange) -> None:
    """A consumer must read the first and the last element of an array that are more than 2**31 elements or bytes apart."""
    reference = exchange.producer
    assert isinstance(reference, ReferenceAdapter)
    kind, view = _LARGE[exchange.option("reach")]
    try:
        array = reference.reserved(kind, view, exchange.device)
    except (OSError, MemoryError, CudaError) as error:
        raise Inconclusive(f"not enough memory for {span(view)[1] * kind.itemsize} bytes: {brief(error)}") from error
    source = Source(array, kind, view, array.element0(), b"")
    first, last = _mark_ends(exchange, source)
    exchange.special(_LARGE_INPUTS[exchange.option("reach")])
    taken = exchange.take(source, promised="")
    exchange.expect_shape(source, exchange.look(taken))
    exchange.expect_address(source, exchange.look(taken), copying=None if view.contiguous else Level.OBSERVED)
    seen = exchange.using(lambda: exchange.consumer.last(taken), "reading the last element")
    _expect_end(exchange, "last", last, seen)
    _expect_end(exchange, "first", first, exchange.peek(exchange.look(taken).address, kind.itemsize))


def _expect_end(exchange: Exchange, which: str, wanted: bytes, seen: bytes) -> None:
    if seen != wanted:
        fail(
            Code.VALUES_CHANGED, exchange.reading(), role=Role.CONSUMER, reason=f"the consumer reads a different {which} element than the producer's",
            expected=f"bytes {wanted.hex()}", seen=f"bytes {seen.hex()}",
        )  # fmt: skip


_BEYOND = 2**31 + 64
_LARGE: dict[str, tuple[DType, Strided]] = {
    "elements": (dtype("uint8"), packed((_BEYOND,))),
    "stride": (dtype("uint8"), Strided((2, 2), (_BEYOND, 1))),
}
"""Large by the number of elements, and large by a stride between few elements."""
_LARGE_INPUTS = {"elements": "an array of more than 2**31 elements", "stride": "an array with a stride above 2**31"}


def _mark_ends(exchange: Exchange, source: Source) -> tuple[bytes, bytes]:
    """Write different values to the first and the last element, and return them."""
    size = source.dtype.itemsize
    first, last = (bytes([number] * size) for number in (0x11, 0x22))
    exchange.poke(source.address, first)
    exchange.poke(source.address + (span(source.view)[1] - 1) * size, last)
    return first, last


# -- refusals


@invariant(
    "layout.refusal-says-why",
    context="G6",
    level=Level.OBSERVED,
    cases=lambda env: every(
        env.imports(),
        layout=layouts("fortran", "columns", "stepped-permuted", "broadcast-rows", "scalar", "empty-rows", "rank-64"),
    ),
)
def test_refusal_says_why(exchange: Exchange) -> None:
    """The suite records whether a consumer that refuses a layout raises an exception with a message."""
    offer = exchange.offer(exchange.source())
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            exchange.consumer.take(offer, exchange.protocol, exchange.device)
    except Exception as error:
        exchange.check_context(error)
        if not text_of(error).strip():
            fail(
                Code.REFUSAL_WITHOUT_REASON, "G6", role=Role.CONSUMER, reason="the consumer refuses without a message",
                expected="a message", seen=brief(error),
            )  # fmt: skip


@invariant(
    "layout.impossible",
    consumer="DLP-58 DLP-45",
    context="G6",
    bugs="I07",
    level=Level.MUST,
    isolation=Isolation.RISKY,
    cases=lambda env: every(env.imports(Protocol.DLPACK), capsule=tuple(_IMPOSSIBLE)),
)
def test_impossible(exchange: Exchange) -> None:
    """A consumer must refuse a capsule with impossible numbers or report them unchanged, and must not crash.

    The protocol does not allow such capsules, so every failure counts as robustness.
    """
    given, override = _IMPOSSIBLE[exchange.option("capsule")]
    source = exchange.crafted(override=override)
    exchange.illegal(given)
    view = exchange.look(exchange.take(source, promised=""))
    shape = override.get("shape", source.view.shape)
    strides = override.get("strides", source.view.strides)
    sensible = min(shape) >= 0 and "ndim" not in override
    if not sensible or view.shape != shape or not _same_modulo(view.strides, strides, source.dtype.itemsize):
        fail(
            Code.ILLEGAL_ACCEPTED,
            "DLP-58",
            role=Role.CONSUMER,
            reason=f"the consumer accepts {given}",
            expected="a refusal" if not sensible else f"a refusal, or shape {shape} with strides of {strides} elements",
            seen=f"shape {view.shape}, strides {view.strides} bytes",
        )


def _same_modulo(seen: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    """Return whether strides in bytes lead to the same addresses. Addresses wrap at 64 bits, and so may the strides."""
    return len(seen) == len(strides) and all((a - b * itemsize) % 2**64 == 0 for a, b in zip(seen, strides))


_IMPOSSIBLE: dict[str, tuple[str, dict[str, Any]]] = {
    "negative-extent": ("a negative extent", {"shape": (3, -4)}),
    "negative-rank": ("an array of negative rank", {"ndim": -1}),
    "elements-overflow": ("more elements than 64 bits can count", {"shape": (2**32, 2**32), "strides": (0, 0)}),
    "stride-overflow": ("an array with a stride of more bytes than 64 bits can count", {"strides": (2**61, 1)}),
}
"""By name: a description, and the changed fields of a float32 capsule."""


# -- padded rows


@invariant(
    "layout.padded-rows",
    producer="DLP-59 DLP-20 CAI-05 CAI-11",
    consumer="DLP-58 CAI-32",
    bugs="I07",
    level=Level.MUST,
    cases=lambda env: every(
        (p for p in env.pairs() if p.producer.has(Trait.PITCHED)), dtype=dtypes("uint8", "float32", "int16")
    ),
)
def test_padded_rows(exchange: Exchange) -> None:
    """A consumer must import the rows of a padded image without the padding. It must not read the padding as elements."""
    array = exchange.producer.pitched(exchange.dtype, _IMAGE, exchange.device)
    described = exchange.producer.describe(array)
    view = Strided(described.shape, tuple(s // exchange.dtype.itemsize for s in described.strides))
    if view.contiguous:
        raise Inconclusive(f"{exchange.producer.name} did not pad rows of shape {_IMAGE}")
    block = pattern(exchange.dtype, span(view)[1])
    exchange.poke(described.address, block)
    source = Source(array, exchange.dtype, view, described.address, block)
    exchange.special("padded rows")
    taken = exchange.take(source, promised="")
    exchange.expect_shape(source, exchange.look(taken))
    exchange.expect_values(source, exchange.read(taken))


_IMAGE = (4, 5, 3)
"""Height, width and channels: rows of 15 elements, which a library pads to a round number of bytes."""
