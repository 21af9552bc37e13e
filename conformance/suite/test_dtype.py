"""Family ``dtype``: element types, which both sides must understand in the same way or refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conformance.adapters.base import Protocol
from conformance.adapters.numpy import AN_ARRAY_OF_FOREIGN_ORDER, FOREIGN_ORDER
from conformance.adapters.special import named
from conformance.checks.catalogue import dtypes, every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import UNCLEAN, Exchange, Source, brief, show
from conformance.checks.export_outcomes import REFUSED_STATE
from conformance.checks.input_words import described
from conformance.checks.libraries import Pair, shows_one_library
from conformance.checks.outcomes import Refused, Side, fail
from conformance.checks.patterns import first_elements, unpacked
from conformance.checks.steps import Doing
from conformance.checks.type_names import expect_name, expect_typestr, says, truly, type_changed
from conformance.protocols import cai
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import DLFlags
from conformance.protocols.dtypes import NARROW, NATIVE_ORDER, DLCode, DType, dtype, is_raw
from conformance.protocols.strided import packed

# -- every element type


@invariant(
    "dtype.exchange",
    producer="DLP-13 DLP-46 DLP-59 CAI-03 CAI-05",
    consumer="DLP-58 DLP-46 DLP-43 CAI-32",
    context="G4",
    bugs="I10 I31",
    level=Level.MUST,
    cases=lambda env: every(filter(shows_one_library, env.pairs()), dtype=dtypes()),
)
def test_exchange(exchange: Exchange) -> None:
    """A consumer must report the element type that the producer declares, with the same bits, or refuse the array.

    Another type of the same width with unchanged bytes is a deviation. For a type without a letter in the CUDA Array Interface (bfloat16,
    8-bit floats) raw bytes are correct, and another number type is not. The consumer must not copy one type if it shares others.
    """
    source = exchange.source()
    taken = exchange.take(source)
    view = exchange.look(taken)
    expect_typestr(exchange, source.dtype)
    expect_name(exchange, source, taken, view.dtype)
    exchange.expect_values(source, exchange.read(taken))
    exchange.expect_address(source, view)


@invariant(
    "dtype.self-import",
    producer="DLP-13 DLP-46 CAI-03",
    consumer="DLP-41 DLP-46 DLP-58 CAI-32",
    bugs="I10",
    level=Level.MUST,
    cases=lambda env: every(
        (pair for pair in env.pairs() if pair.producer.name == pair.consumer.name), dtype=_with_a_name
    ),
)
def test_self_import(exchange: Exchange) -> None:
    """A library must import every element type that it exports.

    Only the types of the array API standard are promised. A refusal of another type is a deviation.
    """
    source = exchange.source()
    offer = exchange.offer(source)
    try:
        taken = exchange.take(offer, promised=exchange.promises())
    except Refused as refusal:
        if offer.raised is not None or exchange.is_unreadable:
            raise
        fail(
            Code.REFUSED,
            "DLP-41" if exchange.protocol is Protocol.DLPACK else "CAI-32",
            role=Role.CONSUMER,
            level=Level.SHOULD,
            reason="the library refuses an element type that it exports itself",
            expected=f"its own {source.dtype.name}",
            seen=refusal,
            accused=Side.CONSUMER,
        )
    expect_name(exchange, source, taken, exchange.look(taken).dtype)


def _with_a_name(pair: Pair) -> tuple[str, ...]:
    """Return the producer's element types that the protocol can express."""
    return tuple(n for n in pair.source.dtypes if pair.protocol is Protocol.DLPACK or dtype(n).kind is not None)


# -- exports


@invariant(
    "dtype.export",
    producer="DLP-13",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), capsule=("newest", "plain"), dtype=dtypes()),
)
def test_export(exchange: Exchange) -> None:
    """A producer must describe an element type by the code, the bits and the single lane that dlpack.h defines for it."""
    source = exchange.source()
    newest = exchange.option("capsule") == "newest"
    tensor = exchange.decode(exchange.newest_capsule(source) if newest else exchange.capsule_of(source))
    wanted = (int(source.dtype.code), source.dtype.bits, 1)
    if (tensor.code, tensor.bits, tensor.lanes) != wanted:
        fail(
            Code.DTYPE_CHANGED,
            "DLP-13",
            role=Role.PRODUCER,
            reason=f"the producer exports {source.dtype.name} as a different element type",
            expected="code {}, bits {}, lanes {}".format(*wanted),
            seen=f"code {tensor.code}, bits {tensor.bits}, lanes {tensor.lanes}",
        )


@invariant(
    "dtype.typestr",
    producer="CAI-03 CAI-14 CAI-01 PY-01",
    context="G4",
    bugs="I10",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.CAI), dtype=dtypes()),
)
def test_typestr(exchange: Exchange) -> None:
    """A producer must describe the element type by NumPy's type string, and ``descr``, if present, must have the same width.

    A type without a letter in NumPy's grammar must not have the type string of another type. Raw bytes are correct for a bfloat16,
    and ``<f2`` is not.
    """
    source = exchange.source()
    described = exchange.dictionary_of(source)
    for problem in cai.problems(described):
        if problem.key in ("(the whole)", "typestr", "descr"):
            fail(
                Code.DICTIONARY_MALFORMED,
                problem.clause,
                role=Role.PRODUCER,
                reason=f"the dictionary's {problem.key} is malformed",
                expected=problem.expected,
                seen=problem.seen,
                given="__cuda_array_interface__" if problem.key == "(the whole)" else problem.key,
            )
    typestr = described["typestr"]
    if not says(typestr, source.dtype):
        fail(
            Code.DTYPE_CHANGED,
            "CAI-03",
            role=Role.PRODUCER,
            reason=f"the producer publishes {source.dtype.name} as a different element type",
            expected=truly(source.dtype),
            seen=typestr,
        )


# -- elements that no number type of DLPack describes


@invariant(
    "dtype.unsupported-export",
    producer="DLP-23 DLP-12",
    context="DLP-56",
    bugs="I11 I25",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), elements=lambda pair: pair.source.foreign),
)
def test_unsupported_export(exchange: Exchange) -> None:
    """A producer must refuse to export elements that DLPack cannot express, with ``BufferError``.

    A producer may export a rare type that DLPack does define. It may export an integer narrower than a byte as the whole byte that
    stores it.
    """
    name = exchange.option("elements")
    foreign = named(exchange.producer.foreign, name)
    exchange.special(foreign.given or f"{name} elements")
    array = _made(exchange, lambda: foreign.build(exchange.producer))
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            exported = exchange.producer.exporter(array, Protocol.DLPACK).__dlpack__()
    except BufferError:
        return
    except Exception as error:
        unclean = isinstance(error, UNCLEAN)
        fail(
            Code.DEFECT_EXCEPTION if unclean else Code.WRONG_EXCEPTION,
            "DLP-23",
            role=Role.PRODUCER,
            reason=f"the producer refuses {name} elements with the wrong kind of exception",
            expected="BufferError",
            seen=brief(error),
            given=type(error).__name__ if unclean else REFUSED_STATE,
        )
    tensor = exchange.decode(exported)
    if (tensor.code, tensor.bits) not in foreign.words:
        fail(
            Code.DTYPE_CHANGED if foreign.words else Code.INEXPRESSIBLE_EXPORTED,
            foreign.clause,
            role=Role.PRODUCER,
            reason=f"the producer exports {name} elements as a different element type",
            expected=" or ".join(["BufferError", *(f"code {int(c)}, bits {b}" for c, b in foreign.words)]),
            seen=f"code {tensor.code}, bits {tensor.bits}, lanes {tensor.lanes}",
        )


def _made(exchange: Exchange, build: Callable[[], Any]) -> Any:
    """Return the array that ``build`` makes; end the case as refused if the library has no such arrays."""
    try:
        return build()
    except Exception as error:
        raise Refused(
            f"{exchange.producer.name} has no array of {exchange.option('elements')}: {brief(error)}"
        ) from error


# -- narrower than a byte


@invariant(
    "dtype.sub-byte-export",
    producer="DLP-11 DLP-13",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), elements=lambda pair: pair.source.narrow),
)
def test_sub_byte_export(exchange: Exchange) -> None:
    """A producer must export a 4- or 6-bit float with its own number of bits, and pack the elements unless the padded flag is set."""
    kind = NARROW[exchange.option("elements")]
    data = first_elements(kind)
    array = _made(exchange, lambda: exchange.producer.narrow(kind, data, exchange.device))
    exchange.special(f"{kind.name} elements")
    tensor = exchange.decode(exchange.newest_capsule(Source(array, dtype("uint8"), packed((len(data),)), 0, data)))
    if (tensor.code, tensor.bits) != (kind.code, kind.bits):
        fail(
            Code.DTYPE_CHANGED,
            "DLP-13",
            role=Role.PRODUCER,
            reason=f"the producer exports {kind.name} as a different element type",
            expected=f"code {int(kind.code)}, bits {kind.bits}",
            seen=f"code {tensor.code}, bits {tensor.bits}",
        )
    padded = bool((tensor.flags or 0) & DLFlags.SUBBYTE_PADDED)
    wanted = unpacked(data, kind.bits) if padded else data
    seen = exchange.peek(tensor.element0, len(wanted))
    if seen != wanted:
        fail(
            Code.VALUES_CHANGED,
            "DLP-11",
            role=Role.PRODUCER,
            reason=f"the {kind.bits}-bit elements are not stored as the capsule describes",
            expected=show(wanted, dtype("uint8")),
            seen=show(seen, dtype("uint8")),
        )


_NARROW = {
    "float4": (DLCode.FLOAT4_E2M1FN, 4, 1),
    "float4-pairs": (DLCode.FLOAT4_E2M1FN, 4, 2),
    "float6-e2m3": (DLCode.FLOAT6_E2M3FN, 6, 1),
    "float6-e3m2": (DLCode.FLOAT6_E3M2FN, 6, 1),
    "float4-in-8-bits": (DLCode.FLOAT4_E2M1FN, 8, 1),
    "float6-e2m3-in-8-bits": (DLCode.FLOAT6_E2M3FN, 8, 1),
    "float6-e3m2-in-8-bits": (DLCode.FLOAT6_E3M2FN, 8, 1),
}


@invariant(
    "dtype.sub-byte-import",
    consumer="DLP-11",
    bugs="I10",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), elements=tuple(_NARROW)),
)
def test_sub_byte_import(exchange: Exchange) -> None:
    """A consumer must refuse a 4- or 6-bit float type that declares 8 bits.

    With the right number of bits the consumer must read the elements as that type, or refuse them.
    """
    code, bits, lanes = _NARROW[exchange.option("elements")]
    count = 8 // lanes
    source = exchange.crafted(
        kind=dtype("uint8"), override={"code": code, "bits": bits, "lanes": lanes, "shape": (count,), "strides": (1,)}
    )
    _expect_control(exchange, dtype("uint8"))
    exchange.special("a 4- or 6-bit float with 8 bits" if bits == 8 else "a 4- or 6-bit float")
    taken = _taken(exchange, source)
    if taken is None:
        return
    name = exchange.look(taken).dtype
    packed_bytes = source.block[: 8 * bits // 8]
    understood = bits < 8 and str(name).startswith(code.name.lower())
    seen = exchange.read(taken) if understood else b""
    if not understood or seen not in (packed_bytes, unpacked(packed_bytes, bits)):
        fail(
            Code.NOT_REFUSED if bits == 8 else Code.VALUES_CHANGED if understood else Code.DTYPE_CHANGED,
            "DLP-11",
            role=Role.CONSUMER,
            reason=f"the consumer reads a capsule with code {int(code)}, bits {bits}, lanes {lanes} as another type or other elements",
            expected="a refusal"
            if bits == 8
            else f"{code.name.lower()} of the bytes {packed_bytes.hex()}, unpacked or packed, or a refusal",
            seen=f"{name} of the bytes {seen.hex()}" if understood else name,
        )


# -- capsules that a consumer may refuse


@invariant(
    "dtype.lanes",
    consumer="DLP-58 DLP-14",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), lanes=("2", "4"), dtype=("float32", "uint8")),
)
def test_lanes(exchange: Exchange) -> None:
    """A consumer must import vector elements with all their lanes or refuse them. It must not read each as one scalar."""
    lanes = int(exchange.option("lanes"))
    _expect_control(exchange, exchange.dtype)
    rows, columns = exchange.layout.base
    vectors = columns // lanes
    exchange.special("vector elements")
    source = exchange.crafted(override={"lanes": lanes, "shape": (rows, vectors), "strides": (vectors, 1)})
    taken = _taken(exchange, source)
    if taken is None:
        return
    seen = exchange.read(taken)
    if seen != source.block:
        fail(
            Code.VALUES_CHANGED,
            "DLP-58",
            role=Role.CONSUMER,
            reason="the consumer reads vector elements as scalars",
            expected=f"{rows * vectors} elements of {lanes} lanes, {show(source.block, source.dtype)}, or a refusal",
            seen=f"{show(seen, source.dtype)}, reported as {exchange.look(taken).dtype}",
        )


@dataclass(frozen=True)
class Unknown:
    """A type code and a width that no element type of the array API has.

    ``illegal`` is true if DLPack does not allow the width for the code (DLP-13). ``name`` is the name in a consumer that supports the type.
    """

    code: int
    bits: int
    illegal: bool = False
    name: str = ""


_UNKNOWN: dict[str, Unknown] = {
    "code-200": Unknown(200, 32),
    "code-99": Unknown(99, 8),
    "opaque-64": Unknown(DLCode.OPAQUE, 64),
    "float-24": Unknown(DLCode.FLOAT, 24),
    "float-8": Unknown(DLCode.FLOAT, 8),
    "float-0": Unknown(DLCode.FLOAT, 0, illegal=True),
    "float-128": Unknown(DLCode.FLOAT, 128, name="float128"),
    "bfloat-32": Unknown(DLCode.BFLOAT, 32, illegal=True),
    "complex-16": Unknown(DLCode.COMPLEX, 16),
    "int-4": Unknown(DLCode.INT, 4, name="int4"),
    "int-24": Unknown(DLCode.INT, 24),
    "int-128": Unknown(DLCode.INT, 128, name="int128"),
    "uint-1": Unknown(DLCode.UINT, 1, name="uint1"),
    "bool-1": Unknown(DLCode.BOOL, 1, illegal=True),
    "bool-32": Unknown(DLCode.BOOL, 32, illegal=True),
    "float8-e5m2-16": Unknown(DLCode.FLOAT8_E5M2, 16, illegal=True),
}
_LATE_CODES = ("code-200", "code-99", "opaque-64")
"""The entries with a type code that a consumer does not know. It must refuse them (DLP-05)."""


@invariant(
    "dtype.unknown",
    consumer="DLP-58 DLP-05",
    context="DLP-13",
    bugs="I10",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), elements=tuple(_UNKNOWN)),
)
def test_unknown(exchange: Exchange) -> None:
    """A consumer must refuse a type code that it does not know, and a width that it does not support for the code.

    A width that DLPack forbids is illegal input, so a wrong import of it counts as robustness.
    """
    elements = exchange.option("elements")
    unknown = _UNKNOWN[elements]
    kind = dtype("complex128" if unknown.bits > 64 else "float64")
    _expect_control(exchange, kind)
    (exchange.illegal if unknown.illegal else exchange.special)(_in_words(elements, unknown))
    source = exchange.crafted(kind=kind, override={"code": unknown.code, "bits": unknown.bits})
    taken = _taken(exchange, source)
    if taken is None:
        return
    name = exchange.look(taken).dtype
    if name is None or name != unknown.name:
        bytes_of_all = source.view.size * unknown.bits // 8
        intact = unknown.bits % 8 == 0 and exchange.read(taken) == source.values[:bytes_of_all]
        fail(
            Code.NOT_REFUSED if elements in _LATE_CODES else Code.DTYPE_CHANGED,
            "DLP-05" if elements in _LATE_CODES else "DLP-58",
            role=Role.CONSUMER,
            level=Level.SHOULD if intact else None,
            reason=f"the consumer reads {exchange.given} as another type"
            + (", with unchanged bytes" if intact else ""),
            expected=f"{unknown.name}, or a refusal" if unknown.name else "a refusal",
            seen=name or "elements of a type that it does not report",
        )


def _in_words(elements: str, unknown: Unknown) -> str:
    if elements in _LATE_CODES:
        return f"elements of type code {int(unknown.code)}"
    family, _, bits = elements.rpartition("-")
    return f"{family} elements of {bits} bits"


# -- dictionaries that a consumer may refuse


@invariant(
    "dtype.foreign-order",
    consumer="CAI-32",
    bugs="I11",
    level=Level.MUST,
    cases=lambda env: every(env.dictionaries(), dtype=("float32", "int16", "uint64", "complex64")),
)
def test_foreign_order(exchange: Exchange) -> None:
    """A consumer must keep the values of elements in foreign byte order, or refuse them. It must not read them as native."""
    kind = exchange.dtype
    _expect_control(exchange, kind)
    typestr = f"{FOREIGN_ORDER}{kind.kind}{kind.itemsize}"
    exchange.special(AN_ARRAY_OF_FOREIGN_ORDER)
    source = exchange.crafted(cai_override={"typestr": typestr})
    taken = _taken(exchange, source)
    if taken is None:
        return
    name, seen = exchange.look(taken).dtype, exchange.read(taken)
    if name not in (typestr, kind.name):
        type_changed(exchange, typestr, str(name), intact=seen == source.values)
    wanted = source.values if name == typestr else _swapped(source.values, kind)
    exchange.expect_values(source, seen, expected=wanted)


def _swapped(data: bytes, kind: DType) -> bytes:
    """Return the same numbers in the other byte order; the two parts of a complex number are swapped separately."""
    size = kind.itemsize // 2 if kind.code is DLCode.COMPLEX else kind.itemsize
    return b"".join(data[i : i + size][::-1] for i in range(0, len(data), size))


_RECORDS = {
    "packed": [("a", f"{NATIVE_ORDER}f4"), ("b", f"{NATIVE_ORDER}i4")],
    "padded": [("a", "|u1"), ("", "|V3"), ("b", f"{NATIVE_ORDER}f4")],
}
"""Structured types of 8 bytes; the padding of the second puts ``b`` at byte 4."""
_OFFSETS = {"packed": {"a": 0, "b": 4}, "padded": {"a": 0, "b": 4}}


@invariant(
    "dtype.structured",
    consumer="CAI-32",
    context="CAI-14",
    bugs="I11",
    level=Level.MUST,
    cases=lambda env: every(env.dictionaries(), fields=tuple(_RECORDS)),
)
def test_structured(exchange: Exchange) -> None:
    """A consumer must keep the bytes of structured elements, or refuse them. It must not read them as numbers.

    A consumer need not read ``descr``, so the suite only records raw bytes in place of fields. Fields, if read, must be at their offsets.
    """
    fields = exchange.option("fields")
    _expect_control(exchange, dtype("uint64"))
    exchange.special("elements of a structured type")
    source = exchange.crafted(kind=dtype("uint64"), cai_override={"typestr": "|V8", "descr": _RECORDS[fields]})
    taken = _taken(exchange, source)
    if taken is None:
        return
    name, seen = str(exchange.look(taken).dtype), exchange.read(taken)
    if not is_raw(name):
        type_changed(exchange, "8 raw bytes", name, intact=seen == source.values)
    exchange.expect_values(source, seen)
    found = getattr(getattr(taken, "dtype", None), "fields", None)
    offsets = {k: v[1] for k, v in found.items() if k in _OFFSETS[fields]} if found else None
    if offsets is None:
        fail(
            Code.FIELDS_LOST,
            "CAI-32",
            role=Role.CONSUMER,
            level=Level.OBSERVED,
            reason="the consumer does not read the fields of ``descr``",
            expected=f"fields at bytes {_OFFSETS[fields]}",
            seen="no fields",
        )
    if offsets != _OFFSETS[fields]:
        fail(
            Code.DTYPE_CHANGED,
            "CAI-32",
            role=Role.CONSUMER,
            reason="the consumer reads the fields of ``descr`` at wrong offsets",
            expected=f"fields at bytes {_OFFSETS[fields]}",
            seen=f"fields at bytes {offsets}",
        )


_SPECIAL: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "datetime64": (f"{NATIVE_ORDER}M8[s]", "uint64", ("datetime64[s]",)),
    "timedelta64": (f"{NATIVE_ORDER}m8[s]", "uint64", ("timedelta64[s]",)),
    "bytes": ("|S8", "uint64", ("bytes64",)),
    "unicode": (f"{NATIVE_ORDER}U2", "uint64", ("str64",)),
    "void": ("|V8", "uint64", ()),
    "object": ("|O8", "uint64", ("object",)),
    "bit-field": ("|t8", "uint8", ()),
    "longdouble": (f"{NATIVE_ORDER}f16", "complex128", ("float128", "longdouble")),
    "half-complex": (f"{NATIVE_ORDER}c4", "uint32", ("complex32",)),
    "24-bit": (f"{NATIVE_ORDER}i3", "uint32", ()),
}
"""By name: the type string, a type of at least that width to fill the memory, and the names in a consumer that supports the type."""


@invariant(
    "dtype.special-typestr",
    consumer="CAI-32",
    bugs="I11",
    level=Level.MUST,
    cases=lambda env: every(env.dictionaries(), elements=tuple(_SPECIAL)),
)
def test_special_typestr(exchange: Exchange) -> None:
    """A consumer must import elements that are not numbers, or have an unusual width, as their own type, or refuse them."""
    elements = exchange.option("elements")
    typestr, kind, names = _SPECIAL[elements]
    _expect_control(exchange, dtype(kind))
    exchange.special(f"{elements} elements")
    source = exchange.crafted(kind=dtype(kind), cai_override={"typestr": typestr})
    taken = _taken(exchange, source)
    if taken is None:
        return
    name = str(exchange.look(taken).dtype)
    if name not in names and not is_raw(name):
        described = source.values[: source.view.size * cai.typestr_bytes(typestr)]
        wanted = f"{' or '.join((*names, 'raw bytes'))}, or a refusal"
        seen = f"{name} from typestr {typestr!r}"
        type_changed(exchange, wanted, seen, intact=exchange.read(taken) == described)


# -- refusals


def _expect_control(exchange: Exchange, kind: DType) -> None:
    """End the case unless the consumer takes a plain array: otherwise a refusal of the special one proves nothing."""
    with exchange.control(described(kind=kind.name)):
        exchange.take(exchange.source(kind=kind), promised="")


def _taken(exchange: Exchange, source: Source) -> Any | None:
    """Return the consumer's import of the reference's array, or ``None`` if it refuses the array cleanly."""
    offer = exchange.offer(source)
    try:
        return exchange.take(offer, promised="")
    except Refused:
        if offer.raised is not None:
            raise
        return None
