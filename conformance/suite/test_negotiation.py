"""Family ``negotiation``: the arguments and answers of ``__dlpack__`` and ``__dlpack_device__``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NoReturn

from conformance.adapters.base import Device, Protocol, Trait
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Draft, Isolation, Tier, dtypes, every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Source, brief
from conformance.checks.export_keywords import calls, judge_call, space
from conformance.checks.libraries import REFERENCE, Environment, Pair
from conformance.checks.offers import (
    STRUCTS,
    KeywordOnly,
    Offered,
    Prepared,
    StreamAndVersion,
    StreamOnly,
    asks_for_versioned,
    expect_one_owner,
    expect_streams,
    older_signature,
    prepared,
    told_call,
)
from conformance.checks.outcomes import Refused, fail
from conformance.checks.steps import Doing
from conformance.ordering.histories import fresh
from conformance.protocols import capsule
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import DLFlags, DLManagedTensorVersioned, Tensor
from conformance.protocols.strided import packed
from conformance.reference.exporter import NEWEST
from conformance.reference.managed import Deleter
from conformance.reference.memory import HostMemory

ON_CUDA = (Device.CUDA, Device.SIMULATED)
VERSIONS = {"none": None, "0.8": (0, 8), "1.0": (1, 0), "1.99": (1, 99), "2.0": (2, 0)}
DEVICES = {"host": (1, 0), "cuda": (2, 0), "other-cuda": (2, 9), "rocm": (10, 0), "unknown": (99, 0)}
ROCM, UNKNOWN = (10, 0), (99, 0)
_PLACES = {Device.HOST: "host memory", Device.CUDA: "CUDA memory", Device.SIMULATED: "CUDA memory"}


# -- requests to a producer


def _export(exchange: Exchange, source: Source, **keywords: Any) -> Any:
    """Return the producer's answer to these keywords; a refusal ends the case as refused."""
    offer = exchange.offer(source)
    try:
        return _ask(exchange, offer, **keywords)
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"{exchange.producer.name} refused {told_call(keywords)}: {brief(error)}") from error


def _ask(exchange: Exchange, offer: Any, **keywords: Any) -> Any:
    """Return the producer's answer to these keywords; its exception propagates."""
    with exchange.step(Doing.EXPORT, Role.PRODUCER):
        return offer.__dlpack__(**keywords)


def _versioned(exchange: Exchange, source: Source, **keywords: Any) -> Tensor:
    """Return the content of a versioned capsule; a producer with only legacy capsules ends the case as refused."""
    tensor = exchange.decode(_export(exchange, source, max_version=(1, 0), **keywords))
    if tensor.version is None:
        raise Refused(f"{exchange.producer.name} exports legacy structs only, which have no flags")
    return tensor


def _struct_version(exchange: Exchange, exported: Any) -> tuple[int, int] | None:
    """Return the version in the struct's header, or ``None`` for legacy. Read nothing behind the header (DLP-04)."""
    if not capsule.is_capsule(exported) or capsule.name(exported) != b"dltensor_versioned":
        return exchange.decode(exported).version
    header = DLManagedTensorVersioned.from_address(capsule.pointer(exported)).version
    return (int(header.major), int(header.minor))


@invariant(
    "negotiation.version",
    producer="DLP-02 DLP-06",
    bugs="I23",
    level=Level.SHOULD,
    cases=lambda env: every(env.exports(Protocol.DLPACK), asked=tuple(VERSIONS)),
)
def test_version(exchange: Exchange) -> None:
    """A producer should not export a newer struct than the consumer requests, or an older one because the consumer requests more.

    Without ``max_version``, or with one below 1.0, it should export the legacy struct or raise ``BufferError``.
    """
    asked = VERSIONS[exchange.option("asked")]
    source = exchange.source()
    given = _struct_version(exchange, _export(exchange, source, max_version=asked))
    if given is not None and given[0] > (asked or (0,))[0]:
        fail(
            Code.VERSION_TOO_NEW,
            "DLP-02",
            role=Role.PRODUCER,
            reason="the producer exports a newer struct than the consumer asked for",
            expected=f"legacy or at most major version {(asked or (0,))[0]}",
            seen=f"version {given} for max_version={asked}",
        )
    if given is None and asked is not None and asked > (1, 0):
        least = _struct_version(exchange, _export(exchange, source, max_version=(1, 0)))
        if least is not None:
            fail(
                Code.VERSION_TOO_OLD,
                "DLP-02",
                role=Role.PRODUCER,
                reason="the producer exports an older struct to a consumer that asks for a newer one",
                expected=f"a versioned struct, as for max_version=(1, 0): {least}",
                seen=f"the legacy struct for max_version={asked}",
            )
        raise Refused(f"{exchange.producer.name} exports legacy structs only")


@invariant(
    "negotiation.copied-flag",
    producer="DLP-10 DLP-39",
    level=Level.MUST,
    cases=lambda env: every(
        env.exports(Protocol.DLPACK),
        copy=lambda pair: ("true", "default", "false") + (("to-host",) if pair.device is Device.CUDA else ()),
        dtype=dtypes("float32", "uint8"),
    ),
)
def test_copied_flag(exchange: Exchange) -> None:
    """A producer must set IS_COPIED if and only if the capsule holds a copy."""
    keywords: dict[str, dict[str, Any]] = {
        "true": {"copy": True}, "false": {"copy": False}, "default": {}, "to-host": {"dl_device": DEVICES["host"]},
    }  # fmt: skip
    source = exchange.source()
    tensor = _versioned(exchange, source, **keywords[exchange.option("copy")])
    exchange.expect_tensor(source, tensor)
    moved = tensor.element0 != source.address
    flagged = bool((tensor.flags or 0) & DLFlags.IS_COPIED)
    if moved != flagged:
        fail(
            Code.COPIED_FLAG_MISSING if moved else Code.COPIED_FLAG_INVENTED,
            "DLP-10",
            role=Role.PRODUCER,
            reason=f"the producer {'copies without setting' if moved else 'sets'} IS_COPIED{'' if moved else ' for shared memory'}",
            expected=f"IS_COPIED {'set' if moved else 'clear'}: element 0 is at {tensor.element0:#x}, "
            f"the array's at {source.address:#x}",
            seen=f"flags {tensor.flags}",
        )
    if exchange.option("copy") == "true" and not moved:
        fail(
            Code.COPY_SHARED, "DLP-39", role=Role.PRODUCER, reason="the producer shares its memory although copy=True requests a copy",
            expected="new memory", seen=f"element 0 at the array's address {source.address:#x}",
        )  # fmt: skip


@invariant(
    "negotiation.defined-flags",
    producer="DLP-07",
    level=Level.SHOULD,
    cases=lambda env: every(env.exports(Protocol.DLPACK), dtype=dtypes("float32", "bool", "complex64", "bfloat16")),
)
def test_defined_flags(exchange: Exchange) -> None:
    """A producer should not set a flag that DLPack does not define, or the padding flag for elements of whole bytes."""
    tensor = _versioned(exchange, exchange.source())
    allowed = int(DLFlags.READ_ONLY | DLFlags.IS_COPIED)
    if (tensor.flags or 0) & ~allowed:
        fail(
            Code.FLAG_UNDEFINED, "DLP-07", role=Role.PRODUCER, reason="the producer sets a flag that has no meaning here",
            expected=f"at most {allowed:#x}", seen=f"flags {tensor.flags:#x}",
        )  # fmt: skip


_KEYWORDS = ("stream", "max_version", "dl_device", "copy")
_ASKED: tuple[dict[str, Any], ...] = ({}, {"max_version": NEWEST}, {"max_version": (1, 0)})
_COPIES_ASKED: tuple[dict[str, Any], ...] = ({"copy": False}, {"copy": True})


@invariant(
    "negotiation.signature",
    producer="DLP-30 DLP-02 DLP-43",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), keyword=("all", *_KEYWORDS)),
)
def test_signature(exchange: Exchange) -> None:
    """A producer must accept ``None`` for each of the four keywords, with the same meaning as a missing keyword."""
    chosen = _KEYWORDS if exchange.option("keyword") == "all" else (exchange.option("keyword"),)
    source = exchange.source()
    first = int(exchange.is_locked)  # a producer exports a read-only array only to a request with a version
    for asked in _ASKED[first:] if len(chosen) > 1 else _ASKED[first : first + 1]:
        _expect_none_taken(exchange, source, chosen, asked)
    for asked in _COPIES_ASKED if len(chosen) > 1 else ():
        with suppress(Refused):  # a producer may refuse either
            _expect_none_taken(exchange, source, chosen, asked)


def _expect_none_taken(exchange: Exchange, source: Source, chosen: tuple[str, ...], asked: dict[str, Any]) -> None:
    """Fail unless the producer treats ``None`` for these keywords as the default, in addition to the keywords in ``asked``."""
    keywords = {**dict.fromkeys(chosen), **asked}
    try:
        exported = _ask(exchange, exchange.offer(source), **keywords)
    except Exception as error:
        exchange.check_context(error)
        _judge_refused_none(exchange, source, tuple(name for name in chosen if name not in asked), asked, error)
    tensor = exchange.decode(exported)
    if tensor.version is not None and not asked:
        fail(
            Code.VERSION_TOO_NEW, "DLP-02", role=Role.PRODUCER, reason="the producer exports a versioned struct to a request without a version",
            expected="a legacy struct", seen=f"version {tensor.version} for {told_call(keywords)}",
        )  # fmt: skip
    if source.view.size and not asked.get("copy") and tensor.element0 != source.address:
        _copied(
            exchange,
            source,
            tensor,
            f"the producer copies for {told_call(keywords)}, although None means the default",
        )


def _judge_refused_none(
    exchange: Exchange, source: Source, chosen: tuple[str, ...], asked: dict[str, Any], error: Exception
) -> NoReturn:
    """Fail because the producer refuses ``None`` for a keyword, or because its signature is of an older edition of the standard.

    End the case as refused if the producer refuses the array with only the keywords in ``asked``, which a read-only array needs.
    Every edition has ``stream``, so a producer without it is not simply older.
    """
    _export(exchange, source, **asked)
    refused = [
        (name, alone) for name in chosen if (alone := _refusal_of_none(exchange, source, name, asked)) is not None
    ]
    for name, alone in refused:
        if name == "stream" or not older_signature(alone):
            _refuses_keyword(name, None, "DLP-30", alone)
    if refused or older_signature(error):
        fail(
            Code.OLDER_SIGNATURE, "DLP-30", role=Role.PRODUCER, level=Level.SHOULD,
            reason="the producer has the signature of an older edition of the array API standard", expected="a capsule",
            seen=f"{told_call(dict.fromkeys(chosen))}: {brief(error)}",
        )  # fmt: skip
    fail(
        Code.KEYWORD_REFUSED, "DLP-30", role=Role.PRODUCER, reason="the producer refuses the defaults of all four keywords together",
        expected="a capsule", seen=f"{told_call(dict.fromkeys(chosen))}: {brief(error)}", given="`None` for all four keywords",
    )  # fmt: skip


def _refusal_of_none(exchange: Exchange, source: Source, name: str, asked: dict[str, Any]) -> Exception | None:
    """Return the producer's exception, if any, for ``None`` for this keyword alone, in addition to the keywords in ``asked``."""
    try:
        _ask(exchange, exchange.offer(source), **{**asked, name: None})
    except Exception as error:
        exchange.check_context(error)
        return error
    return None


def _refuses_keyword(name: str, value: Any, clause: str, error: Exception) -> NoReturn:
    fail(
        Code.KEYWORD_REFUSED, clause, role=Role.PRODUCER, reason=f"the producer refuses {name}={value!r}, which the protocol allows",
        expected="a capsule", seen=f"{told_call({name: value})}: {brief(error)}", given=f"`{name}={value!r}`",
    )  # fmt: skip


def _copied(exchange: Exchange, source: Source, tensor: Tensor, reason: str) -> NoReturn:
    """Fail because the producer exports a copy. A different place in the array's own memory fails as a wrong address instead."""
    exchange.expect_tensor(source, tensor)
    fail(
        Code.NOT_SHARED, "DLP-43", role=Role.PRODUCER, reason=reason,
        expected=f"element 0 at {source.address:#x}", seen=f"element 0 at {tensor.element0:#x}",
    )  # fmt: skip


def _calls(env: Environment) -> Iterator[Draft]:
    """Yield one case for each call; the quick tier has those with a single keyword."""
    for pair in env.exports(Protocol.DLPACK):
        for call in calls(pair.device):
            names = (pair.producer.name, pair.consumer.name, pair.protocol.value, pair.device)
            yield Draft(*names, call, Tier.QUICK if len(call) == 1 else Tier.FULL)


@invariant(
    "negotiation.keywords-together",
    producer="DLP-30 DLP-01 DLP-02 DLP-07 DLP-10 DLP-13 DLP-16 DLP-38 DLP-39 DLP-43 DLP-59",
    context="DLP-31 DLP-36 DLP-37",
    level=Level.MUST,
    cases=_calls,
)
def test_keywords_together(exchange: Exchange) -> None:
    """A producer must treat each keyword of ``__dlpack__`` in the same way when it gets several together.

    The calls cover every pair of values of two keywords. Each answer is checked by all rules: version, device, copy or shared memory,
    flags, description and elements. Other families check the work that a stream waits for. After a failure the case removes each keyword
    that the failure does not need.
    """
    keywords = dict(space(exchange.device).factors)
    judge_call(exchange, {name: level for name, level in exchange.case.parameters if name in keywords})


def _asked_devices(pair: Pair) -> tuple[str, ...]:
    return ("own", "rocm", "unknown", *(("cuda",) if pair.device is Device.HOST else ("host", "other-cuda")))


@invariant(
    "negotiation.device-argument",
    producer="DLP-38 DLP-61 DLP-43 DLP-16",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), asked=_asked_devices),
)
def test_device_argument(exchange: Exchange) -> None:
    """A producer must export to the requested ``dl_device`` or raise ``BufferError``. It must always export to the array's own device.

    An export to the array's own device must share memory. An export to another device must be on that device. The rule about the own
    device is inferred: the protocol names ``BufferError`` only for a device that the producer cannot export to.
    """
    source = exchange.source()
    offer = exchange.offer(source)
    own = exchange.told_device(offer)
    asked = own if exchange.option("asked") == "own" else DEVICES[exchange.option("asked")]
    beside = _ASKED[exchange.is_locked]  # a producer exports a read-only array only to a request with a version
    if beside:
        _export(exchange, source, **beside)
    try:
        exported = _ask(exchange, offer, dl_device=asked, **beside)
    except Exception as error:
        exchange.check_context(error)
        _judge_device_refusal(exchange, error, asked, own)
        return
    tensor = exchange.decode(exported)
    if tensor.device != asked:
        fail(
            Code.DEVICE_IGNORED, "DLP-38", role=Role.PRODUCER, reason="the producer exports to a different device than requested",
            expected=f"device {asked}, or BufferError", seen=f"device {tensor.device}",
        )  # fmt: skip
    if source.view.size and asked == own and tensor.element0 != source.address:
        _copied(exchange, source, tensor, "the producer copies, although the array is on the requested device")


def _judge_device_refusal(exchange: Exchange, error: Exception, asked: tuple[int, ...], own: tuple[int, ...]) -> None:
    if older_signature(error):
        raise Refused(f"{exchange.producer.name} does not know dl_device: {brief(error)}") from error
    if asked == own:
        fail(
            Code.OWN_DEVICE_REFUSED, "DLP-61", role=Role.PRODUCER,
            reason="the producer refuses the array's own device", expected="a capsule", seen=f"{told_call({'dl_device': asked})}: {brief(error)}",
        )  # fmt: skip
    if not isinstance(error, BufferError):
        fail(
            Code.WRONG_EXCEPTION, "DLP-38", role=Role.PRODUCER, level=Level.SHOULD,
            reason="the producer refuses a device that it cannot export to with the wrong kind of exception",
            expected="BufferError", seen=f"{told_call({'dl_device': asked})}: {brief(error)}",
            given="a `dl_device` that it cannot export to",
        )  # fmt: skip


BAD_ARGUMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "unknown-keyword": ("DLP-30", {"no_such_keyword": None}),
    "version-text": ("DLP-02", {"max_version": "1.0"}),
    "version-number": ("DLP-02", {"max_version": 1}),
    "device-text": ("DLP-38", {"dl_device": "cpu"}),
    "device-short": ("DLP-38", {"dl_device": (1,)}),
}


@invariant(
    "negotiation.bad-arguments",
    producer="DLP-02 DLP-30 DLP-38 DLP-43",
    bugs="I25",
    level=Level.OBSERVED,
    cases=lambda env: every(env.exports(Protocol.DLPACK), argument=tuple(BAD_ARGUMENTS)),
)
def test_bad_arguments(exchange: Exchange) -> None:
    """The suite records whether a producer refuses invalid arguments cleanly and can still export the array afterwards.

    The protocol does not allow such arguments, so a failure counts as robustness.
    """
    clause, keywords = BAD_ARGUMENTS[exchange.option("argument")]
    source = exchange.source()
    offer = exchange.offer(source)
    given = f"`{', '.join(f'{name}={value!r}' for name, value in keywords.items())}`"
    exchange.illegal(given)
    exchange.expect_refusal(lambda: offer.__dlpack__(**keywords), clause, role=Role.PRODUCER, given=given)
    after = exchange.decode(exchange.capsule_of(source))
    if after.element0 != source.address:
        _copied(exchange, source, after, "the producer exports a copy after a refused export")


HOST_STREAMS: dict[str, Any] = {"none": None, "legacy": 1, "per-thread": 2, "minus-one": -1, "text": "x"}


@invariant(
    "negotiation.host-stream",
    producer="DLP-30",
    context="DLP-36 X15",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK, on=(Device.HOST,)), stream=tuple(HOST_STREAMS)),
)
def test_host_stream(exchange: Exchange) -> None:
    """A producer must accept ``stream=None`` for host memory, and should refuse every other stream cleanly.

    The protocol forbids the caller to pass a stream for host memory, so a failure counts as robustness. Some libraries also accept -1,
    which the suite only records.
    """
    source = exchange.source()
    name, stream = exchange.option("stream"), HOST_STREAMS[exchange.option("stream")]
    offer = exchange.offer(source)
    if stream is None:
        exchange.decode(_export_or_fail(exchange, offer, "DLP-30", stream=None))
        return
    given = "`stream=-1` for host memory" if name == "minus-one" else "a stream for host memory"
    if name != "minus-one":
        exchange.illegal(given)
    exchange.expect_refusal(
        lambda: offer.__dlpack__(stream=stream),
        "X15" if name == "minus-one" else "DLP-30",
        role=Role.PRODUCER,
        given=given,
    )


def _export_or_fail(exchange: Exchange, offer: Any, clause: str, *, stream: Any) -> Any:
    try:
        return _ask(exchange, offer, stream=stream)
    except Exception as error:
        exchange.check_context(error)
        _refuses_keyword("stream", stream, clause, error)


CUDA_STREAMS: dict[str, tuple[str, Any]] = {
    "none": ("DLP-31", None), "legacy": ("X10", 1), "unsynchronised": ("X10", -1), "per-thread": ("X10", 2),
}  # fmt: skip


@invariant(
    "negotiation.cuda-stream",
    producer="DLP-31",
    context="X10",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK, on=ON_CUDA), stream=tuple(CUDA_STREAMS)),
)
def test_cuda_stream(exchange: Exchange) -> None:
    """A producer must accept ``stream=None`` for CUDA memory. The suite records whether it accepts the special handles 1, 2 and -1.

    Support for any stream other than ``None`` is optional. Other families check the order of the work.
    """
    clause, stream = CUDA_STREAMS[exchange.option("stream")]
    _begin_anew(exchange)
    source = exchange.source()
    offer = exchange.offer(source)
    exchange.decode(_export_or_fail(exchange, offer, clause, stream=stream))


REFUSED_STREAMS: dict[str, Any] = {"zero": 0, "text": "x", "float": 1.5, "object": object()}


@invariant(
    "negotiation.ambiguous-stream",
    producer="DLP-31",
    context="X2 X10",
    level=Level.SHOULD,
    cases=lambda env: every(env.exports(Protocol.DLPACK, on=ON_CUDA), stream=tuple(REFUSED_STREAMS)),
)
def test_ambiguous_stream(exchange: Exchange) -> None:
    """A producer should refuse ``stream=0`` for CUDA memory, which the protocol forbids, and any value that is not a stream.

    The rule binds the consumer that passes the stream, so a producer that accepts it fails only in robustness.
    """
    stream = REFUSED_STREAMS[exchange.option("stream")]
    _expect_stream_refused(exchange, stream, "`stream=object()`" if exchange.option("stream") == "object" else "")


@invariant(
    "negotiation.negative-stream",
    producer="DLP-31",
    context="X10",
    level=Level.MUST,
    isolation=Isolation.RISKY,
    cases=lambda env: every(env.exports(Protocol.DLPACK, on=ON_CUDA)),
)
def test_negative_stream(exchange: Exchange) -> None:
    """A producer must refuse ``stream=-2`` for CUDA memory cleanly, and must not use it as a handle.

    The protocol does not allow such a stream, so a crash counts as robustness.
    """
    _expect_stream_refused(exchange, -2)


def _begin_anew(exchange: Exchange) -> None:
    """Make the library allocate new memory for this case. Other invariants cover arrays with a past."""
    if not exchange.is_repeated:
        fresh(exchange.producer)


def _expect_stream_refused(exchange: Exchange, stream: Any, given: str = "") -> None:
    given = given or f"`stream={stream!r}`"
    _begin_anew(exchange)
    offer = exchange.offer(exchange.source())
    exchange.illegal(f"an array with {given}")
    exchange.expect_refusal(lambda: offer.__dlpack__(stream=stream), "DLP-31", role=Role.PRODUCER, given=given)


@invariant(
    "negotiation.device-report",
    producer="DLP-16 DLP-60 DLP-15",
    bugs="I26",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), dtype=dtypes("float32", "bool", "complex128")),
)
def test_device_report(exchange: Exchange) -> None:
    """A producer must return two integers from ``__dlpack_device__``, and name the same device in the capsule.

    The standard requires the integers. That both devices agree is inferred.
    """
    source = exchange.source()
    reported = exchange.told_device(exchange.offer(source))
    inside = exchange.decode(exchange.capsule_of(source)).device
    plain, place = (exchange.device.dlpack_type, 0), _PLACES[exchange.device]
    if inside != plain:
        fail(
            Code.WRONG_DEVICE, "DLP-15", role=Role.PRODUCER, reason=f"the capsule names a different device than that of {place}",
            expected=f"device {plain}", seen=f"device {inside}", given=place,
        )  # fmt: skip
    if reported != inside:
        fail(
            Code.DEVICES_DISAGREE, "DLP-60", role=Role.PRODUCER,
            reason="`__dlpack_device__` and the capsule name different devices", expected=f"device {inside}, as in the capsule",
            seen=f"device {reported} by `__dlpack_device__`", given=place,
        )  # fmt: skip


# -- requests of a consumer


@invariant(
    "negotiation.keyword-call",
    consumer="DLP-30",
    bugs="I15",
    level=Level.SHOULD,
    cases=lambda env: every(env.imports(Protocol.DLPACK)),
)
def test_keyword_call(exchange: Exchange) -> None:
    """A consumer should call ``__dlpack__`` only with keyword arguments, and only with those that the protocol defines."""
    offer = _watched(exchange)
    known = {"stream", "max_version", "dl_device", "copy"}
    for positional, keywords in offer.calls:
        if positional or set(keywords) - known:
            fail(
                Code.POSITIONAL_CALL, "DLP-30", role=Role.CONSUMER, reason="the consumer calls `__dlpack__` with positional or unknown arguments",
                expected=f"keywords out of {sorted(known)}", seen=f"__dlpack__(*{positional!r}, **{keywords!r})",
            )  # fmt: skip


@invariant(
    "negotiation.version-request",
    consumer="DLP-30",
    context="DLP-02",
    bugs="I15 I23",
    level=Level.SHOULD,
    cases=lambda env: every(env.imports(Protocol.DLPACK)),
)
def test_version_request(exchange: Exchange) -> None:
    """A consumer should request a versioned capsule first. A legacy capsule has no flags, so it cannot carry a read-only array."""
    offer = _watched(exchange)
    first = offer.calls[0][1]
    if not asks_for_versioned(first):
        fail(
            Code.LEGACY_REQUESTED, "DLP-30", role=Role.CONSUMER, reason="the consumer requests a legacy capsule",
            expected="max_version of 1.0 or higher", seen=told_call(first),
        )  # fmt: skip


@invariant(
    "negotiation.stream-request",
    consumer="DLP-36 DLP-31 DLP-63",
    context="DLP-35",
    bugs="I15",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK)),
)
def test_stream_request(exchange: Exchange) -> None:
    """A consumer must not pass a stream for host memory, and must not pass ``stream=0`` for CUDA memory.

    For CUDA memory it should name its stream. ``None`` means the legacy default stream, but the protocol recommends the explicit 1.
    """
    offer = _watched(exchange)
    expect_streams(exchange, offer.calls)


def _watched(exchange: Exchange) -> Any:
    """Return an offer with the record of the consumer's calls; the result of the import does not matter."""
    offer = exchange.offer(exchange.source())
    raised = ""
    try:
        _take(exchange, offer)
    except Exception as error:
        exchange.check_context(error)
        raised = f": {brief(error)}"
    if not offer.calls:
        raise Refused(f"{exchange.consumer.name} does not call __dlpack__{raised}")
    return offer


def _take(exchange: Exchange, offer: Any) -> Any:
    """Return the consumer's import; its exception propagates."""
    with exchange.step(Doing.IMPORT, Role.CONSUMER):
        return exchange.consumer.take(offer, exchange.protocol, exchange.device)


# -- answers to a consumer


_EDITIONS: dict[str, tuple[type[StreamOnly], str]] = {
    "stream-only": (StreamOnly, "`__dlpack__` with `stream` alone"),
    "stream-and-version": (StreamAndVersion, "`__dlpack__` with `stream` and `max_version` alone"),
    "keyword-only": (KeywordOnly, "`__dlpack__` with nothing by position"),
}
"""By the value of the parameter: a producer with this signature, and its description."""


@invariant(
    "negotiation.older-producer",
    consumer="DLP-30",
    bugs="I23",
    level=Level.SHOULD,
    cases=lambda env: every(env.imports(Protocol.DLPACK), signature=tuple(_EDITIONS)),
)
def test_older_producer(exchange: Exchange) -> None:
    """A consumer should accept a producer of any edition of the standard, and call it again without keywords that it does not know."""
    edition, given = _EDITIONS[exchange.option("signature")]
    source = exchange.source()
    offer = edition(source.array)
    exchange.special(given)
    try:
        taken = _take(exchange, offer)
    except Exception as error:
        exchange.check_context(error)
        fail(
            Code.OLDER_PRODUCER_REFUSED,
            "DLP-30",
            role=Role.CONSUMER,
            reason="the consumer refuses a producer of another edition of the standard",
            expected="a second call with fewer keywords",
            seen=f"{exchange.option('signature')}: {brief(error)}",
        )
    exchange.expect_address(source, exchange.look(taken), copying=Level.OBSERVED)
    exchange.expect_values(source, exchange.read(taken))


class ProducersOwn(Exception):
    """An exception class that no library knows."""


ERRORS: dict[str, type[Exception]] = {
    "own-class": ProducersOwn, "buffer-error": BufferError, "memory-error": MemoryError,
    "value-error": ValueError, "type-error": TypeError,
}  # fmt: skip


@invariant(
    "negotiation.producer-error",
    consumer="DLP-41",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), error=tuple(ERRORS)),
)
def test_producer_error(exchange: Exchange) -> None:
    """A consumer must pass on the exception of ``__dlpack__`` unchanged, also a ``TypeError`` from inside the producer."""
    raised = ERRORS[exchange.option("error")]("raised by the producer")

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise raised

    offer = Offered(refuse, exchange.source().array.device())
    try:
        _take(exchange, offer)
    except Exception as error:
        exchange.check_context(error)
        if type(error) is not type(raised) or error.args != raised.args:
            fail(
                Code.EXCEPTION_REPLACED, "DLP-41", role=Role.CONSUMER, reason="the consumer replaces the producer's exception",
                expected=brief(raised), seen=brief(error),
            )  # fmt: skip
        return
    fail(
        Code.EXCEPTION_SWALLOWED, "DLP-41", role=Role.CONSUMER, reason="the consumer swallows the producer's exception",
        expected=brief(raised), seen="an array",
    )  # fmt: skip


class NoDLPack:
    """An object that has ``__dlpack_device__`` and no ``__dlpack__``."""

    def __init__(self, device: tuple[int, int]) -> None:
        self._device = device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device


class NoDevice:
    """An object that has ``__dlpack__`` and no ``__dlpack_device__``."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter

    def __dlpack__(self, **keywords: Any) -> Any:
        return self._exporter.__dlpack__(**keywords)


_MISSING = {
    "dlpack": "an object without `__dlpack__`",
    "dlpack-device": "an object without `__dlpack_device__`",
    "both": "an object with neither method of DLPack",
}


@invariant(
    "negotiation.missing-method",
    consumer="DLP-41",
    bugs="I25",
    level=Level.SHOULD,
    cases=lambda env: every(env.imports(Protocol.DLPACK), missing=tuple(_MISSING)),
)
def test_missing_method(exchange: Exchange) -> None:
    """A consumer should refuse an object that lacks one of the two methods, with ``AttributeError``."""
    exporter = exchange.source().array
    incomplete = {"dlpack": NoDLPack(exporter.device()), "dlpack-device": NoDevice(exporter), "both": object()}
    offer, given = incomplete[exchange.option("missing")], _MISSING[exchange.option("missing")]
    exchange.special(given)
    # The array API standard defines the exception only for its from_dlpack; other functions may raise another one.
    bound = Trait.ARRAY_API in exchange.consumer.traits
    try:
        _take(exchange, offer)
    except Exception as error:
        exchange.check_context(error)
        if not isinstance(error, AttributeError if bound else (AttributeError, TypeError, BufferError)):
            fail(
                Code.WRONG_EXCEPTION, "DLP-41", role=Role.CONSUMER, level=Level.SHOULD,
                reason=f"the consumer refuses {given} with the wrong kind of exception",
                expected="AttributeError" if bound else "AttributeError, TypeError or BufferError", seen=brief(error),
                given="an object that lacks a method of DLPack",
            )  # fmt: skip
        return
    fail(
        Code.NOT_REFUSED, "DLP-41", role=Role.CONSUMER, level=Level.SHOULD, reason=f"the consumer accepts {given}",
        expected="AttributeError", seen="an array",
    )  # fmt: skip


@invariant(
    "negotiation.capsule-name",
    consumer="DLP-58 DLP-03 DLP-46",
    bugs="I23",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK), struct=STRUCTS),
)
def test_capsule_name(exchange: Exchange) -> None:
    """A consumer must read a capsule by its name, whatever version it requested.

    A consumer that did not request a versioned capsule may refuse one.
    """
    source = exchange.source()
    offer = prepared(exchange, source)
    exchange.special(f"a {exchange.option('struct')} capsule")
    try:
        taken = exchange.take(offer, promised="" if exchange.option("struct") == "versioned" else None)
    except Refused as refusal:
        if offer.asked_for_versioned and exchange.promises():
            fail(
                Code.REFUSED, exchange.promises(), role=Role.CONSUMER,
                reason="the consumer refuses a versioned capsule after it requested one",
                expected="the array is exchanged", seen=refusal,
            )  # fmt: skip
        raise
    exchange.expect_address(source, exchange.look(taken), copying=Level.OBSERVED)
    exchange.expect_values(source, exchange.read(taken))


@invariant(
    "negotiation.newer-minor",
    consumer="DLP-05",
    bugs="I23",
    level=Level.SHOULD,
    cases=lambda env: every(env.imports(Protocol.DLPACK), dtype=dtypes("float32", "uint8")),
)
def test_newer_minor(exchange: Exchange) -> None:
    """A consumer should import a struct of a newer minor version like any other of the same major version."""
    source = exchange.crafted(override={"version": (1, 99)})
    offer = Prepared(source)
    exchange.special("a capsule of minor version 99")
    try:
        taken = _take(exchange, offer)
    except Exception as error:
        exchange.check_context(error)
        if not offer.asked_for_versioned:
            raise Refused(f"{exchange.consumer.name} requests only legacy capsules: {brief(error)}") from error
        fail(
            Code.NEWER_MINOR_REFUSED, "DLP-05", role=Role.CONSUMER, reason="the consumer refuses a newer minor version",
            expected="an array", seen=f"version (1, 99): {brief(error)}",
        )  # fmt: skip
    exchange.expect_shape(source, exchange.look(taken))
    exchange.expect_values(source, exchange.read(taken))


@invariant(
    "negotiation.foreign-major",
    consumer="DLP-04 DLP-03 DLP-26",
    bugs="I20",
    level=Level.MUST,
    isolation=Isolation.RISKY,
    cases=lambda env: every(env.imports(Protocol.DLPACK), content=("plain", "garbage")),
)
def test_foreign_major(exchange: Exchange) -> None:
    """A consumer must refuse a struct of another major version, release it once, and read nothing behind its flags."""
    garbage = {"data": 0xDEAD0000, "ndim": 0x7FFFFFF0, "shape": None, "strides": None, "code": 255, "bits": 255}
    content = garbage if exchange.option("content") == "garbage" else {}
    source = exchange.crafted(override={"version": (2, 0), "deleter": Deleter.NATIVE, **content})
    offer = Prepared(source)
    given = "a capsule of major version 2"
    exchange.special(given)
    exchange.expect_refusal(
        lambda: exchange.consumer.take(offer, exchange.protocol, exchange.device),
        "DLP-04",
        role=Role.CONSUMER,
        given=given,
    )
    expect_one_owner(exchange, offer, Role.CONSUMER, "the consumer refuses a struct of another major version")


_DEVICES = {
    **dict.fromkeys(("rocm", "unknown"), "an array on a device that it does not support"),
    "only-in-capsule": "a capsule that alone names an unknown device",
}


@invariant(
    "negotiation.unknown-device",
    consumer="DLP-45 DLP-05",
    bugs="I25",
    level=Level.SHOULD,
    cases=lambda env: every(env.imports(Protocol.DLPACK), device=tuple(_DEVICES)),
)
def test_unknown_device(exchange: Exchange) -> None:
    """A consumer should refuse an array on a device that it does not support or DLPack does not define, with ``BufferError``.

    The device in the capsule counts, even if ``__dlpack_device__`` returns another one.
    """
    inside = ROCM if exchange.option("device") == "rocm" else UNKNOWN
    source = exchange.crafted(override={"device": inside})
    reported = source.array.device() if exchange.option("device") == "only-in-capsule" else inside
    offer = Offered(source.array.__dlpack__, reported)
    given = _DEVICES[exchange.option("device")]
    exchange.special(given)
    exchange.expect_refusal(
        lambda: exchange.consumer.take(offer, exchange.protocol, exchange.device),
        "DLP-05" if exchange.option("device") == "only-in-capsule" else "DLP-45",
        role=Role.CONSUMER,
        given=given,
        named=(BufferError,),
        class_clause="DLP-45",
    )


def _gpu_only(env: Environment) -> Iterator[Pair]:
    """Yield consumers without host arrays. The reference counts as one on each device."""
    for pair in env.imports(Protocol.DLPACK, on=ON_CUDA):
        if pair.consumer.name == REFERENCE or Device.HOST not in pair.consumer.sides:
            yield pair


@invariant(
    "negotiation.host-array",
    consumer="DLP-42 DLP-45",
    level=Level.MUST,
    cases=lambda env: every(_gpu_only(env)),
)
def test_host_array(exchange: Exchange) -> None:
    """A consumer without host arrays must refuse an array in host memory, with ``BufferError`` or ``TypeError``."""
    reference = exchange.producer
    assert isinstance(reference, ReferenceAdapter)
    memory, view = HostMemory(), packed((3, 4))
    array = reference.exporter_class(memory, memory.allocate(view.size * exchange.dtype.itemsize), exchange.dtype, view)
    exchange.expect_refusal(
        lambda: exchange.consumer.take(reference.offer(array, Protocol.DLPACK), exchange.protocol, exchange.device),
        "DLP-42",
        role=Role.CONSUMER,
        given="an array in host memory",
        named=(BufferError, TypeError),
        class_clause="DLP-45",
    )


def _with_both(env: Environment) -> Iterator[Pair]:
    """Yield consumers that import both protocols on devices where the reference exports both."""
    for pair in env.imports(on=ON_CUDA):
        if set(Protocol) <= set(pair.target.imports):
            yield pair


@invariant(
    "negotiation.precedence",
    context="G9",
    level=Level.OBSERVED,
    cases=lambda env: every(_with_both(env)),
)
def test_precedence(exchange: Exchange) -> None:
    """The suite records whether a consumer always uses the same protocol for an object that offers both."""
    source = exchange.source()
    log = source.array.log
    ways = []
    for _ in range(2):
        before = len(log.dlpack)
        taken = exchange.take(source.array)
        ways.append("DLPack" if len(log.dlpack) > before else "the CUDA Array Interface")
        exchange.expect_values(source, exchange.read(taken))
    if len(set(ways)) > 1:
        fail(
            Code.PROTOCOL_CHANGES, "G9", role=Role.CONSUMER, reason="the consumer uses different protocols in two calls",
            expected=ways[0], seen=ways[1],
        )  # fmt: skip
