"""Family ``dtype``: an element type means the same on both sides, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conformance.adapters.base import Device, Protocol
from conformance.adapters.numpy import numpy_dtype
from conformance.adapters.reference import ReferenceAdapter
from conformance.protocols import cai
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import DLFlags
from conformance.protocols.dtypes import NATIVE_ORDER, DLCode, DType, dtype, from_typestr
from conformance.protocols.strided import packed

from .catalogue import dtypes, every, invariant
from .exchange import Exchange, Source, brief, show
from .libraries import Pair
from .outcomes import Inconclusive, Refused, fail

FOREIGN_ORDER = ">" if NATIVE_ORDER == "<" else "<"


# -- every element type, between every two libraries


@invariant(
    "dtype.exchange",
    producer="DLP-13 DLP-46 DLP-43 CAI-03 CAI-05",
    consumer="DLP-46 DLP-43",
    bugs="I10 I31",
    level=Level.MUST,
    cases=lambda env: every(env.pairs(), dtype=dtypes()),
)
def test_exchange(exchange: Exchange) -> None:
    """An element type arrives as itself, bit for bit, or is refused.

    The consumer has to call it by the same name. Where the array interface has no letter for a type (bfloat16, 8-bit
    floats), raw bytes will do; another number type will not. Nor may one type be copied where others are shared.
    """
    source = exchange.source()
    taken = exchange.take(source)
    view = exchange.look(taken)
    _expect_name(exchange, source.dtype, view.dtype)
    exchange.expect_values(source, exchange.read(taken))
    exchange.expect_address(source, view)


@invariant(
    "dtype.self-import",
    producer="DLP-46 CAI-03",
    consumer="DLP-46 DLP-41",
    bugs="I10",
    level=Level.MUST,
    cases=lambda env: every(
        (pair for pair in env.pairs() if pair.producer.name == pair.consumer.name), dtype=_with_a_name
    ),
)
def test_self_import(exchange: Exchange) -> None:
    """A library takes back every element type that it exports: its two tables are one.

    Only the types of the array API standard are promised; refusing one's own export of another is a deviation.
    """
    source = exchange.source()
    offer = exchange.offer(source)
    try:
        taken = exchange.take(offer, promised=exchange.promises())
    except Refused as refusal:
        if offer.raised is not None:
            raise
        fail(
            "DLP-41" if exchange.protocol is Protocol.DLPACK else "CAI-03",
            role=Role.CONSUMER,
            level=Level.SHOULD,
            reason="the library refuses what it exports itself",
            expected=f"its own {source.dtype.name}",
            seen=refusal,
        )
    _expect_name(exchange, source.dtype, exchange.look(taken).dtype)


def _with_a_name(pair: Pair) -> tuple[str, ...]:
    """The producer's element types that the protocol has a word for."""
    return tuple(n for n in pair.source.dtypes if pair.protocol is Protocol.DLPACK or dtype(n).kind is not None)


def _expect_name(exchange: Exchange, wanted: DType, seen: str | None) -> None:
    """The consumer's own word for the element type is the usual one."""
    if seen is None:
        raise Inconclusive(f"{exchange.consumer.name} does not say what type the elements are")
    unspoken = exchange.protocol is Protocol.CAI and wanted.kind is None
    if seen != wanted.name and not (unspoken and _is_raw(seen)):
        fail(
            "DLP-13" if exchange.protocol is Protocol.DLPACK else "CAI-03",
            role=Role.CONSUMER,
            reason="the element type changed",
            expected=wanted.name,
            seen=seen,
        )


def _is_raw(name: str) -> bool:
    """Whether a library's word for a type means bytes without a meaning: NumPy's ``void16``, a typestr ``|V2``."""
    return name.startswith("void") or name[1:2] == "V"


# -- what producers write


@invariant(
    "dtype.export",
    producer="DLP-13",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), capsule=("newest", "plain"), dtype=dtypes()),
)
def test_export(exchange: Exchange) -> None:
    """A capsule names the element type by the code, the bits and the one lane that dlpack.h gives it."""
    source = exchange.source()
    newest = exchange.option("capsule") == "newest"
    tensor = exchange.decode(exchange.newest_capsule(source) if newest else exchange.capsule_of(source))
    wanted = (int(source.dtype.code), source.dtype.bits, 1)
    if (tensor.code, tensor.bits, tensor.lanes) != wanted:
        fail(
            "DLP-13",
            role=Role.PRODUCER,
            reason=f"{source.dtype.name} is exported as another element type",
            expected="code {}, bits {}, lanes {}".format(*wanted),
            seen=f"code {tensor.code}, bits {tensor.bits}, lanes {tensor.lanes}",
        )


@invariant(
    "dtype.typestr",
    producer="CAI-03 CAI-14",
    bugs="I10",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.CAI), dtype=dtypes()),
)
def test_typestr(exchange: Exchange) -> None:
    """A dictionary names the element type by NumPy's word for it, and ``descr``, if there, by as many bytes.

    A type that NumPy's grammar has no letter for must not be called by another type's name: raw bytes are true,
    ``<f2`` for a bfloat16 is not.
    """
    source = exchange.source()
    described = exchange.dictionary_of(source)
    for problem in cai.problems(described):
        if problem.key in ("(the whole)", "typestr", "descr"):
            fail(
                problem.clause,
                role=Role.PRODUCER,
                reason=f"the dictionary's {problem.key} is malformed",
                expected=problem.expected,
                seen=problem.seen,
            )
    typestr = described["typestr"]
    if not _says(typestr, source.dtype):
        fail(
            "CAI-03",
            role=Role.PRODUCER,
            reason=f"{source.dtype.name} is published as another element type",
            expected=source.dtype.typestr or f"raw bytes, such as |V{source.dtype.itemsize}",
            seen=typestr,
        )


def _says(typestr: str, kind: DType) -> bool:
    """Whether a well-formed ``typestr`` is a true name of this type."""
    if kind.typestr is not None:
        return from_typestr(typestr) is kind
    return typestr[1] == "V" and cai.typestr_bytes(typestr) == kind.itemsize


# -- what no number type of DLPack says

Build = Callable[[Any], Any]
"""Makes an array of the producer's own; gets the adapter."""


@dataclass(frozen=True)
class Foreign:
    """Elements that DLPack has no word for, or none that every library uses.

    ``words`` are the (code, bits) by which an export would be true all the same; without any it has to be refused.
    """

    build: Build
    words: tuple[tuple[int, int], ...] = ()
    clause: str = "DLP-23"


def _numpy_zeros(kind: Any) -> Build:
    return lambda adapter: adapter.module().zeros(3, kind)


def _extension(name: str) -> Build:
    """NumPy's array of a type from ml_dtypes, which is there wherever JAX is."""
    return lambda adapter: adapter.module().zeros(3, numpy_dtype(DType(name, DLCode.OPAQUE, 0, None)))


def _torch_empty(name: str) -> Build:
    return lambda adapter: adapter.module().empty(3, dtype=getattr(adapter.module(), name))


def _jax_zeros(name: str) -> Build:
    return lambda adapter: adapter.module().numpy.zeros(3, getattr(adapter.module().numpy, name))


def _cupy_zeros(kind: Any) -> Build:
    return lambda adapter: adapter.module().zeros(3, kind)


def _strided_view(kind: Any) -> Build:
    """A ``StridedMemoryView`` of a NumPy array."""

    def build(adapter: Any) -> Any:
        import numpy

        return adapter.view_class.from_array_interface(numpy.zeros(3, kind))

    return build


def _reference_dates(adapter: ReferenceAdapter) -> Any:
    return adapter.empty(DType("datetime64[s]", DLCode.OPAQUE, 64, "M"), (3,), Device.HOST)


_RECORD = [("a", "f4"), ("b", "i4")]
_FOREIGN: dict[tuple[str, Device], dict[str, Foreign]] = {
    ("numpy", Device.HOST): {
        "object": Foreign(_numpy_zeros("O")),
        "datetime64": Foreign(_numpy_zeros("M8[s]")),
        "timedelta64": Foreign(_numpy_zeros("m8[s]")),
        "unicode": Foreign(_numpy_zeros("U2")),
        "bytes": Foreign(_numpy_zeros("S2")),
        "void": Foreign(_numpy_zeros("V4")),
        "structured": Foreign(_numpy_zeros(_RECORD)),
        "longdouble": Foreign(_numpy_zeros("g")),
        "clongdouble": Foreign(_numpy_zeros("G")),
        "foreign-order-f4": Foreign(_numpy_zeros(f"{FOREIGN_ORDER}f4"), clause="DLP-12"),
        "foreign-order-i2": Foreign(_numpy_zeros(f"{FOREIGN_ORDER}i2"), clause="DLP-12"),
        "foreign-order-c16": Foreign(_numpy_zeros(f"{FOREIGN_ORDER}c16"), clause="DLP-12"),
        "bfloat16": Foreign(_extension("bfloat16"), words=((DLCode.BFLOAT, 16),)),
        "float8": Foreign(_extension("float8_e5m2"), words=((DLCode.FLOAT8_E5M2, 8),)),
        "int4": Foreign(_extension("int4"), words=((DLCode.INT, 4),)),
    },
    ("torch", Device.HOST): {
        "bits8": Foreign(_torch_empty("bits8")),
        "bits16": Foreign(_torch_empty("bits16")),
        "int4": Foreign(_torch_empty("int4"), words=((DLCode.INT, 4),)),
        "uint1": Foreign(_torch_empty("uint1"), words=((DLCode.UINT, 1),)),
    },
    ("jax", Device.HOST): {
        "int4": Foreign(_jax_zeros("int4"), words=((DLCode.INT, 4),)),
        "uint2": Foreign(_jax_zeros("uint2"), words=((DLCode.UINT, 2),)),
    },
    ("cuda_python", Device.HOST): {
        "datetime64": Foreign(_strided_view("M8[s]")),
        "unicode": Foreign(_strided_view("U2")),
        "structured": Foreign(_strided_view(_RECORD)),
        "longdouble": Foreign(_strided_view("g")),
        "foreign-order-f4": Foreign(_strided_view(f"{FOREIGN_ORDER}f4"), clause="DLP-12"),
    },
    ("cupy", Device.CUDA): {
        "datetime64": Foreign(_cupy_zeros("M8[s]")),
        "structured": Foreign(_cupy_zeros(_RECORD)),
    },
    ("reference", Device.HOST): {"datetime64": Foreign(_reference_dates)},
}
"""By library and device: what each can hold and DLPack cannot say, or not for sure."""


def _foreign_of(pair: Pair) -> tuple[str, ...]:
    return tuple(_FOREIGN.get((pair.producer.name, pair.device), ()))


@invariant(
    "dtype.unsupported-export",
    producer="DLP-23 DLP-12",
    bugs="I11 I25",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), elements=_foreign_of),
)
def test_unsupported_export(exchange: Exchange) -> None:
    """Elements that DLPack cannot express are not exported as others: the refusal is a ``BufferError``.

    A type that DLPack has a word for, but that libraries seldom know, may also be exported by that word.
    """
    foreign = _FOREIGN[exchange.producer.name, exchange.device][exchange.option("elements")]
    array = _made(exchange, foreign.build)
    try:
        exported = exchange.producer.exporter(array, Protocol.DLPACK).__dlpack__()
    except BufferError:
        return
    except Exception as error:
        fail(
            "DLP-23",
            role=Role.PRODUCER,
            reason="refused, but with the wrong kind of exception",
            expected="BufferError",
            seen=brief(error),
        )
    tensor = exchange.decode(exported)
    if (tensor.code, tensor.bits) not in foreign.words:
        fail(
            foreign.clause,
            role=Role.PRODUCER,
            reason=f"{exchange.option('elements')} is exported as another element type",
            expected=" or ".join(["BufferError", *(f"code {int(c)}, bits {b}" for c, b in foreign.words)]),
            seen=f"code {tensor.code}, bits {tensor.bits}, lanes {tensor.lanes}",
        )


def _made(exchange: Exchange, build: Build) -> Any:
    """What ``build`` makes; a library that has no such arrays ends the case."""
    try:
        return build(exchange.producer)
    except Exception as error:
        raise Refused(
            f"{exchange.producer.name} has no array of {exchange.option('elements')}: {brief(error)}"
        ) from error


# -- narrower than a byte

_NIBBLES = bytes((0x10, 0x32, 0x54, 0x76))
"""The eight non-negative values of float4_e2m1fn in ascending order, packed from the low bits up (DLP-11)."""
_FLOAT4_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def _reference_float4(adapter: ReferenceAdapter, device: Device) -> Any:
    kind = DType("float4_e2m1fn", DLCode.FLOAT4_E2M1FN, 4, None)
    memory = adapter.memory(device)
    block = memory.allocate(len(_NIBBLES))
    memory.write(block.address, _NIBBLES)
    return adapter.exporter_class(memory, block, kind, packed((2 * len(_NIBBLES),)))


def _torch_float4(adapter: Any, device: Device) -> Any:
    torch = adapter.module()
    pairs = torch.frombuffer(bytearray(_NIBBLES), dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    return pairs.cuda() if device is Device.CUDA else pairs


def _jax_float4(adapter: Any, device: Device) -> Any:
    jax_numpy = adapter.module().numpy
    return jax_numpy.array(_FLOAT4_VALUES, dtype=jax_numpy.float4_e2m1fn)


_FLOAT4 = {"reference": _reference_float4, "torch": _torch_float4, "jax": _jax_float4}


@invariant(
    "dtype.sub-byte-export",
    producer="DLP-11 DLP-13",
    consumer="DLP-11",
    level=Level.MUST,
    cases=lambda env: every(
        (pair for pair in env.exports(Protocol.DLPACK) if pair.producer.name in _FLOAT4), elements=("float4_e2m1fn",)
    ),
)
def test_sub_byte_export(exchange: Exchange) -> None:
    """A 4-bit float is exported with 4 bits, and two of them share a byte unless the padded bit says otherwise."""
    array = _made(exchange, lambda adapter: _FLOAT4[adapter.name](adapter, exchange.device))
    source = Source(array, dtype("uint8"), packed((len(_NIBBLES),)), 0, _NIBBLES)
    tensor = exchange.decode(exchange.newest_capsule(source))
    if (tensor.code, tensor.bits) != (DLCode.FLOAT4_E2M1FN, 4):
        fail(
            "DLP-13",
            role=Role.PRODUCER,
            reason="float4_e2m1fn is exported as another element type",
            expected="code 17, bits 4",
            seen=f"code {tensor.code}, bits {tensor.bits}",
        )
    padded = bool((tensor.flags or 0) & DLFlags.SUBBYTE_PADDED)
    wanted = _unpacked(_NIBBLES, 4) if padded else _NIBBLES
    seen = exchange.peek(tensor.element0, len(wanted))
    if seen != wanted:
        fail(
            "DLP-11",
            role=Role.PRODUCER,
            reason="the 4-bit elements do not lie as the capsule says",
            expected=show(wanted, dtype("uint8")),
            seen=show(seen, dtype("uint8")),
        )


def _unpacked(block: bytes, bits: int) -> bytes:
    """One element in the low bits of each byte, from elements packed from the low bits up."""
    whole = int.from_bytes(block, "little")
    return bytes((whole >> i) & ((1 << bits) - 1) for i in range(0, 8 * len(block), bits))


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
    producer="DLP-11",
    consumer="DLP-11",
    bugs="I10",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), elements=tuple(_NARROW)),
)
def test_sub_byte_import(exchange: Exchange) -> None:
    """A 4- or 6-bit float with 8 bits is refused; with its own bits it is taken as what it is, or refused."""
    code, bits, lanes = _NARROW[exchange.option("elements")]
    count = 8 // lanes
    source = exchange.crafted(
        kind=dtype("uint8"), override={"code": code, "bits": bits, "lanes": lanes, "shape": (count,), "strides": (1,)}
    )
    _expect_control(exchange, dtype("uint8"))
    taken = _taken(exchange, source)
    if taken is None:
        return
    name = exchange.look(taken).dtype
    packed_bytes = source.block[: 8 * bits // 8]
    understood = bits < 8 and str(name).startswith(code.name.lower())
    seen = exchange.read(taken) if understood else b""
    if not understood or seen not in (packed_bytes, _unpacked(packed_bytes, bits)):
        fail(
            "DLP-11",
            role=Role.CONSUMER,
            reason=f"a capsule with code {int(code)}, bits {bits}, lanes {lanes} was taken for something else",
            expected="a refusal"
            if bits == 8
            else f"{code.name.lower()} of the bytes {packed_bytes.hex()}, one by one or as they are, or a refusal",
            seen=f"{name} of the bytes {seen.hex()}" if understood else name,
        )


# -- capsules that no consumer has to understand


@invariant(
    "dtype.lanes",
    producer="DLP-43",
    consumer="DLP-14 DLP-43",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), lanes=("2", "4"), dtype=("float32", "uint8")),
)
def test_lanes(exchange: Exchange) -> None:
    """Vector elements are taken whole or refused, never read as if each were one scalar."""
    lanes = int(exchange.option("lanes"))
    _expect_control(exchange, exchange.dtype)
    rows, columns = exchange.layout.base
    vectors = columns // lanes
    source = exchange.crafted(override={"lanes": lanes, "shape": (rows, vectors), "strides": (vectors, 1)})
    taken = _taken(exchange, source)
    if taken is None:
        return
    seen = exchange.read(taken)
    if seen != source.block:
        fail(
            "DLP-14",
            "DLP-43",
            role=Role.CONSUMER,
            reason="vector elements were taken for scalars",
            expected=f"{rows * vectors} elements of {lanes} lanes, {show(source.block, source.dtype)}, or a refusal",
            seen=f"{show(seen, source.dtype)}, called {exchange.look(taken).dtype}",
        )


_UNKNOWN: dict[str, tuple[int, int]] = {
    "code-200": (200, 32),
    "code-99": (99, 8),
    "opaque-64": (DLCode.OPAQUE, 64),
    "float-24": (DLCode.FLOAT, 24),
    "float-8": (DLCode.FLOAT, 8),
    "float-0": (DLCode.FLOAT, 0),
    "float-128": (DLCode.FLOAT, 128),
    "bfloat-32": (DLCode.BFLOAT, 32),
    "complex-16": (DLCode.COMPLEX, 16),
    "int-4": (DLCode.INT, 4),
    "int-24": (DLCode.INT, 24),
    "int-128": (DLCode.INT, 128),
    "uint-1": (DLCode.UINT, 1),
    "bool-1": (DLCode.BOOL, 1),
    "bool-32": (DLCode.BOOL, 32),
    "float8-e5m2-16": (DLCode.FLOAT8_E5M2, 16),
}
"""Codes and widths that no element type of the array API has."""
_LATE_CODES = ("code-200", "code-99", "opaque-64")
_REAL_NAMES = {"int-4": "int4", "uint-1": "uint1", "float-128": "float128", "int-128": "int128"}
"""What a consumer may call those that are element types somewhere."""


@invariant(
    "dtype.unknown",
    producer="DLP-13",
    consumer="DLP-05",
    bugs="I10",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), elements=tuple(_UNKNOWN)),
)
def test_unknown(exchange: Exchange) -> None:
    """A type code that the consumer does not know, or a width that the code does not have, is refused."""
    elements = exchange.option("elements")
    code, bits = _UNKNOWN[elements]
    _expect_control(exchange, dtype("float64"))
    source = exchange.crafted(kind=dtype("float64"), override={"code": code, "bits": bits})
    taken = _taken(exchange, source)
    if taken is None:
        return
    name = exchange.look(taken).dtype
    if name != _REAL_NAMES.get(elements):
        fail(
            "DLP-05" if elements in _LATE_CODES else "DLP-13",
            role=Role.CONSUMER,
            reason=f"a capsule with type code {int(code)} and {bits} bits was taken for something else",
            expected="a refusal",
            seen=name,
        )


# -- dictionaries that no consumer has to understand


@invariant(
    "dtype.foreign-order",
    producer="CAI-03 CAI-05",
    bugs="I11",
    level=Level.MUST,
    cases=lambda env: every(env.dictionaries(), dtype=("float32", "int16", "uint64", "complex64")),
)
def test_foreign_order(exchange: Exchange) -> None:
    """Elements of foreign byte order keep their values, or are refused: their bytes are never taken for native ones."""
    kind = exchange.dtype
    _expect_control(exchange, kind)
    typestr = f"{FOREIGN_ORDER}{kind.kind}{kind.itemsize}"
    source = exchange.crafted(cai_override={"typestr": typestr})
    taken = _taken(exchange, source)
    if taken is None:
        return
    name = exchange.look(taken).dtype
    if name not in (typestr, kind.name):
        fail("CAI-03", role=Role.CONSUMER, reason="the element type changed", expected=typestr, seen=name)
    wanted = source.values if name == typestr else _swapped(source.values, kind)
    exchange.expect_values(source, exchange.read(taken), "CAI-03", "CAI-05", expected=wanted)


def _swapped(data: bytes, kind: DType) -> bytes:
    """The same numbers in the other byte order; a complex number's parts are swapped one by one."""
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
    producer="CAI-14 CAI-03 CAI-05",
    bugs="I11",
    level=Level.MUST,
    cases=lambda env: every(env.dictionaries(), fields=tuple(_RECORDS)),
)
def test_structured(exchange: Exchange) -> None:
    """Structured elements keep their bytes and fields, or are refused; they never become numbers.

    A consumer need not read ``descr``: raw bytes instead of fields are only noted.
    """
    fields = exchange.option("fields")
    _expect_control(exchange, dtype("uint64"))
    source = exchange.crafted(kind=dtype("uint64"), cai_override={"typestr": "|V8", "descr": _RECORDS[fields]})
    taken = _taken(exchange, source)
    if taken is None:
        return
    name = str(exchange.look(taken).dtype)
    if not _is_raw(name):
        fail("CAI-03", role=Role.CONSUMER, reason="the element type changed", expected="8 raw bytes", seen=name)
    exchange.expect_values(source, exchange.read(taken))
    found = getattr(getattr(taken, "dtype", None), "fields", None)
    offsets = {k: v[1] for k, v in found.items() if k in _OFFSETS[fields]} if found else None
    if offsets != _OFFSETS[fields]:
        fail(
            "CAI-14",
            role=Role.CONSUMER,
            level=Level.OBSERVED if offsets is None else Level.MUST,
            reason="the fields of ``descr`` were dropped" if offsets is None else "the fields lie elsewhere",
            expected=f"fields at bytes {_OFFSETS[fields]}",
            seen="no fields" if offsets is None else f"fields at bytes {offsets}",
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
    "24-bit": (f"{NATIVE_ORDER}i3", "uint8", ()),
}
"""Typestr, a type of the same width that fills the memory, and what a consumer that knows the type may call it."""


@invariant(
    "dtype.special-typestr",
    producer="CAI-03",
    bugs="I11",
    level=Level.MUST,
    cases=lambda env: every(env.dictionaries(), elements=tuple(_SPECIAL)),
)
def test_special_typestr(exchange: Exchange) -> None:
    """Elements that are no numbers, or none of a usual width, are taken as what they are or refused."""
    typestr, kind, names = _SPECIAL[exchange.option("elements")]
    _expect_control(exchange, dtype(kind))
    taken = _taken(exchange, exchange.crafted(kind=dtype(kind), cai_override={"typestr": typestr}))
    if taken is None:
        return
    name = str(exchange.look(taken).dtype)
    if name not in names and not _is_raw(name):
        fail(
            "CAI-03",
            role=Role.CONSUMER,
            reason="the element type changed",
            expected=f"{' or '.join((*names, 'raw bytes'))}, or a refusal",
            seen=f"{name} from typestr {typestr!r}",
        )


# -- where a refusal is right


def _expect_control(exchange: Exchange, kind: DType) -> None:
    """The consumer takes a plain array: only then does refusing the special one say anything. Else the case ends."""
    exchange.take(exchange.source(kind=kind), promised="")


def _taken(exchange: Exchange, source: Source) -> Any | None:
    """What the consumer makes of the reference's array, ``None`` where it refuses it in a clean way."""
    offer = exchange.offer(source)
    try:
        return exchange.take(offer, promised="")
    except Refused:
        if offer.raised is not None:
            raise
        return None
