"""Family ``cai``: the content of CUDA Array Interface dictionaries, and how consumers read them."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conformance.adapters.base import Device, Protocol, View
from conformance.checks.catalogue import Isolation, every, invariant, layouts
from conformance.checks.codes import Code
from conformance.checks.exchange import UNCLEAN, Exchange, Source, brief, collect
from conformance.checks.layouts import EMPTY, HIGH_RANK, NEGATIVE, OFFSET, PLAIN, SCALAR, STRIDED, ZERO_STRIDE
from conformance.checks.outcomes import Inconclusive, Refused, fail
from conformance.checks.steps import Doing
from conformance.protocols import cai
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import DTYPES, dtype
from conformance.protocols.strided import same_strides
from conformance.reference.exporter import REMOVED
from conformance.reference.memory import CudaMemory, Memory, simulated

# -- the dictionary


@invariant(
    "cai.required-keys",
    producer="CAI-01",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.CAI), layout=layouts("c-order", "scalar", "empty", "stepped")),
)
def test_required_keys(exchange: Exchange) -> None:
    """A producer must return a dict with at least the keys ``shape``, ``typestr``, ``data`` and ``version``."""
    described = exchange.dictionary_of(exchange.source())
    if not isinstance(described, dict):
        fail(
            Code.DICTIONARY_MALFORMED,
            "CAI-01",
            role=Role.PRODUCER,
            reason="the attribute is not a dict",
            expected="a dict",
            seen=type(described).__name__,
            given="__cuda_array_interface__",
        )
    missing = [key for key in cai.REQUIRED if key not in described]
    if missing:
        fail(
            Code.DICTIONARY_MALFORMED,
            "CAI-01",
            role=Role.PRODUCER,
            reason="the dictionary lacks a required key",
            expected=f"at least {', '.join(cai.REQUIRED)}",
            seen=f"{', '.join(map(str, described))}; no {', '.join(missing)}",
            given=missing[0],
        )


_KEYS = ("shape", "typestr", "data", "version", "strides", "descr", "mask", "stream")


@invariant(
    "cai.form",
    producer="CAI-02 CAI-03 CAI-04 CAI-09 CAI-11 CAI-14 CAI-15 CAI-16",
    bugs="I09 I14",
    level=Level.MUST,
    cases=lambda env: every(
        env.exports(Protocol.CAI),
        key=_KEYS,
        layout=layouts(*PLAIN, *OFFSET, *STRIDED, *NEGATIVE, *ZERO_STRIDE, *SCALAR, *EMPTY, "unit-dims", *HIGH_RANK),
    ),
)
def test_form(exchange: Exchange) -> None:
    """A producer must give each key of the dictionary exactly the type and form that the interface specifies.

    Numbers and tuples must be Python's own. Other invariants check the values. For ``stream`` this one checks only that it is ``None``
    or an int other than 0.
    """
    key = exchange.option("key")
    described = exchange.dictionary_of(exchange.source())
    if not isinstance(described, dict):
        raise Inconclusive(f"the attribute is not a dict but a {type(described).__name__}")
    for problem in cai.problems(described):
        if problem.key.partition("[")[0] == key:
            fail(
                Code.DICTIONARY_MALFORMED,
                problem.clause,
                role=Role.PRODUCER,
                reason=f"the dictionary's {problem.key} is malformed",
                expected=problem.expected,
                seen=problem.seen,
                given=key,
            )


@invariant(
    "cai.device-address",
    producer="CAI-05",
    bugs="I02",
    level=Level.MUST,
    cases=lambda env: every(
        env.exports(Protocol.CAI), layout=layouts("c-order", "inner", "stepped", "reversed", "broadcast-rows", "scalar")
    ),
)
def test_device_address(exchange: Exchange) -> None:
    """A producer must publish an address that the device can access. The suite asks the driver about the address."""
    source = exchange.source()
    address = _published_address(exchange, source)
    if not _memory(exchange).reaches(address):
        fail(
            Code.UNKNOWN_ADDRESS,
            "CAI-05",
            role=Role.PRODUCER,
            reason="the producer publishes an address that is not device memory",
            expected="an address that the driver knows",
            seen=hex(address),
        )


def _published_data(exchange: Exchange, source: Source) -> Any:
    """Return ``data[0]`` of the producer's dictionary; raise ``Inconclusive`` if it is missing."""
    described = exchange.dictionary_of(source)
    try:
        return described["data"][0]
    except Exception as error:
        raise Inconclusive(f"the dictionary has no readable address: {brief(error)}") from error


def _published_address(exchange: Exchange, source: Source) -> int:
    """Return the published address as an int; raise ``Inconclusive`` if it is not a number."""
    address = _published_data(exchange, source)
    try:
        return int(address)
    except Exception as error:
        raise Inconclusive(f"the dictionary has no readable address: {brief(error)}") from error


def _memory(exchange: Exchange) -> Memory:
    """Return the suite's own access to the memory of the device."""
    return CudaMemory() if exchange.device is Device.CUDA else simulated()


@invariant(
    "cai.empty-address",
    producer="CAI-06 CAI-04",
    bugs="I02",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.CAI), layout=layouts(*EMPTY)),
)
def test_empty_address(exchange: Exchange) -> None:
    """A producer must publish address 0 for an array without elements."""
    address = _published_data(exchange, exchange.source())
    if not isinstance(address, int):
        fail(
            Code.DICTIONARY_MALFORMED,
            "CAI-04",
            role=Role.PRODUCER,
            reason="the dictionary's data is malformed",
            expected="the address 0",
            seen=f"{address!r} ({type(address).__name__})",
            given="data",
        )
    if address != 0:
        fail(
            Code.ADDRESS_FOR_EMPTY,
            "CAI-06",
            role=Role.PRODUCER,
            reason="the producer publishes an address for an array without elements",
            expected="0x0",
            seen=hex(address),
        )


@invariant(
    "cai.host-absent",
    producer="CAI-05 PY-01",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK, on=(Device.HOST,))),
)
def test_host_absent(exchange: Exchange) -> None:
    """A producer must not offer ``__cuda_array_interface__`` on an array in plain host memory.

    ``hasattr`` must return ``False``, and the access must raise no other exception than ``AttributeError``.
    """
    array = exchange.producer.exporter(exchange.source().array, Protocol.DLPACK)
    try:
        found = getattr(array, "__cuda_array_interface__", None)
    except Exception as error:
        unclean = isinstance(error, UNCLEAN)
        fail(
            Code.DEFECT_EXCEPTION if unclean else Code.WRONG_EXCEPTION,
            "PY-01",
            role=Role.PRODUCER,
            reason="a host array raises an exception other than AttributeError for the attribute",
            expected="AttributeError",
            seen=brief(error),
            given=type(error).__name__ if unclean else "`__cuda_array_interface__` of an array in host memory",
        )
    if found is not None:
        fail(
            Code.HOST_ADDRESS,
            "CAI-05",
            role=Role.PRODUCER,
            reason="the producer publishes an array in host memory as device memory",
            expected="no attribute __cuda_array_interface__",
            seen=found,
        )


# -- dictionaries that every consumer must accept


_OPTIONAL = ("strides", "descr", "mask", "stream")
"""The keys that a dictionary may leave out or set to ``None``."""


@invariant(
    "cai.optional-keys",
    consumer="CAI-32 CAI-10",
    context="CAI-01",
    bugs="I09",
    level=Level.MUST,
    cases=lambda env: every(
        env.dictionaries(),
        key=_OPTIONAL,
        form=("absent", "none"),
        layout=("c-order", "vector", "cube", "scalar"),
    ),
)
def test_optional_keys(exchange: Exchange) -> None:
    """A consumer must accept a dictionary in which an optional key is absent or ``None``.

    Without ``strides`` the array is C-contiguous.
    """
    _expect_explicit_taken(exchange)
    key, absent = exchange.option("key"), exchange.option("form") == "absent"
    exchange.special(f"a dictionary without `{key}`" if absent else f"a dictionary with `{key}: None`")
    source = exchange.crafted(cai_override={key: REMOVED if absent else None})
    _expect_taken_right(exchange, source, "CAI-10" if key == "strides" else "CAI-32")


@invariant(
    "cai.versions",
    consumer="CAI-09 CAI-32",
    context="CAI-30",
    bugs="I09",
    level=Level.MUST,
    cases=lambda env: every(env.dictionaries(), version=("0", "1", "2", "3", "4")),
)
def test_versions(exchange: Exchange) -> None:
    """A consumer must read a dictionary of version 3, and must not refuse one of a newer version.

    Versions 0 to 2 describe a plain array in the same way. A consumer may refuse them, and the suite records that.
    """
    version = int(exchange.option("version"))
    changes: dict[str, Any] = {"version": version}
    if version < 3:
        changes["stream"] = REMOVED
    if version != 3:
        exchange.take(exchange.source(), promised="")
        exchange.special(f"a dictionary of version {version}")
    _expect_taken_right(exchange, exchange.crafted(cai_override=changes), "CAI-30" if version < 3 else "CAI-09")


@invariant(
    "cai.unknown-keys",
    consumer="CAI-32",
    context="G3",
    level=Level.MUST,
    cases=lambda env: every(env.dictionaries()),
)
def test_unknown_keys(exchange: Exchange) -> None:
    """A consumer must ignore keys of the dictionary that it does not know."""
    exchange.take(exchange.source(), promised="")
    exchange.special("a dictionary with further keys")
    extra = {"offset": 4, "byte_offset": 4, "order": "F", "readonly": True, "some_later_key": object()}
    _expect_taken_right(exchange, exchange.crafted(cai_override=extra), "G3")


def _expect_explicit_taken(exchange: Exchange) -> None:
    """End the case unless the consumer accepts this layout with all keys present."""
    source = exchange.crafted()
    source.array.cai_override = {"strides": source.strides, "descr": [("", source.dtype.typestr)]}
    exchange.take(source, promised="")


def _expect_taken_right(exchange: Exchange, source: Source, promised: str) -> None:
    """Fail unless the consumer accepts the dictionary, as the clause ``promised`` demands, and reads the reference's array."""
    taken = exchange.take(source, promised=promised)
    view = exchange.look(taken)
    exchange.expect_address(source, view)
    exchange.expect_shape(source, view)
    exchange.expect_values(source, exchange.read(taken))


# -- dictionaries that a consumer may refuse


@invariant(
    "cai.mask",
    consumer="CAI-15",
    level=Level.SHOULD,
    cases=lambda env: every(env.dictionaries()),
)
def test_mask(exchange: Exchange) -> None:
    """A consumer should apply a mask or refuse the array. It should never drop the mask silently."""
    exchange.take(exchange.source(), promised="")
    exchange.special("a dictionary with a mask")
    source = exchange.crafted()
    mask = exchange.make(exchange.producer, kind=dtype("bool"))
    source.array.cai_override = {"mask": mask.array}
    try:
        taken = exchange.take(source, promised="")
    except Refused:
        return
    if not _has_mask(taken, source):
        fail(
            Code.MASK_DROPPED,
            "CAI-15",
            role=Role.CONSUMER,
            reason="the consumer drops the mask silently",
            expected="a masked array, or a refusal",
            seen=f"a {type(taken).__name__} without a mask",
        )


def _has_mask(taken: Any, source: Source) -> bool:
    """Return whether the import has a mask value for every element; ``numpy.ma.nomask`` is a single value and masks nothing."""
    mask = getattr(taken, "mask", None)
    return tuple(getattr(mask, "shape", ())) == source.view.shape


@invariant(
    "cai.owner-held",
    context="CAI-27",
    bugs="I19",
    level=Level.OBSERVED,
    cases=lambda env: every(env.dictionaries()),
)
def test_owner_held(exchange: Exchange) -> None:
    """The suite records whether an import keeps the exporting object alive.

    The interface leaves this to the user. A second import follows, because some consumers keep only the latest object.
    """
    offer = exchange.offer(exchange.source())
    owner = weakref.ref(offer)
    taken = exchange.take(offer, promised="")
    del offer
    exchange.take(exchange.source(), promised="")
    collect()
    if owner() is None:
        fail(
            Code.OWNER_NOT_HELD,
            "CAI-27",
            role=Role.CONSUMER,
            reason="the import does not hold the exporting object, so the user must keep it alive",
            expected="a reference to the exporter",
            seen=f"the exporter died while a {type(taken).__name__} on its memory lived",
        )


Change = Callable[[dict[str, Any]], Any]
"""A function that turns a well-formed dictionary into the malformed value of the attribute."""


@dataclass(frozen=True)
class Malformed:
    """One defect of a dictionary; ``given`` describes it in words.

    ``readable`` is true if a tolerant consumer can still identify the array.
    """

    change: Change
    given: str
    readable: bool = False


def _without(key: str) -> Change:
    return lambda d: cai.without(d, key)


def _with(key: str, value: Callable[[Any], Any]) -> Change:
    return lambda d: {**d, key: value(d[key])}


def _numpy_ints(values: tuple[int, ...]) -> tuple[Any, ...]:
    import numpy

    return tuple(numpy.int64(v) for v in values)


_ROW, _ELEMENT = 16, 4
"""Strides in bytes of the array before the change: 3 by 4 elements of float32."""
_MALFORMED: dict[str, Malformed] = {
    "no-shape": Malformed(_without("shape"), "a dictionary without `shape`"),
    "no-typestr": Malformed(_without("typestr"), "a dictionary without `typestr`"),
    "no-data": Malformed(_without("data"), "a dictionary without `data`"),
    "no-version": Malformed(_without("version"), "a dictionary without `version`", readable=True),
    "shape-list": Malformed(_with("shape", list), "a dictionary with a `shape` that is a list", readable=True),
    "shape-numpy-ints": Malformed(
        _with("shape", _numpy_ints), "a dictionary with a `shape` of NumPy integers", readable=True
    ),
    "shape-negative": Malformed(
        _with("shape", lambda s: (-s[0], s[1])), "a dictionary with a negative extent in `shape`"
    ),
    "shape-floats": Malformed(_with("shape", lambda s: tuple(map(float, s))), "a dictionary with a `shape` of floats"),
    "typestr-of-nothing": Malformed(
        _with("typestr", lambda t: "<q4"), "a dictionary with a `typestr` that names no type"
    ),
    "typestr-without-width": Malformed(_with("typestr", lambda t: "|V0"), "a dictionary with a `typestr` of width 0"),
    "typestr-name": Malformed(
        _with("typestr", lambda t: "float32"), "a dictionary with a `typestr` that is a name", readable=True
    ),
    "data-bare": Malformed(
        _with("data", lambda d: d[0]), "a dictionary with `data` that is a bare address", readable=True
    ),
    "data-list": Malformed(_with("data", list), "a dictionary with `data` that is a list", readable=True),
    "data-bool": Malformed(_with("data", lambda d: (True, d[1])), "a dictionary with `True` as the address in `data`"),
    "data-none": Malformed(_with("data", lambda d: (None, d[1])), "a dictionary with `None` as the address in `data`"),
    "strides-list": Malformed(
        _with("strides", lambda s: [_ROW, _ELEMENT]), "a dictionary with `strides` that are a list", readable=True
    ),
    "strides-short": Malformed(_with("strides", lambda s: (_ROW,)), "a dictionary with fewer strides than dimensions"),
    "strides-long": Malformed(
        _with("strides", lambda s: (_ROW, _ELEMENT, 1 << 40)), "a dictionary with more `strides` than dimensions"
    ),
    "version-text": Malformed(_with("version", str), "a dictionary with a `version` that is a text", readable=True),
    "no-dict": Malformed(lambda d: None, "`None` in place of a dictionary"),
}


@invariant(
    "cai.malformed",
    context="CAI-01 CAI-02 CAI-03 CAI-04 CAI-09 CAI-11",
    bugs="I25",
    level=Level.ROBUSTNESS,
    isolation=Isolation.RISKY,
    cases=lambda env: every(env.dictionaries(), dictionary=tuple(_MALFORMED)),
)
def test_malformed(exchange: Exchange) -> None:
    """A consumer should refuse a malformed dictionary or read the array that it clearly describes, and should not crash.

    The consumer may raise any exception. The dictionary is illegal, so no clause binds the consumer here and a failure counts as robustness.
    """
    malformed = _MALFORMED[exchange.option("dictionary")]
    _expect_explicit_taken(exchange)
    exchange.illegal(malformed.given)
    source = exchange.crafted()
    interface = source.array.__cuda_array_interface__
    offers = [_Yielding(malformed.change(interface), source.array) for _ in range(_TRIES)]
    for offer in offers:
        _expect_refused_or_right(exchange, malformed, source, offer)


_TRIES = 64
"""Imports of one dictionary. A consumer that reads beyond the end of a tuple finds random memory; many tries show it reliably."""


def _expect_refused_or_right(exchange: Exchange, malformed: Malformed, source: Source, offer: Any) -> None:
    try:
        with exchange.step(Doing.IMPORT, Role.CONSUMER):
            taken = exchange.consumer.take(offer, exchange.protocol, exchange.device)
        with exchange.step(Doing.USE, Role.CONSUMER):
            view = exchange.consumer.describe(taken)
    except Exception as error:
        exchange.check_context(error)
        return
    if malformed.readable:
        right = _is_the_array(source, view) and exchange.read(taken) == source.values
    else:
        right = _is_inside(source, view)
    if not right:
        fail(
            Code.VALUES_CHANGED,
            "CAI-32",
            role=Role.CONSUMER,
            reason=f"the consumer reads {malformed.given} as an array that it does not describe",
            expected="an exception, or the producer's array" if malformed.readable else "an exception",
            seen=f"{view.dtype} of shape {view.shape} and strides {view.strides} at {view.address:#x}",
        )


class _Yielding:
    """An object with an arbitrary ``__cuda_array_interface__``; it keeps ``owner`` alive."""

    def __init__(self, described: Any, owner: Any) -> None:
        self.__cuda_array_interface__ = described
        self.owner = owner


def _is_the_array(source: Source, view: View) -> bool:
    same_place = view.address == source.address and view.shape == source.view.shape
    return same_place and same_strides(view.shape, view.strides, source.strides)


def _is_inside(source: Source, view: View) -> bool:
    """Return whether every byte of the view lies inside the producer's block."""
    if any(extent < 0 for extent in view.shape):
        return False
    if 0 in view.shape:
        return True
    kind = DTYPES.get(view.dtype or "")
    reach = [(extent - 1) * stride for extent, stride in zip(view.shape, view.strides)]
    first = view.address + sum(r for r in reach if r < 0)
    last = view.address + sum(r for r in reach if r > 0) + (kind.itemsize if kind else 1)
    return source.address <= first and last <= source.address + len(source.block)


# -- invalid addresses

_GARBAGE = {
    "small": "an address in the first page",
    "nowhere": "an address that no process can have",
    "host": "an address in pageable memory of the host",
    "freed": "an address of device memory that was given back",
}


@invariant(
    "cai.garbage-address",
    consumer="CAI-29",
    level=Level.MUST,
    isolation=Isolation.RISKY,
    cases=lambda env: every(env.dictionaries(), address=tuple(_GARBAGE)),
)
def test_garbage_address(exchange: Exchange) -> None:
    """A consumer must neither crash nor corrupt the CUDA context when it imports an address that is not device memory.

    No document requires a consumer to check the address. The suite records that it accepts one, and never reads through it.
    """
    exchange.take(exchange.source(), promised="")
    garbage, kind = _Garbage(exchange), exchange.option("address")
    address = getattr(garbage, kind)()
    exchange.illegal(_GARBAGE[kind])
    source = exchange.crafted(cai_override={"data": (address, False)})
    try:
        taken = exchange.take(source, promised="")
    except Refused:
        return
    exchange.check_context()
    # The consumer survived the import. The missing check is not a failure and only recorded.
    exchange.is_illegal = False
    fail(
        Code.UNKNOWN_ADDRESS,
        "CAI-29",
        role=Role.CONSUMER,
        level=Level.OBSERVED,
        reason=f"the consumer accepts {_GARBAGE[kind]}",
        expected="a refusal",
        seen=f"a {type(taken).__name__} at {address:#x}",
    )


class _Garbage:
    """Addresses that the device cannot access, and the buffer that must stay alive for one of them."""

    def __init__(self, exchange: Exchange) -> None:
        self._memory = _memory(exchange)
        self._buffer = ctypes.create_string_buffer(4096)

    def small(self) -> int:
        """Return an address in the first page, which is never mapped."""
        return 419

    def nowhere(self) -> int:
        """Return an address outside of the user's half of the address space."""
        return 0x7FFF_FFFF_F000 << 8

    def host(self) -> int:
        """Return the address of pageable host memory."""
        return ctypes.addressof(self._buffer)

    def freed(self) -> int:
        """Return an address of device memory that was freed."""
        block = self._memory.allocate(1 << 22)
        address = block.address
        del block
        collect()
        return address
