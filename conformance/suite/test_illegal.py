"""Family ``illegal``: capsules and dictionaries that contradict themselves or describe an impossible array.

No protocol allows such input; the suite makes it on purpose. So no failure violates a clause. A crash, an exception that indicates a bug,
and wrong elements count as robustness. The suite only records that a consumer accepts such input, and reads nothing through an address
without memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from conformance.adapters.base import Device, Protocol, Trait, View
from conformance.checks.catalogue import Draft, Isolation, every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Source, show
from conformance.checks.layouts import layout
from conformance.checks.libraries import Environment, Pair
from conformance.checks.offers import Offered
from conformance.checks.outcomes import Refused, Side, fail
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dtypes import NATIVE_ORDER, dtype
from conformance.reference.exporter import NEWEST

_KINDS = {"host": (1, 0), "cuda": (2, 0), "rocm": (10, 0)}
"""Devices for a capsule: host, CUDA and ROCm memory."""


LEGACY = "legacy"


def _newest(exchange: Exchange) -> tuple[int, int] | None:
    """Return the newest version that the producer exports; ``None`` makes it export legacy capsules, as an older producer does."""
    return None if exchange.option("struct", "") == LEGACY else NEWEST


def _in_legacy(env: Environment, **axes: Any) -> Iterator[Draft]:
    """Yield the same cases with a legacy capsule, which some consumers read by another function."""
    return every(env.imports(Protocol.DLPACK), quick=lambda pair: False, **axes, struct=(LEGACY,))


def _kinds(pair: Pair) -> tuple[str, ...]:
    return ("cuda", "rocm") if pair.device is Device.HOST else ("rocm", "host")


def _contradicting(env: Environment) -> Iterator[Draft]:
    """Yield each consumer with each kind of device that is not the array's."""
    yield from every(env.imports(Protocol.DLPACK), named=_kinds)
    yield from _in_legacy(env, named=_kinds)


@invariant(
    "illegal.capsule-device",
    context="DLP-16 DLP-45",
    bugs="device-07 device-30",
    level=Level.ROBUSTNESS,
    isolation=Isolation.RISKY,
    cases=_contradicting,
)
def test_capsule_device(exchange: Exchange) -> None:
    """A consumer should refuse a capsule that names another kind of device than ``__dlpack_device__``, and should not crash.

    A consumer that reads only one of the two may access the memory of the wrong device. Here the method names the real device.
    """
    source = exchange.crafted(override={"device": _KINDS[exchange.option("named")]}, newest=_newest(exchange))
    given = "a capsule that alone names another kind of device"
    exchange.illegal(given)
    _expect_refused(exchange, Offered(source.array.__dlpack__, source.array.device()), "DLP-45", given)


def _expect_refused(exchange: Exchange, offer: Any, cited: str, given: str) -> None:
    """Fail on a crash or an unclean refusal; an accepted import is not read."""
    exchange.expect_refusal(
        lambda: exchange.consumer.take(offer, exchange.protocol, exchange.device),
        cited,
        role=Role.CONSUMER,
        given=given,
    )
    exchange.check_context()


@invariant(
    "illegal.null-address",
    context="DLP-19 CAI-06",
    bugs="pointer-02",
    level=Level.ROBUSTNESS,
    isolation=Isolation.RISKY,
    cases=lambda env: chain(every(p for p in env.imports() if not _is_user_made(p)), _in_legacy(env)),
)
def test_null_address(exchange: Exchange) -> None:
    """A consumer should refuse an array with elements at address 0, and should not crash."""
    source = exchange.crafted(
        override={"data": 0, "byte_offset": 0}, cai_override={"data": (0, False)}, newest=_newest(exchange)
    )
    given = "an array with elements at address 0"
    exchange.illegal(given)
    _expect_refused(exchange, exchange.offer(source), exchange.reading(), given)


def _is_user_made(pair: Pair) -> bool:
    """Return whether a user builds the import on a bare pointer, so that the library never sees the dictionary."""
    return pair.protocol is Protocol.CAI and pair.consumer.has(Trait.POINTER_ONLY)


_BLOCK, _COUNT = "vector", 4
"""The layout of the block, and the number of elements that the capsule describes. They end before the block does."""


def _wide(pair: Pair) -> tuple[str, ...]:
    """Return element types of 2, 8 and 16 bytes: a consumer may round an address to only one of these widths."""
    return tuple(name for name in ("int16", "float64", "complex128") if name in pair.target.dtypes)


@invariant(
    "illegal.misaligned-address",
    context="DLP-18 CAI-05",
    bugs="I32",
    level=Level.ROBUSTNESS,
    isolation=Isolation.RISKY,
    cases=lambda env: chain(
        every(env.imports()), every(env.imports(), quick=lambda pair: False, dtype=_wide), _in_legacy(env)
    ),
)
def test_misaligned_address(exchange: Exchange) -> None:
    """A consumer should refuse an address that is not a multiple of the element size, or read the bytes there, and should not crash.

    A GPU kernel cannot read such elements, so the case reads them only by copies.
    """
    source = exchange.crafted(form=layout(_BLOCK), newest=_newest(exchange))
    nbytes = _COUNT * source.dtype.itemsize
    changed = {"shape": (_COUNT,), "strides": (1,), "data": source.address + 1}
    source.array.override = changed
    source.array.cai_override = {"shape": (_COUNT,), "strides": None, "data": (source.address + 1, False)}
    exchange.illegal("an address that is no multiple of the element's size")
    taken = _taken(exchange, source)
    if taken is not None:
        _expect_bytes(exchange, source, exchange.read(taken), source.block[1 : 1 + nbytes])


def _taken(exchange: Exchange, source: Source, promised: str = "") -> Any:
    """Return the import, or ``None`` if the consumer refuses it cleanly, which is correct for illegal input."""
    try:
        return exchange.take(source, promised=promised)
    except Refused as refusal:
        exchange.notes["refusal"] = str(refusal)
        return None


def _expect_bytes(exchange: Exchange, source: Source, seen: bytes, wanted: bytes) -> None:
    if seen != wanted:
        fail(
            Code.VALUES_CHANGED, exchange.reading(), role=Role.CONSUMER, reason=f"the consumer reads other bytes from {exchange.given}",
            expected=f"{show(wanted, source.dtype)}, or a refusal", seen=show(seen, source.dtype), accused=Side.CONSUMER,
        )  # fmt: skip


_STREAMS = {"zero": 0, "minus-one": -1}
"""Invalid stream numbers; the interface explicitly forbids 0."""
_OPT_OUTS = {"cvcuda": "DOC-CP-8"}
"""By library: the clause of its documentation that defines -1."""


@invariant(
    "illegal.dictionary-stream",
    consumer="DOC-CP-8 CAI-32",
    context="CAI-16 CAI-21",
    bugs="stream-06 stream-08",
    level=Level.MUST,
    isolation=Isolation.RISKY,
    cases=lambda env: every(env.imports(Protocol.CAI), stream=tuple(_STREAMS)),
)
def test_dictionary_stream(exchange: Exchange) -> None:
    """A consumer must refuse a dictionary with ``stream`` 0 or -1 or read the right elements, and must not crash.

    The interface forbids 0, and -1 is not a stream, so a failure counts as robustness. A consumer that documents a meaning of -1 must accept
    it. No work is pending here, so the elements are right with any wait.
    """
    number = _STREAMS[exchange.option("stream")]
    source = exchange.crafted(cai_override={"stream": number})
    cited = _OPT_OUTS.get(exchange.consumer.name, "") if number == exchange.consumer.opt_out else ""
    given = f"a dictionary with `stream: {number}`"
    exchange.notes["stream"] = "a documented opt-out of every wait" if cited else "no stream: illegal input"
    (exchange.special if cited else exchange.illegal)(given)
    taken = _taken(exchange, source, cited)
    if taken is not None:
        _expect_bytes(exchange, source, exchange.read(taken), source.values)


@dataclass(frozen=True)
class _Width:
    """An element type with a ``typestr`` and a ``descr`` of different widths; an empty ``typestr`` means that of the element type."""

    kind: str
    typestr: str
    descr: str


_WIDTHS = {
    "void": _Width("float64", "|V8", "|V4"),
    "wide-void": _Width("float32", "|V4", "|V8"),
    "number": _Width("float32", "", f"{NATIVE_ORDER}f8"),
}


@invariant(
    "illegal.descr-width",
    context="CAI-03 CAI-14",
    bugs="I09",
    level=Level.ROBUSTNESS,
    isolation=Isolation.RISKY,
    cases=lambda env: every(env.dictionaries(), width=tuple(_WIDTHS)),
)
def test_descr_width(exchange: Exchange) -> None:
    """A consumer should refuse elements whose ``descr`` and ``typestr`` have different widths, or use the width of ``typestr``.

    A consumer that uses the width of ``descr`` reads beyond the memory of the array, or only half of it.
    """
    width = _WIDTHS[exchange.option("width")]
    kind = dtype(width.kind)
    descr = [("", width.descr)]
    source = exchange.crafted(kind=kind, cai_override={"typestr": width.typestr or kind.typestr, "descr": descr})
    exchange.illegal("a dictionary with a `descr` of another width than its `typestr`")
    taken = _taken(exchange, source)
    if taken is None:
        return
    view = exchange.look(taken)
    span = source.view.size * kind.itemsize
    if view.address == source.address and view.shape == source.view.shape and _reach(view) + 1 > span:
        _wrong_width(exchange, f"elements at strides of {view.strides} bytes, which end beyond the array")
    _expect_bytes(exchange, source, exchange.read(taken), source.values)


def _reach(view: View) -> int:
    """Return the bytes from element 0 to the element at the highest address."""
    return sum((extent - 1) * stride for extent, stride in zip(view.shape, view.strides))


def _wrong_width(exchange: Exchange, seen: str) -> None:
    fail(
        Code.VALUES_CHANGED, exchange.reading(), role=Role.CONSUMER, reason=f"the consumer describes {exchange.given} as larger than it is",
        expected="the width of `typestr`, or a refusal", seen=seen, accused=Side.CONSUMER,
    )  # fmt: skip
