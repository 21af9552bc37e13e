"""Family ``negotiation``: what the two sides ask of each other before a capsule changes hands."""

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


# -- what a producer is asked


def _export(exchange: Exchange, source: Source, **keywords: Any) -> Any:
    """The producer's answer to these keywords; what it refuses ends the case as a refusal."""
    offer = exchange.offer(source)
    try:
        return _ask(exchange, offer, **keywords)
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"{exchange.producer.name} refused {told_call(keywords)}: {brief(error)}") from error


def _ask(exchange: Exchange, offer: Any, **keywords: Any) -> Any:
    """The producer's answer to these keywords; lets its exception out."""
    with exchange.step(Doing.EXPORT, Role.PRODUCER):
        return offer.__dlpack__(**keywords)


def _versioned(exchange: Exchange, source: Source, **keywords: Any) -> Tensor:
    """The content of a versioned capsule; the case ends as a refusal if the producer has only legacy ones."""
    tensor = exchange.decode(_export(exchange, source, max_version=(1, 0), **keywords))
    if tensor.version is None:
        raise Refused(f"{exchange.producer.name} exports legacy structs only, which have no flags")
    return tensor


def _struct_version(exchange: Exchange, exported: Any) -> tuple[int, int] | None:
    """The version in the struct's header, ``None`` for legacy. Reads nothing behind the header (DLP-04)."""
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
    """A consumer gets no struct newer than it asked for, and no older one for asking for more.

    Without ``max_version``, or with one below 1.0, that is the legacy struct or a ``BufferError``.
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
    """IS_COPIED is set if and only if the capsule holds a copy."""
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
            reason=f"the producer {'copies without setting' if moved else 'sets'} IS_COPIED{'' if moved else ' and shares'}",
            expected=f"IS_COPIED {'set' if moved else 'clear'}: element 0 is at {tensor.element0:#x}, "
            f"the array's at {source.address:#x}",
            seen=f"flags {tensor.flags}",
        )
    if exchange.option("copy") == "true" and not moved:
        fail(
            Code.COPY_SHARED, "DLP-39", role=Role.PRODUCER, reason="the producer shares its memory although copy=True asks for a copy",
            expected="memory of its own", seen=f"element 0 at the array's {source.address:#x}",
        )  # fmt: skip


@invariant(
    "negotiation.defined-flags",
    producer="DLP-07",
    level=Level.SHOULD,
    cases=lambda env: every(env.exports(Protocol.DLPACK), dtype=dtypes("float32", "bool", "complex64", "bfloat16")),
)
def test_defined_flags(exchange: Exchange) -> None:
    """No flag is set that DLPack does not define, nor the one for padded sub-byte elements where there are none."""
    tensor = _versioned(exchange, exchange.source())
    allowed = int(DLFlags.READ_ONLY | DLFlags.IS_COPIED)
    if (tensor.flags or 0) & ~allowed:
        fail(
            Code.FLAG_UNDEFINED, "DLP-07", role=Role.PRODUCER, reason="the producer sets a flag that means nothing here",
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
    """Each of the four keywords takes ``None``, which means the same as leaving it out, with a version and without."""
    chosen = _KEYWORDS if exchange.option("keyword") == "all" else (exchange.option("keyword"),)
    source = exchange.source()
    first = int(exchange.is_locked)  # a read-only array is exported to those alone that name a version
    for asked in _ASKED[first:] if len(chosen) > 1 else _ASKED[first : first + 1]:
        _expect_none_taken(exchange, source, chosen, asked)
    for asked in _COPIES_ASKED if len(chosen) > 1 else ():
        with suppress(Refused):  # a producer may refuse either
            _expect_none_taken(exchange, source, chosen, asked)


def _expect_none_taken(exchange: Exchange, source: Source, chosen: tuple[str, ...], asked: dict[str, Any]) -> None:
    """The export with these keywords of ``None``, beside those that are ``asked``."""
    keywords = {**dict.fromkeys(chosen), **asked}
    try:
        exported = _ask(exchange, exchange.offer(source), **keywords)
    except Exception as error:
        exchange.check_context(error)
        _judge_refused_none(exchange, source, tuple(name for name in chosen if name not in asked), asked, error)
    tensor = exchange.decode(exported)
    if tensor.version is not None and not asked:
        fail(
            Code.VERSION_TOO_NEW, "DLP-02", role=Role.PRODUCER, reason="the producer exports a versioned struct to a consumer that names no version",
            expected="a legacy struct", seen=f"version {tensor.version} for {told_call(keywords)}",
        )  # fmt: skip
    if source.view.size and not asked.get("copy") and tensor.element0 != source.address:
        _copied(
            exchange,
            source,
            tensor,
            f"the producer copies for {told_call(keywords)}, as if None did not mean the default",
        )


def _judge_refused_none(
    exchange: Exchange, source: Source, chosen: tuple[str, ...], asked: dict[str, Any], error: Exception
) -> NoReturn:
    """A keyword that every edition has, or that is known and refuses its own default, or one that the producer is too old for.

    The case ends as refused where the producer refuses the array with the keywords in ``asked`` alone, which a read-only array needs.

    Every edition of the standard has ``stream``: a producer without it is not of an older one.
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
            reason="the producer has the signature of an older edition of the standard", expected="a capsule",
            seen=f"{told_call(dict.fromkeys(chosen))}: {brief(error)}",
        )  # fmt: skip
    fail(
        Code.KEYWORD_REFUSED, "DLP-30", role=Role.PRODUCER, reason="the producer refuses its own defaults where all are given",
        expected="a capsule", seen=f"{told_call(dict.fromkeys(chosen))}: {brief(error)}", given="`None` for all four keywords",
    )  # fmt: skip


def _refusal_of_none(exchange: Exchange, source: Source, name: str, asked: dict[str, Any]) -> Exception | None:
    """The exception of the producer, if any, when it gets ``None`` for this keyword alone, beside those that are always ``asked``."""
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
    """The producer exports other memory than the array's; another place in the array's is a wrong address, and no copy."""
    exchange.expect_tensor(source, tensor)
    fail(
        Code.NOT_SHARED, "DLP-43", role=Role.PRODUCER, reason=reason,
        expected=f"element 0 at {source.address:#x}", seen=f"element 0 at {tensor.element0:#x}",
    )  # fmt: skip


def _calls(env: Environment) -> Iterator[Draft]:
    """One case for each call; the quick tier has those with a single keyword."""
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
    """Keywords that ``__dlpack__`` gets together mean the same as each of them alone.

    The calls cover every two values of two keywords. All rules judge each answer: version, device, copy or shared memory, flags,
    description and elements. Other families judge the work that a stream waits for. After a failure the check leaves out each keyword without which the
    same failure still shows.
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
    """``dl_device`` is served or refused with ``BufferError``, and the array's own device is always served.

    An export to the own device shares memory. One to another device really is on that device. That the own device is served is
    inferred: ``BufferError`` is the answer that the protocol names for any device that cannot be.
    """
    source = exchange.source()
    offer = exchange.offer(source)
    own = exchange.told_device(offer)
    asked = own if exchange.option("asked") == "own" else DEVICES[exchange.option("asked")]
    beside = _ASKED[exchange.is_locked]  # a read-only array is exported to those alone that name a version, if at all
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
            Code.DEVICE_IGNORED, "DLP-38", role=Role.PRODUCER, reason="the producer exports to another device than it is asked for",
            expected=f"device {asked}, or BufferError", seen=f"device {tensor.device}",
        )  # fmt: skip
    if source.view.size and asked == own and tensor.element0 != source.address:
        _copied(exchange, source, tensor, "the producer copies, though the array is on the device that it is asked for")


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
    """Arguments that mean nothing are refused cleanly, and the array can be exported afterwards.

    The protocol has no such arguments, so whatever becomes of them is a matter of robustness.
    """
    clause, keywords = BAD_ARGUMENTS[exchange.option("argument")]
    source = exchange.source()
    offer = exchange.offer(source)
    given = f"`{', '.join(f'{name}={value!r}' for name, value in keywords.items())}`"
    exchange.illegal(given)
    exchange.expect_refusal(lambda: offer.__dlpack__(**keywords), clause, role=Role.PRODUCER, given=given)
    after = exchange.decode(exchange.capsule_of(source))
    if after.element0 != source.address:
        _copied(exchange, source, after, "the producer exports a copy after it has refused an export")


HOST_STREAMS: dict[str, Any] = {"none": None, "legacy": 1, "per-thread": 2, "minus-one": -1, "text": "x"}


@invariant(
    "negotiation.host-stream",
    producer="DLP-30",
    context="DLP-36 X15",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK, on=(Device.HOST,)), stream=tuple(HOST_STREAMS)),
)
def test_host_stream(exchange: Exchange) -> None:
    """An export of host memory takes ``stream=None`` and refuses every other stream cleanly.

    It is the caller that must not pass a stream, so what becomes of one is a matter of robustness. Some libraries also take -1 there,
    which is only observed.
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
    """An export of CUDA memory takes ``None``; whether it takes the special handles 1, 2 and -1 is observed.

    Support for anything but ``None`` is optional. What the stream then waits for is another family's matter.
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
    """An export of CUDA memory refuses ``stream=0``, which the protocol forbids, and everything that is no stream.

    The rule binds who passes the stream, so a producer that takes it all the same breaks no promise: it is a matter of robustness.
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
    """An export of CUDA memory refuses ``stream=-2`` cleanly, and never uses it as a handle.

    The protocol has no such stream, so a process that ends there is a matter of robustness.
    """
    _expect_stream_refused(exchange, -2)


def _begin_anew(exchange: Exchange) -> None:
    """The array of this case is new, and none that the library has kept. Arrays with a past have cases of their own."""
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
    """``__dlpack_device__`` gives two integers, which are also the device in the capsule.

    That they are integers is demanded; that both agree is inferred.
    """
    source = exchange.source()
    told = exchange.told_device(exchange.offer(source))
    inside = exchange.decode(exchange.capsule_of(source)).device
    plain, place = (exchange.device.dlpack_type, 0), _PLACES[exchange.device]
    if inside != plain:
        fail(
            Code.WRONG_DEVICE, "DLP-15", role=Role.PRODUCER, reason=f"the capsule names another device than that of {place}",
            expected=f"device {plain}", seen=f"device {inside}", given=place,
        )  # fmt: skip
    if told != inside:
        fail(
            Code.DEVICES_DISAGREE, "DLP-60", role=Role.PRODUCER,
            reason="`__dlpack_device__` and the capsule name two devices", expected=f"device {inside}, as in the capsule",
            seen=f"device {told} by `__dlpack_device__`", given=place,
        )  # fmt: skip


# -- what a consumer asks


@invariant(
    "negotiation.keyword-call",
    consumer="DLP-30",
    bugs="I15",
    level=Level.SHOULD,
    cases=lambda env: every(env.imports(Protocol.DLPACK)),
)
def test_keyword_call(exchange: Exchange) -> None:
    """The consumer passes its arguments by keyword, and only those that the protocol has."""
    offer = _watched(exchange)
    known = {"stream", "max_version", "dl_device", "copy"}
    for positional, keywords in offer.calls:
        if positional or set(keywords) - known:
            fail(
                Code.POSITIONAL_CALL, "DLP-30", role=Role.CONSUMER, reason="the consumer calls `__dlpack__` in another form than the protocol's",
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
    """The consumer asks for a versioned capsule first: a legacy one has no flags, so read-only arrays cannot come."""
    offer = _watched(exchange)
    first = offer.calls[0][1]
    if not asks_for_versioned(first):
        fail(
            Code.LEGACY_REQUESTED, "DLP-30", role=Role.CONSUMER, reason="the consumer asks for a legacy capsule",
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
    """The consumer passes no stream for host memory; for CUDA memory it names one, and never as 0.

    Leaving it to ``None`` means the legacy default stream, but saying so (1) is recommended.
    """
    offer = _watched(exchange)
    expect_streams(exchange, offer.calls)


def _watched(exchange: Exchange) -> Any:
    """An offer that has kept the consumer's calls; what became of them is not the question here."""
    offer = exchange.offer(exchange.source())
    told = ""
    try:
        _take(exchange, offer)
    except Exception as error:
        exchange.check_context(error)
        told = f": {brief(error)}"
    if not offer.calls:
        raise Refused(f"{exchange.consumer.name} does not call __dlpack__{told}")
    return offer


def _take(exchange: Exchange, offer: Any) -> Any:
    """Import by the consumer; lets its exception out."""
    with exchange.step(Doing.IMPORT, Role.CONSUMER):
        return exchange.consumer.take(offer, exchange.protocol, exchange.device)


# -- what a consumer is given


_EDITIONS: dict[str, tuple[type[StreamOnly], str]] = {
    "stream-only": (StreamOnly, "`__dlpack__` with `stream` alone"),
    "stream-and-version": (StreamAndVersion, "`__dlpack__` with `stream` and `max_version` alone"),
    "keyword-only": (KeywordOnly, "`__dlpack__` with nothing by position"),
}
"""By the value of the parameter: such a producer, and what it is called."""


@invariant(
    "negotiation.older-producer",
    consumer="DLP-30",
    bugs="I23",
    level=Level.SHOULD,
    cases=lambda env: every(env.imports(Protocol.DLPACK), signature=tuple(_EDITIONS)),
)
def test_older_producer(exchange: Exchange) -> None:
    """A producer of any edition of the standard is accepted: what it does not know is not insisted upon."""
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
            expected="another call with fewer keywords",
            seen=f"{exchange.option('signature')}: {brief(error)}",
        )
    exchange.expect_address(source, exchange.look(taken), copying=Level.OBSERVED)
    exchange.expect_values(source, exchange.read(taken))


class ProducersOwn(Exception):
    """An exception that no library knows."""


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
    """What ``__dlpack__`` raises reaches the caller as it is, a ``TypeError`` from inside the producer included."""
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
    """Only ``__dlpack_device__``."""

    def __init__(self, device: tuple[int, int]) -> None:
        self._device = device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device


class NoDevice:
    """Only ``__dlpack__``."""

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
    """An object that lacks one of the two methods is refused, with ``AttributeError``."""
    exporter = exchange.source().array
    incomplete = {"dlpack": NoDLPack(exporter.device()), "dlpack-device": NoDevice(exporter), "both": object()}
    offer, given = incomplete[exchange.option("missing")], _MISSING[exchange.option("missing")]
    exchange.special(given)
    # The class is the array API standard's, for its from_dlpack; calls of other libraries may name another.
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
    """The capsule's name decides how it is read, whatever version was asked for.

    A versioned capsule may be refused by a consumer that never asked for one.
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
                reason="the consumer refuses a versioned capsule after it has asked for one",
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
    """A struct of a newer minor version is used like any other of its major version."""
    source = exchange.crafted(override={"version": (1, 99)})
    offer = Prepared(source)
    exchange.special("a capsule of minor version 99")
    try:
        taken = _take(exchange, offer)
    except Exception as error:
        exchange.check_context(error)
        if not offer.asked_for_versioned:
            raise Refused(f"{exchange.consumer.name} asks for legacy capsules only: {brief(error)}") from error
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
    """A struct of another major version is refused and released once; nothing behind its flags is read."""
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
    """An array on a device that the consumer cannot use, or that DLPack does not know, is refused with ``BufferError``.

    What the capsule says counts, also where ``__dlpack_device__`` says something else.
    """
    inside = ROCM if exchange.option("device") == "rocm" else UNKNOWN
    source = exchange.crafted(override={"device": inside})
    told = source.array.device() if exchange.option("device") == "only-in-capsule" else inside
    offer = Offered(source.array.__dlpack__, told)
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
    """Consumers that have no host arrays; the reference is one on each device."""
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
    """A consumer of CUDA memory refuses an array in host memory, as a matter of type and not by failing on it."""
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
    """Consumers that read both protocols, where the reference offers both."""
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
    """Of an object with both protocols a call always reads the same one, and sees the array."""
    source = exchange.source()
    log = source.array.log
    ways = []
    for _ in range(2):
        before = len(log.dlpack)
        taken = exchange.take(source.array)
        ways.append("DLPack" if len(log.dlpack) > before else "the array interface")
        exchange.expect_values(source, exchange.read(taken))
    if len(set(ways)) > 1:
        fail(
            Code.PROTOCOL_CHANGES, "G9", role=Role.CONSUMER, reason="the consumer takes another protocol from call to call",
            expected=ways[0], seen=ways[1],
        )  # fmt: skip
