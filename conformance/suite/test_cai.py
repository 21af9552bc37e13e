"""Family ``cai``: what a CUDA Array Interface dictionary says, and what its readers make of it."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conformance.adapters.base import Device, Protocol, View
from conformance.protocols import cai
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import DTYPES, dtype
from conformance.protocols.strided import same_strides
from conformance.reference.exporter import REMOVED
from conformance.reference.memory import CudaMemory, Memory, simulated

from .catalogue import Isolation, every, invariant, layouts
from .exchange import Exchange, Source, brief, collect
from .layouts import EMPTY, HIGH_RANK, NEGATIVE, OFFSET, PLAIN, SCALAR, STRIDED, ZERO_STRIDE
from .outcomes import Inconclusive, Refused, fail

# -- the dictionary


@invariant(
    "cai.required-keys",
    producer="CAI-01",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.CAI), layout=layouts("c-order", "scalar", "empty", "stepped")),
)
def test_required_keys(exchange: Exchange) -> None:
    """The attribute yields a dict that holds at least shape, typestr, data and version."""
    described = exchange.dictionary_of(exchange.source())
    if not isinstance(described, dict):
        seen = type(described).__name__
        fail("CAI-01", role=Role.PRODUCER, reason="the attribute yields no dict", expected="a dict", seen=seen)
    missing = [key for key in cai.REQUIRED if key not in described]
    if missing:
        fail(
            "CAI-01",
            role=Role.PRODUCER,
            reason="a required key is missing",
            expected=f"at least {', '.join(cai.REQUIRED)}",
            seen=f"{', '.join(map(str, described))}; no {', '.join(missing)}",
        )


_KEYS = ("shape", "typestr", "data", "version", "strides", "descr", "mask", "stream")


@invariant(
    "cai.form",
    producer="CAI-02 CAI-03 CAI-04 CAI-09 CAI-11 CAI-14 CAI-15 CAI-16",
    consumer="CAI-09 CAI-15",
    bugs="I09 I14",
    level=Level.MUST,
    cases=lambda env: every(
        env.exports(Protocol.CAI),
        key=_KEYS,
        layout=layouts(*PLAIN, *OFFSET, *STRIDED, *NEGATIVE, *ZERO_STRIDE, *SCALAR, *EMPTY, "unit-dims", *HIGH_RANK),
    ),
)
def test_form(exchange: Exchange) -> None:
    """Each key of a dictionary has exactly the form that the interface gives it: Python's own ints and tuples.

    What the values mean is judged elsewhere. Of ``stream`` only the form is: an int that is not 0, or ``None``.
    """
    key = exchange.option("key")
    described = exchange.dictionary_of(exchange.source())
    if not isinstance(described, dict):
        raise Inconclusive(f"the attribute yields no dict but a {type(described).__name__}")
    for problem in cai.problems(described):
        if problem.key.partition("[")[0] == key:
            fail(
                problem.clause,
                role=Role.PRODUCER,
                reason=f"the dictionary's {problem.key} is malformed",
                expected=problem.expected,
                seen=problem.seen,
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
    """The published address is memory that the device reaches, by what the driver knows of it."""
    source = exchange.source()
    address = _published_address(exchange, source)
    if not _memory(exchange).reaches(address):
        fail(
            "CAI-05",
            role=Role.PRODUCER,
            reason="the published address is not memory of the device",
            expected="an address that the driver knows",
            seen=hex(address),
        )


def _published_data(exchange: Exchange, source: Source) -> Any:
    """What the producer's dictionary has as ``data[0]``; undecided if that is not there."""
    described = exchange.dictionary_of(source)
    try:
        return described["data"][0]
    except Exception as error:
        raise Inconclusive(f"the dictionary has no address to judge: {brief(error)}") from error


def _published_address(exchange: Exchange, source: Source) -> int:
    """The same as a number; undecided if it is none."""
    address = _published_data(exchange, source)
    try:
        return int(address)
    except Exception as error:
        raise Inconclusive(f"the dictionary has no address to judge: {brief(error)}") from error


def _memory(exchange: Exchange) -> Memory:
    """The device's memory as our own instruments see it."""
    return CudaMemory() if exchange.device is Device.CUDA else simulated()


@invariant(
    "cai.empty-address",
    producer="CAI-06",
    bugs="I02",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.CAI), layout=layouts(*EMPTY)),
)
def test_empty_address(exchange: Exchange) -> None:
    """An array without elements publishes address 0."""
    address = _published_data(exchange, exchange.source())
    if address != 0:
        fail(
            "CAI-06",
            role=Role.PRODUCER,
            reason="an array without elements publishes an address",
            expected="0x0",
            seen=hex(address) if isinstance(address, int) else address,
        )


@invariant(
    "cai.host-absent",
    producer="CAI-01 CAI-05",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK, on=(Device.HOST,))),
)
def test_host_absent(exchange: Exchange) -> None:
    """An array in plain host memory does not have the attribute: ``hasattr`` says no, and raises nothing."""
    array = exchange.producer.exporter(exchange.source().array, Protocol.DLPACK)
    try:
        found = getattr(array, "__cuda_array_interface__", None)
    except Exception as error:
        fail(
            "CAI-01",
            role=Role.PRODUCER,
            level=Level.SHOULD,
            reason="asking a host array for the attribute raises something else than AttributeError",
            expected="AttributeError",
            seen=brief(error),
        )
    if found is not None:
        fail(
            "CAI-05",
            role=Role.PRODUCER,
            reason="an array in host memory claims to be reachable from the device",
            expected="no attribute __cuda_array_interface__",
            seen=found,
        )


# -- dictionaries that every reader has to take


_OPTIONAL = {"strides": "CAI-10", "descr": "CAI-01", "mask": "CAI-01", "stream": "CAI-01"}
"""The keys that may be left out or be ``None``, and the clause that says so."""


@invariant(
    "cai.optional-keys",
    producer="CAI-01 CAI-05",
    consumer="CAI-10",
    bugs="I09",
    level=Level.MUST,
    cases=lambda env: every(
        env.dictionaries(),
        key=tuple(_OPTIONAL),
        form=("absent", "none"),
        layout=("c-order", "vector", "cube", "scalar"),
    ),
)
def test_optional_keys(exchange: Exchange) -> None:
    """A key that a dictionary need not have may be absent or ``None``; without strides an array is C-contiguous."""
    _expect_explicit_taken(exchange)
    key = exchange.option("key")
    source = exchange.crafted(cai_override={key: REMOVED if exchange.option("form") == "absent" else None})
    _expect_taken_right(exchange, source, _OPTIONAL[key])


@invariant(
    "cai.versions",
    producer="CAI-30 CAI-09 CAI-05",
    consumer="CAI-30 CAI-09",
    bugs="I09",
    level=Level.MUST,
    cases=lambda env: every(env.dictionaries(), version=("0", "1", "2", "3", "4")),
)
def test_versions(exchange: Exchange) -> None:
    """A dictionary of any version is read: 0 to 2 say nothing else about a plain array, and a newer one is no reason to refuse."""
    version = int(exchange.option("version"))
    changes: dict[str, Any] = {"version": version}
    if version < 3:
        changes["stream"] = REMOVED
    if version != 3:
        exchange.take(exchange.source(), promised="")
    _expect_taken_right(exchange, exchange.crafted(cai_override=changes), "CAI-30" if version < 3 else "CAI-09")


@invariant(
    "cai.unknown-keys",
    producer="CAI-05",
    context="G3",
    level=Level.MUST,
    cases=lambda env: every(env.dictionaries()),
)
def test_unknown_keys(exchange: Exchange) -> None:
    """A key that the reader does not know changes nothing."""
    exchange.take(exchange.source(), promised="")
    extra = {"offset": 4, "byte_offset": 4, "order": "F", "readonly": True, "some_later_key": object()}
    _expect_taken_right(exchange, exchange.crafted(cai_override=extra), "G3")


def _expect_explicit_taken(exchange: Exchange) -> None:
    """The reader takes this layout with everything said; where it does not, the case ends."""
    source = exchange.crafted()
    source.array.cai_override = {"strides": source.strides, "descr": [("", source.dtype.typestr)]}
    exchange.take(source, promised="")


def _expect_taken_right(exchange: Exchange, source: Source, clause: str) -> None:
    """The dictionary is accepted, as ``clause`` demands, and means the reference's array."""
    taken = exchange.take(source, promised=(clause,))
    view = exchange.look(taken)
    exchange.expect_address(source, view, "CAI-05")
    exchange.expect_shape(source, view)
    exchange.expect_values(source, exchange.read(taken), "CAI-05")


# -- dictionaries that no reader has to take


@invariant(
    "cai.mask",
    producer="CAI-15",
    consumer="CAI-15",
    level=Level.SHOULD,
    cases=lambda env: every(env.dictionaries()),
)
def test_mask(exchange: Exchange) -> None:
    """A mask is used or the array is refused; it is never dropped in silence."""
    exchange.take(exchange.source(), promised="")
    source = exchange.crafted()
    mask = exchange.make(exchange.producer, kind=dtype("bool"))
    source.array.cai_override = {"mask": mask.array}
    try:
        taken = exchange.take(source, promised="")
    except Refused:
        return
    if not _has_mask(taken, source):
        fail(
            "CAI-15",
            role=Role.CONSUMER,
            reason="the mask was dropped without a word",
            expected="a masked array, or a refusal",
            seen=f"a {type(taken).__name__} without a mask",
        )


def _has_mask(taken: Any, source: Source) -> bool:
    """Whether there is a mask with a word for every element: ``numpy.ma.nomask`` is one value, and hides nothing."""
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
    """An import keeps the exporting object alive.

    Keeping it alive is the user's duty; a reader that does it as well is noted. Another import follows: what is only kept
    until then is not held.
    """
    offer = exchange.offer(exchange.source())
    owner = weakref.ref(offer)
    taken = exchange.take(offer, promised="")
    del offer
    exchange.take(exchange.source(), promised="")
    collect()
    if owner() is None:
        fail(
            "CAI-27",
            role=Role.CONSUMER,
            level=Level.OBSERVED,
            reason="the import does not hold the exporting object: the user has to",
            expected="a reference to the exporter",
            seen=f"the exporter died while a {type(taken).__name__} on its memory lived",
        )


Change = Callable[[dict[str, Any]], Any]
"""From a well-formed dictionary to what the attribute yields instead."""


@dataclass(frozen=True)
class Malformed:
    """One thing wrong with a dictionary.

    ``readable`` says that a kind reader can still tell which array is meant.
    """

    change: Change
    clause: str
    readable: bool = False


def _without(key: str) -> Change:
    return lambda d: cai.without(d, key)


def _with(key: str, value: Callable[[Any], Any]) -> Change:
    return lambda d: {**d, key: value(d[key])}


def _numpy_ints(values: tuple[int, ...]) -> tuple[Any, ...]:
    import numpy

    return tuple(numpy.int64(v) for v in values)


_ROW, _ELEMENT = 16, 4
"""Strides in bytes of the array that all of these begin with: 3 by 4 elements of float32."""
_MALFORMED: dict[str, Malformed] = {
    "no-shape": Malformed(_without("shape"), "CAI-01"),
    "no-typestr": Malformed(_without("typestr"), "CAI-01"),
    "no-data": Malformed(_without("data"), "CAI-01"),
    "no-version": Malformed(_without("version"), "CAI-01", readable=True),
    "shape-list": Malformed(_with("shape", list), "CAI-02", readable=True),
    "shape-numpy-ints": Malformed(_with("shape", _numpy_ints), "CAI-02", readable=True),
    "shape-negative": Malformed(_with("shape", lambda s: (-s[0], s[1])), "CAI-02"),
    "shape-floats": Malformed(_with("shape", lambda s: tuple(map(float, s))), "CAI-02"),
    "typestr-of-nothing": Malformed(_with("typestr", lambda t: "<q4"), "CAI-03"),
    "typestr-without-width": Malformed(_with("typestr", lambda t: "|V0"), "CAI-03"),
    "typestr-name": Malformed(_with("typestr", lambda t: "float32"), "CAI-03", readable=True),
    "data-bare": Malformed(_with("data", lambda d: d[0]), "CAI-04", readable=True),
    "data-list": Malformed(_with("data", list), "CAI-04", readable=True),
    "data-bool": Malformed(_with("data", lambda d: (True, d[1])), "CAI-04"),
    "data-none": Malformed(_with("data", lambda d: (None, d[1])), "CAI-04"),
    "strides-list": Malformed(_with("strides", lambda s: [_ROW, _ELEMENT]), "CAI-11", readable=True),
    "strides-short": Malformed(_with("strides", lambda s: (_ROW,)), "CAI-11"),
    "strides-long": Malformed(_with("strides", lambda s: (_ROW, _ELEMENT, 1 << 40)), "CAI-11"),
    "version-text": Malformed(_with("version", str), "CAI-09", readable=True),
    "no-dict": Malformed(lambda d: None, "CAI-01"),
}


@invariant(
    "cai.malformed",
    producer="CAI-01 CAI-02 CAI-03 CAI-04 CAI-09 CAI-11",
    consumer="CAI-09",
    bugs="I25",
    level=Level.MUST,
    isolation=Isolation.RISKY,
    cases=lambda env: every(env.dictionaries(), dictionary=tuple(_MALFORMED)),
)
def test_malformed(exchange: Exchange) -> None:
    """A malformed dictionary ends in an exception, or in an array that lies in the producer's memory; never in a crash.

    Which exception is left to the reader. Where it can still be told which array is meant, it has to be that one.
    """
    malformed = _MALFORMED[exchange.option("dictionary")]
    _expect_explicit_taken(exchange)
    source = exchange.crafted()
    interface = source.array.__cuda_array_interface__
    offers = [_Yielding(malformed.change(interface), source.array) for _ in range(_TRIES)]
    for offer in offers:
        _expect_refused_or_right(exchange, malformed, source, offer)


_TRIES = 64
"""A reader that looks beyond the end of a tuple finds now this and now that there: many tuples side by side, one answer."""


def _expect_refused_or_right(exchange: Exchange, malformed: Malformed, source: Source, offer: Any) -> None:
    try:
        taken = exchange.consumer.take(offer, exchange.protocol, exchange.device)
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
            malformed.clause,
            role=Role.CONSUMER,
            level=Level.SHOULD,
            reason="a malformed dictionary was taken for an array that it cannot mean",
            expected="an exception, or the producer's array" if malformed.readable else "an exception",
            seen=f"{view.dtype} of shape {view.shape} and strides {view.strides} at {view.address:#x}",
        )


class _Yielding:
    """An object whose attribute yields whatever it is told to; it keeps ``owner`` alive."""

    def __init__(self, described: Any, owner: Any) -> None:
        self.__cuda_array_interface__ = described
        self.owner = owner


def _is_the_array(source: Source, view: View) -> bool:
    same_place = view.address == source.address and view.shape == source.view.shape
    return same_place and same_strides(view.shape, view.strides, source.strides)


def _is_inside(source: Source, view: View) -> bool:
    """Whether every byte of the view belongs to the producer's block."""
    if any(extent < 0 for extent in view.shape):
        return False
    if 0 in view.shape:
        return True
    kind = DTYPES.get(view.dtype or "")
    reach = [(extent - 1) * stride for extent, stride in zip(view.shape, view.strides)]
    first = view.address + sum(r for r in reach if r < 0)
    last = view.address + sum(r for r in reach if r > 0) + (kind.itemsize if kind else 1)
    return source.address <= first and last <= source.address + len(source.block)


# -- addresses that are none


@invariant(
    "cai.garbage-address",
    consumer="CAI-29",
    level=Level.MUST,
    isolation=Isolation.RISKY,
    cases=lambda env: every(env.dictionaries(), address=("small", "nowhere", "host", "freed")),
)
def test_garbage_address(exchange: Exchange) -> None:
    """An address that is no memory of the device is refused; importing it never crashes and leaves the context whole.

    No document makes the reader check: accepting the address is only noted, and nothing is read through it.
    """
    exchange.take(exchange.source(), promised="")
    garbage = _Garbage(exchange)
    address = getattr(garbage, exchange.option("address"))()
    source = exchange.crafted(cai_override={"data": (address, False)})
    try:
        taken = exchange.take(source, promised="")
    except Refused:
        return
    exchange.check_context()
    fail(
        "CAI-29",
        role=Role.CONSUMER,
        level=Level.OBSERVED,
        reason="an address that is no memory of the device was accepted",
        expected="a refusal",
        seen=f"a {type(taken).__name__} at {address:#x}",
    )


class _Garbage:
    """Addresses that the device does not reach, and what has to stay alive for them to be what they are."""

    def __init__(self, exchange: Exchange) -> None:
        self._memory = _memory(exchange)
        self._buffer = ctypes.create_string_buffer(4096)

    def small(self) -> int:
        """Inside the page that no process has."""
        return 419

    def nowhere(self) -> int:
        """In the half of the address space that belongs to no user."""
        return 0x7FFF_FFFF_F000 << 8

    def host(self) -> int:
        """Pageable memory of the host."""
        return ctypes.addressof(self._buffer)

    def freed(self) -> int:
        """Memory of the device that was given back."""
        block = self._memory.allocate(1 << 22)
        address = block.address
        del block
        collect()
        return address
