"""Combinations of the four keywords of ``__dlpack__``, and the checks of the result of a call."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from conformance.adapters.base import Device, peek
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import DLFlags, Tensor

from .codes import Code
from .covering_arrays import Space, covering
from .exchange import Exchange, Source, brief, show
from .handover_record import elements_at, of_tensor
from .offers import older_signature, told_call
from .outcomes import Failure, Inconclusive, Refused, Side, fail
from .steps import Doing

ABSENT = "absent"
_HOST, _UNKNOWN = (1, 0), (99, 0)
VERSIONS: dict[str, Any] = {
    "version-none": None, "version-0.8": (0, 8), "version-1.0": (1, 0), "version-1.1": (1, 1), "version-1.9": (1, 9), "version-2.0": (2, 0),
}  # fmt: skip
COPIES: dict[str, Any] = {"copy-none": None, "copy-true": True, "copy-false": False}
STREAMS: dict[str, Any] = {"stream-none": None, "stream-1": 1, "stream-2": 2, "stream-minus-1": -1}
_OWN, _ELSEWHERE, _TO_HOST = "device-own", "device-unknown", "device-host"
_BY_LEVEL: dict[str, dict[str, Any]] = {"max_version": VERSIONS, "copy": COPIES, "stream": STREAMS}
A_STREAM = "a stream for host memory"


def space(device: Device) -> Space:
    """Return the keywords with their values on this device. Each keyword may be absent.

    For host memory, the stream 1 is an illegal value. A copy to the host is complete on return, so it is not combined with a stream (DLP-37).
    """
    on_host = device is Device.HOST
    streams = ("stream-none", "stream-1") if on_host else tuple(STREAMS)
    devices = ("device-none", _OWN, _ELSEWHERE, *(() if on_host else (_TO_HOST,)))
    factors = {"max_version": tuple(VERSIONS), "copy": tuple(COPIES), "stream": streams, "dl_device": devices}
    apart = () if on_host else [frozenset({("dl_device", _TO_HOST), ("stream", name)}) for name in streams[1:]]
    return Space(tuple((name, (ABSENT, *levels)) for name, levels in factors.items()), frozenset(apart))


@lru_cache
def calls(device: Device) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Return calls that cover every pair of values of two keywords. A call is a sequence of keywords with their levels."""
    points = [
        tuple((name, level) for name, level in point.items() if level != ABSENT) for point in covering(space(device))
    ]
    return tuple(point for point in points if point)


def judge_call(exchange: Exchange, given: Mapping[str, str]) -> None:
    """Call ``__dlpack__`` with these levels, and check the result.

    After a failure, the check drops each keyword that the failure does not need.
    """
    try:
        _judge(exchange, given)
    except Failure as failure:
        raise _reduced(exchange, given, failure) from failure


def _reduced(exchange: Exchange, given: Mapping[str, str], failure: Failure) -> Failure:
    """Return the failure with the keywords that it needs as the special input."""
    left = dict(given)
    for name in given:
        fewer = {key: level for key, level in left.items() if key != name}
        if fewer and _fails_alike(exchange, fewer, failure):
            left = fewer
    words = failure.given
    if len(left) > 1 or failure.code is Code.KEYWORD_REFUSED:
        values = _values(left, None)
        told = [f"`{name}={'its own' if level == _OWN else repr(values[name])}`" for name, level in left.items()]
        words = " with ".join(told)
    return Failure(
        failure.code, failure.clause, failure.role, failure.level, failure.reason, failure.expected, failure.seen,
        given=words, accused=failure.accused, library=failure.library,
    )  # fmt: skip


def _fails_alike(exchange: Exchange, given: Mapping[str, str], failure: Failure) -> bool:
    trial = exchange.apart()
    trial.is_illegal = False
    try:
        _judge(trial, given)
    except Failure as other:
        return other.code is failure.code
    except (Refused, Inconclusive):
        return False
    return False


def _values(given: Mapping[str, str], own: tuple[int, int] | None) -> dict[str, Any]:
    devices = {"device-none": None, _OWN: own, _ELSEWHERE: _UNKNOWN, _TO_HOST: _HOST}
    return {name: {**_BY_LEVEL, "dl_device": devices}[name][level] for name, level in given.items()}


def _judge(exchange: Exchange, given: Mapping[str, str]) -> None:
    source = exchange.source()
    offer = exchange.offer(source)
    keywords = _values(given, exchange.told_device(offer))
    if exchange.device is Device.HOST and keywords.get("stream") is not None:
        _expect_stream_refused(exchange, source, keywords)
        return
    try:
        exported = _ask(exchange, source, keywords)
    except Exception as error:
        exchange.check_context(error)
        _judge_refusal(exchange, source, given, keywords, error)
        return
    tensor = exchange.decode(exported)
    _judge_device(exchange, given, keywords, tensor)
    _judge_version(exchange, source, keywords, tensor)
    _judge_memory(exchange, source, given, keywords, tensor)


def _expect_stream_refused(exchange: Exchange, source: Source, keywords: dict[str, Any]) -> None:
    """Fail if the producer accepts a stream for host memory. ``negotiation.host-stream`` checks the exception."""
    exchange.illegal(A_STREAM)
    try:
        _ask(exchange, source, keywords)
    except Exception as error:
        exchange.check_context(error)
        return
    fail(
        Code.ILLEGAL_ACCEPTED, "DLP-30", role=Role.PRODUCER, reason=f"the producer accepts {A_STREAM}", expected="an exception",
        seen=f"a capsule for {told_call(keywords)}", given=A_STREAM, accused=Side.PRODUCER,
    )  # fmt: skip


def _ask(exchange: Exchange, source: Source, keywords: Mapping[str, Any]) -> Any:
    with exchange.step(Doing.EXPORT, Role.PRODUCER):
        offer: Any = exchange.producer.offer(source.array, exchange.protocol)
        return offer.__dlpack__(**keywords)


def _judge_refusal(
    exchange: Exchange, source: Source, given: Mapping[str, str], keywords: dict[str, Any], error: Exception
) -> None:
    """Fail if the producer must not refuse this call.

    It may refuse a device, a copy, a version below 1.0, and a call with a keyword that it also refuses alone.
    """
    told = f"{exchange.producer.name} refused {told_call(keywords)}: {brief(error)}"
    if given.get("dl_device") == _ELSEWHERE or (given.get("dl_device") == _TO_HOST and keywords.get("copy") is False):
        return
    may = (
        keywords.get("copy") is True
        or given.get("dl_device") == _TO_HOST
        or (keywords.get("max_version") or (0,))[0] < 1
    )
    if may or older_signature(error) or len(given) == 1:
        raise Refused(told) from error
    for name, value in keywords.items():
        try:
            _ask(exchange, source, {name: value})
        except Exception as alone:
            exchange.check_context(alone)
            raise Refused(f"{told}; it also refuses {name} alone: {brief(alone)}") from error
    fail(
        Code.KEYWORD_REFUSED, "DLP-30", role=Role.PRODUCER, level=Level.SHOULD,
        reason="the producer refuses a combination of keywords, although it accepts each keyword alone", expected="a capsule",
        seen=f"{told_call(keywords)}: {brief(error)}",
    )  # fmt: skip


def _judge_device(exchange: Exchange, given: Mapping[str, str], keywords: dict[str, Any], tensor: Tensor) -> None:
    asked = keywords.get("dl_device")
    if asked is not None and tensor.device != asked:
        fail(
            Code.DEVICE_IGNORED, "DLP-38", role=Role.PRODUCER, reason="the producer exports to another device than `dl_device` requests",
            expected=f"device {asked}, or BufferError", seen=f"device {tensor.device} for {told_call(keywords)}",
        )  # fmt: skip


def _judge_version(exchange: Exchange, source: Source, keywords: dict[str, Any], tensor: Tensor) -> None:
    """Fail if the struct is newer than requested, or older than the struct that the producer exports for version 1.0."""
    asked = keywords.get("max_version")
    if tensor.version is not None and tensor.version[0] > (asked or (0,))[0]:
        fail(
            Code.VERSION_TOO_NEW, "DLP-02", role=Role.PRODUCER, reason="the producer exports a newer struct than the consumer requests",
            expected=f"a legacy struct, or at most major version {(asked or (0,))[0]}", seen=f"version {tensor.version} for {told_call(keywords)}",
        )  # fmt: skip
    if tensor.version is not None or asked is None or asked < (1, 0):
        return
    try:
        plain = exchange.decode(_ask(exchange, source, {"max_version": (1, 0)})).version
    except Exception as error:
        exchange.check_context(error)
        plain = None
    if plain is not None:
        fail(
            Code.VERSION_TOO_OLD, "DLP-02", role=Role.PRODUCER,
            reason="the producer exports an older struct to a consumer that accepts a newer one",
            expected=f"a versioned struct, as for max_version=(1, 0) alone: {plain}", seen=f"a legacy struct for {told_call(keywords)}",
        )  # fmt: skip


def _judge_memory(
    exchange: Exchange, source: Source, given: Mapping[str, str], keywords: dict[str, Any], tensor: Tensor
) -> None:
    """Fail if the producer copies without a request, shares despite a request, or exports a wrong flag or wrong elements."""
    copy, to_host = keywords.get("copy"), given.get("dl_device") == _TO_HOST
    moved = tensor.element0 != source.address
    exchange.expect_tensor(source, tensor)
    if copy is True and not moved:
        fail(
            Code.COPY_SHARED, "DLP-39", role=Role.PRODUCER, reason="the producer shares its memory although copy=True requests a copy",
            expected="a copy in other memory", seen=f"element 0 at the array's {source.address:#x} for {told_call(keywords)}",
        )  # fmt: skip
    if copy is not True and moved and not to_host:
        by_word = copy is False
        fail(
            Code.COPY_MADE if by_word else Code.NOT_SHARED, "DLP-39" if by_word else "DLP-43", role=Role.PRODUCER,
            reason=f"the producer copies although {'copy=False forbids it' if by_word else 'no copy is requested'}",
            expected=f"element 0 at {source.address:#x}", seen=f"element 0 at {tensor.element0:#x} for {told_call(keywords)}",
            accused=Side.PRODUCER,
        )  # fmt: skip
    _judge_flags(keywords, tensor, moved=moved)
    where = Device.HOST if to_host else exchange.device
    handed = of_tensor(tensor)
    seen = elements_at(handed, handed.address, lambda address, nbytes: peek(address, nbytes, where))
    if seen is not None and seen != source.values:
        fail(
            Code.VALUES_CHANGED, "DLP-59", role=Role.PRODUCER, reason="the producer exports elements that differ from the array's",
            expected=show(source.values, source.dtype), seen=show(seen, source.dtype), accused=Side.PRODUCER,
        )  # fmt: skip


def _judge_flags(keywords: dict[str, Any], tensor: Tensor, *, moved: bool) -> None:
    if tensor.flags is None:
        return
    if moved != bool(tensor.flags & DLFlags.IS_COPIED):
        fail(
            Code.COPIED_FLAG_MISSING if moved else Code.COPIED_FLAG_INVENTED, "DLP-10", role=Role.PRODUCER,
            reason="the producer copies without setting IS_COPIED" if moved else "the producer sets IS_COPIED, but shares the memory",
            expected=f"IS_COPIED {'set' if moved else 'clear'}", seen=f"flags {tensor.flags} for {told_call(keywords)}",
        )  # fmt: skip
    allowed = int(DLFlags.READ_ONLY | DLFlags.IS_COPIED)
    if tensor.flags & ~allowed:
        fail(
            Code.FLAG_UNDEFINED, "DLP-07", role=Role.PRODUCER, reason="the producer sets an undefined flag",
            expected=f"no flags except {allowed:#x}", seen=f"flags {tensor.flags:#x}",
        )  # fmt: skip
