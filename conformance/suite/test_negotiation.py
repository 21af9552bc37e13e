"""Family ``negotiation``: what the two sides ask of each other before a capsule changes hands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from conformance.adapters.base import Device, Protocol, Trait
from conformance.adapters.reference import ReferenceAdapter
from conformance.protocols import capsule
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import DLFlags, DLManagedTensorVersioned, Tensor
from conformance.protocols.strided import packed
from conformance.reference.managed import Deleter
from conformance.reference.memory import HostMemory

from .catalogue import Isolation, dtypes, every, invariant
from .exchange import UNCLEAN, Exchange, Source, brief
from .libraries import REFERENCE, Environment, Pair
from .offers import (
    STRUCTS,
    KeywordOnly,
    Offered,
    Prepared,
    StreamAndVersion,
    StreamOnly,
    expect_one_owner,
    older_signature,
    prepared,
)
from .outcomes import Refused, fail

ON_CUDA = (Device.CUDA, Device.SIMULATED)
VERSIONS = {"none": None, "0.8": (0, 8), "1.0": (1, 0), "1.99": (1, 99), "2.0": (2, 0)}
DEVICES = {"host": (1, 0), "cuda": (2, 0), "other-cuda": (2, 9), "rocm": (10, 0), "unknown": (99, 0)}
ROCM, UNKNOWN = (10, 0), (99, 0)


# -- what a producer is asked


def _export(exchange: Exchange, source: Source, **keywords: Any) -> Any:
    """The producer's answer to these keywords; what it refuses ends the case as a refusal."""
    offer = exchange.offer(source)
    try:
        return offer.__dlpack__(**keywords)
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"{exchange.producer.name} refused {_call(keywords)}: {brief(error)}") from error


def _call(keywords: dict[str, Any]) -> str:
    return f"__dlpack__({', '.join(f'{name}={value!r}' for name, value in keywords.items())})"


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
            "DLP-02",
            role=Role.PRODUCER,
            reason="a newer struct than the consumer asked for",
            expected=f"legacy or at most major version {(asked or (0,))[0]}",
            seen=f"version {given} for max_version={asked}",
        )
    if given is None and asked is not None and asked > (1, 0):
        least = _struct_version(exchange, _export(exchange, source, max_version=(1, 0)))
        if least is not None:
            fail(
                "DLP-02",
                role=Role.PRODUCER,
                reason="a consumer that understands more gets less",
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
    """IS_COPIED is set exactly if the capsule holds other memory than the array's."""
    keywords: dict[str, dict[str, Any]] = {
        "true": {"copy": True}, "false": {"copy": False}, "default": {}, "to-host": {"dl_device": DEVICES["host"]},
    }  # fmt: skip
    source = exchange.source()
    tensor = _versioned(exchange, source, **keywords[exchange.option("copy")])
    moved = tensor.element0 != source.address
    flagged = bool((tensor.flags or 0) & DLFlags.IS_COPIED)
    if moved != flagged:
        fail(
            "DLP-10",
            role=Role.PRODUCER,
            reason="the copied bit does not say what happened",
            expected=f"IS_COPIED {'set' if moved else 'clear'}: element 0 is at {tensor.element0:#x}, "
            f"the array's at {source.address:#x}",
            seen=f"flags {tensor.flags}",
        )
    if exchange.option("copy") == "true" and not moved:
        fail(
            "DLP-39", role=Role.PRODUCER, reason="copy=True did not copy",
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
            "DLP-07", role=Role.PRODUCER, reason="a flag without a meaning here",
            expected=f"at most {allowed:#x}", seen=f"flags {tensor.flags:#x}",
        )  # fmt: skip


@invariant(
    "negotiation.signature",
    producer="DLP-30",
    consumer="DLP-30",
    level=Level.MUST,
    cases=lambda env: every(
        env.exports(Protocol.DLPACK), keyword=("all", "stream", "max_version", "dl_device", "copy")
    ),
)
def test_signature(exchange: Exchange) -> None:
    """``None`` may be given for each of the four keywords, and means what leaving it out means."""
    names = ("stream", "max_version", "dl_device", "copy")
    chosen = names if exchange.option("keyword") == "all" else (exchange.option("keyword"),)
    source = exchange.source()
    keywords = dict.fromkeys(chosen)
    try:
        exported = exchange.offer(source).__dlpack__(**keywords)
    except Exception as error:
        exchange.check_context(error)
        fail(
            "DLP-30",
            role=Role.PRODUCER,
            level=Level.SHOULD if older_signature(error) else Level.MUST,
            reason="the signature is that of an older edition of the standard"
            if older_signature(error)
            else "a keyword's own default is refused",
            expected="a capsule",
            seen=f"{_call(keywords)}: {brief(error)}",
        )
    tensor = exchange.decode(exported)
    if tensor.version is not None or tensor.element0 != source.address:
        fail(
            "DLP-30",
            role=Role.PRODUCER,
            reason="None does not mean the default",
            expected=f"a legacy struct with element 0 at {source.address:#x}",
            seen=f"version {tensor.version}, element 0 at {tensor.element0:#x}",
        )


def _asked_devices(pair: Pair) -> tuple[str, ...]:
    return ("own", "rocm", "unknown", *(("cuda",) if pair.device is Device.HOST else ("host", "other-cuda")))


@invariant(
    "negotiation.device-argument",
    producer="DLP-38 DLP-43",
    consumer="DLP-43",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), asked=_asked_devices),
)
def test_device_argument(exchange: Exchange) -> None:
    """``dl_device`` is served or refused with ``BufferError``, and the array's own device is always served.

    An export to the own device shares memory. One to another device really is on that device.
    """
    source = exchange.source()
    offer = exchange.offer(source)
    own = tuple(int(part) for part in offer.__dlpack_device__())
    asked = own if exchange.option("asked") == "own" else DEVICES[exchange.option("asked")]
    try:
        exported = offer.__dlpack__(dl_device=asked)
    except Exception as error:
        exchange.check_context(error)
        _judge_device_refusal(exchange, error, asked, own)
        return
    tensor = exchange.decode(exported)
    if tensor.device != asked:
        fail(
            "DLP-38", role=Role.PRODUCER, reason="exported to another device than was asked for",
            expected=f"device {asked}, or BufferError", seen=f"device {tensor.device}",
        )  # fmt: skip
    if asked == own and tensor.element0 != source.address:
        fail(
            "DLP-43", role=Role.PRODUCER, reason="copied, though the array is on the device that was asked for",
            expected=f"element 0 at {source.address:#x}", seen=f"at {tensor.element0:#x}",
        )  # fmt: skip


def _judge_device_refusal(exchange: Exchange, error: Exception, asked: tuple[int, ...], own: tuple[int, ...]) -> None:
    if older_signature(error):
        raise Refused(f"{exchange.producer.name} does not know dl_device: {brief(error)}") from error
    if asked == own:
        fail(
            "DLP-38", role=Role.PRODUCER, reason="the array's own device was refused",
            expected="a capsule", seen=brief(error),
        )  # fmt: skip
    if not isinstance(error, BufferError):
        fail(
            "DLP-38", role=Role.PRODUCER, level=Level.SHOULD,
            reason="a device that cannot be served: refused, but with the wrong kind of exception",
            expected="BufferError", seen=f"{_call({'dl_device': asked})}: {brief(error)}",
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
    producer="DLP-02 DLP-30 DLP-38",
    consumer="DLP-30",
    bugs="I25",
    level=Level.OBSERVED,
    cases=lambda env: every(env.exports(Protocol.DLPACK), argument=tuple(BAD_ARGUMENTS)),
)
def test_bad_arguments(exchange: Exchange) -> None:
    """Arguments that mean nothing are refused cleanly, and the array can be exported afterwards.

    No document says what becomes of them, so accepting them is only observed.
    """
    clause, keywords = BAD_ARGUMENTS[exchange.option("argument")]
    source = exchange.source()
    offer = exchange.offer(source)
    try:
        offer.__dlpack__(**keywords)
    except UNCLEAN as error:
        seen = f"{_call(keywords)}: {brief(error)}"
    except Exception as error:
        exchange.check_context(error)
        seen = ""
    else:
        seen = f"{_call(keywords)} gave a capsule"
    if seen:
        fail(
            clause, role=Role.PRODUCER, level=Level.OBSERVED, reason="an argument that means nothing is not refused cleanly",
            expected="TypeError, ValueError or BufferError", seen=seen,
        )  # fmt: skip
    after = exchange.decode(exchange.capsule_of(source))
    if after.element0 != source.address:
        fail(
            "DLP-43", role=Role.PRODUCER, reason="the export after a refused one is another array",
            expected=hex(source.address), seen=hex(after.element0),
        )  # fmt: skip


HOST_STREAMS: dict[str, Any] = {"none": None, "legacy": 1, "per-thread": 2, "minus-one": -1, "text": "x"}


@invariant(
    "negotiation.host-stream",
    producer="DLP-36",
    context="X15",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK, on=(Device.HOST,)), stream=tuple(HOST_STREAMS)),
)
def test_host_stream(exchange: Exchange) -> None:
    """Host memory has no streams: its export takes ``stream=None`` and nothing else.

    Some libraries also take -1 there, which is only observed.
    """
    source = exchange.source()
    name, stream = exchange.option("stream"), HOST_STREAMS[exchange.option("stream")]
    offer = exchange.offer(source)
    if stream is None:
        exchange.decode(_export_or_fail(exchange, offer, "DLP-36", stream=None))
        return
    exchange.expect_refusal(
        lambda: offer.__dlpack__(stream=stream),
        "X15" if name == "minus-one" else "DLP-36",
        role=Role.PRODUCER,
        reason=f"stream={stream!r} for an array in host memory",
    )


def _export_or_fail(exchange: Exchange, offer: Any, *clauses: str, **keywords: Any) -> Any:
    try:
        return offer.__dlpack__(**keywords)
    except Exception as error:
        exchange.check_context(error)
        fail(
            *clauses, role=Role.PRODUCER, reason="an argument that the protocol allows is refused",
            expected="a capsule", seen=f"{_call(keywords)}: {brief(error)}",
        )  # fmt: skip


CUDA_STREAMS: dict[str, tuple[str, Any]] = {
    "none": ("DLP-31", None), "legacy": ("X10", 1), "unsynchronised": ("X10", -1), "per-thread": ("X10", 2),
}  # fmt: skip


@invariant(
    "negotiation.cuda-stream",
    producer="DLP-31",
    consumer="DLP-31",
    context="X10",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK, on=ON_CUDA), stream=tuple(CUDA_STREAMS)),
)
def test_cuda_stream(exchange: Exchange) -> None:
    """An export of CUDA memory takes ``None``; whether it takes the special handles 1, 2 and -1 is observed.

    Support for anything but ``None`` is optional. What the stream then waits for is another family's matter.
    """
    clause, stream = CUDA_STREAMS[exchange.option("stream")]
    source = exchange.source()
    offer = exchange.offer(source)
    exchange.decode(_export_or_fail(exchange, offer, clause, stream=stream))


REFUSED_STREAMS: dict[str, tuple[str, Any]] = {
    "zero": ("X2", 0), "text": ("X10", "x"), "float": ("X10", 1.5), "object": ("X10", object()),
}  # fmt: skip


@invariant(
    "negotiation.ambiguous-stream",
    producer="DLP-31",
    consumer="DLP-31",
    context="X2 X10",
    level=Level.SHOULD,
    cases=lambda env: every(env.exports(Protocol.DLPACK, on=ON_CUDA), stream=tuple(REFUSED_STREAMS)),
)
def test_ambiguous_stream(exchange: Exchange) -> None:
    """An export of CUDA memory refuses stream 0, which the protocol disallows, and what is no stream at all.

    The rule binds who passes the stream; a producer that takes it all the same is observed.
    """
    _expect_stream_refused(exchange, *REFUSED_STREAMS[exchange.option("stream")])


@invariant(
    "negotiation.negative-stream",
    producer="DLP-31",
    consumer="DLP-31",
    context="X10",
    level=Level.MUST,
    isolation=Isolation.RISKY,
    cases=lambda env: every(env.exports(Protocol.DLPACK, on=ON_CUDA)),
)
def test_negative_stream(exchange: Exchange) -> None:
    """An export of CUDA memory survives stream -2: it is refused, or ignored, but never used as a handle."""
    _expect_stream_refused(exchange, "X10", -2)


def _expect_stream_refused(exchange: Exchange, clause: str, stream: Any) -> None:
    offer = exchange.offer(exchange.source())
    exchange.expect_refusal(
        lambda: offer.__dlpack__(stream=stream), clause, role=Role.PRODUCER, reason=f"stream={stream!r}"
    )


@invariant(
    "negotiation.device-report",
    producer="DLP-16 DLP-15",
    bugs="I26",
    level=Level.MUST,
    cases=lambda env: every(env.exports(Protocol.DLPACK), dtype=dtypes("float32", "bool", "complex128")),
)
def test_device_report(exchange: Exchange) -> None:
    """``__dlpack_device__`` gives two integers, which are also the device in the capsule."""
    source = exchange.source()
    offer = exchange.offer(source)
    told = offer.__dlpack_device__()
    if not isinstance(told, tuple) or len(told) != 2 or not all(isinstance(part, int) for part in told):
        fail(
            "DLP-16", role=Role.PRODUCER, reason="the device is not a pair of integers",
            expected="(type, id)", seen=repr(told),
        )  # fmt: skip
    pair = (int(told[0]), int(told[1]))
    plain = (exchange.device.dlpack_type, 0)
    inside = exchange.decode(exchange.capsule_of(source)).device
    if not pair == inside == plain:
        fail(
            "DLP-16", "DLP-15", role=Role.PRODUCER, reason="the device is told in two ways",
            expected=f"{plain} for {exchange.device.value} memory, by the method and in the capsule",
            seen=f"{pair} by the method, {inside} in the capsule",
        )  # fmt: skip


# -- what a consumer asks


@invariant(
    "negotiation.keyword-call",
    producer="DLP-30",
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
                "DLP-30", role=Role.CONSUMER, reason="the call has another form than the protocol's",
                expected=f"keywords out of {sorted(known)}", seen=f"__dlpack__(*{positional!r}, **{keywords!r})",
            )  # fmt: skip


@invariant(
    "negotiation.version-request",
    producer="DLP-02",
    bugs="I15 I23",
    level=Level.SHOULD,
    cases=lambda env: every(env.imports(Protocol.DLPACK)),
)
def test_version_request(exchange: Exchange) -> None:
    """The consumer asks for a versioned capsule first: a legacy one has no flags, so read-only arrays cannot come."""
    offer = _watched(exchange)
    asked = offer.calls[0][1].get("max_version")
    if asked is None or asked[0] < 1:
        fail(
            "DLP-02", role=Role.CONSUMER, reason="the consumer asks for a legacy capsule",
            expected="max_version of 1.0 or higher", seen=f"__dlpack__(**{offer.calls[0][1]!r})",
        )  # fmt: skip


@invariant(
    "negotiation.stream-request",
    producer="DLP-36 DLP-31",
    consumer="DLP-35 DLP-31",
    bugs="I15",
    level=Level.MUST,
    cases=lambda env: every(env.imports(Protocol.DLPACK)),
)
def test_stream_request(exchange: Exchange) -> None:
    """The consumer passes no stream for host memory; for CUDA memory it names one, and never as 0.

    Leaving it to ``None`` means the legacy default stream, but saying so (1) is recommended.
    """
    offer = _watched(exchange)
    for _, keywords in offer.calls:
        stream = keywords.get("stream")
        if exchange.device is Device.HOST and stream is not None:
            fail(
                "DLP-36", role=Role.CONSUMER, reason="a stream for host memory",
                expected="stream=None or none", seen=f"stream={stream!r}",
            )  # fmt: skip
        if exchange.device is Device.HOST:
            continue
        if stream is None:
            fail(
                "DLP-35", role=Role.CONSUMER, level=Level.SHOULD, reason="the consumer does not name its stream",
                expected="stream=1 for the legacy default stream, or a handle", seen=f"__dlpack__(**{keywords!r})",
            )  # fmt: skip
        if not isinstance(stream, int) or stream == 0 or stream < -1:
            fail(
                "DLP-31", role=Role.CONSUMER, reason="not a stream that the protocol allows",
                expected="-1, 1, 2 or a handle", seen=f"stream={stream!r}",
            )  # fmt: skip


def _watched(exchange: Exchange) -> Any:
    """An offer that has kept the consumer's calls; what became of them is not the question here."""
    offer = exchange.offer(exchange.source())
    try:
        exchange.consumer.take(offer, exchange.protocol, exchange.device)
    except Exception as error:
        exchange.check_context(error)
        if not offer.calls:
            raise Refused(f"{exchange.consumer.name} refused without calling __dlpack__: {brief(error)}") from error
    return offer


# -- what a consumer is given


@invariant(
    "negotiation.older-producer",
    producer="DLP-30",
    consumer="DLP-30",
    bugs="I23",
    level=Level.SHOULD,
    cases=lambda env: every(
        env.imports(Protocol.DLPACK), signature=("stream-only", "stream-and-version", "keyword-only")
    ),
)
def test_older_producer(exchange: Exchange) -> None:
    """A producer of any edition of the standard is accepted: what it does not know is not insisted upon."""
    editions = {"stream-only": StreamOnly, "stream-and-version": StreamAndVersion, "keyword-only": KeywordOnly}
    source = exchange.source()
    offer = editions[exchange.option("signature")](source.array)
    try:
        taken = exchange.consumer.take(offer, exchange.protocol, exchange.device)
    except Exception as error:
        exchange.check_context(error)
        fail(
            "DLP-30",
            role=Role.CONSUMER,
            level=Level.SHOULD,
            reason="a producer of another edition is refused",
            expected="another call with fewer keywords",
            seen=f"{exchange.option('signature')}: {brief(error)}",
        )
    exchange.expect_address(source, exchange.look(taken))
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
        exchange.consumer.take(offer, exchange.protocol, exchange.device)
    except Exception as error:
        exchange.check_context(error)
        if type(error) is not type(raised) or error.args != raised.args:
            fail(
                "DLP-41", role=Role.CONSUMER, reason="the producer's exception was replaced",
                expected=brief(raised), seen=brief(error),
            )  # fmt: skip
        return
    fail(
        "DLP-41", role=Role.CONSUMER, reason="the producer's exception was swallowed",
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


@invariant(
    "negotiation.missing-method",
    consumer="DLP-41",
    bugs="I25",
    level=Level.SHOULD,
    cases=lambda env: every(env.imports(Protocol.DLPACK), missing=("dlpack", "dlpack-device", "both")),
)
def test_missing_method(exchange: Exchange) -> None:
    """An object that lacks one of the two methods is refused, with ``AttributeError``."""
    exporter = exchange.source().array
    incomplete = {"dlpack": NoDLPack(exporter.device()), "dlpack-device": NoDevice(exporter), "both": object()}
    offer = incomplete[exchange.option("missing")]
    # The class is the array API standard's, for its from_dlpack; calls of other libraries may name another.
    bound = Trait.ARRAY_API in exchange.consumer.traits
    try:
        exchange.consumer.take(offer, exchange.protocol, exchange.device)
    except Exception as error:
        exchange.check_context(error)
        if not isinstance(error, AttributeError if bound else (AttributeError, TypeError, BufferError)):
            fail(
                "DLP-41", role=Role.CONSUMER, level=Level.SHOULD,
                reason="refused, but with the wrong kind of exception",
                expected="AttributeError" if bound else "AttributeError, TypeError or BufferError", seen=brief(error),
            )  # fmt: skip
        return
    fail(
        "DLP-41", role=Role.CONSUMER, level=Level.SHOULD, reason="an object without both methods was accepted",
        expected="AttributeError", seen="an array",
    )  # fmt: skip


@invariant(
    "negotiation.capsule-name",
    producer="DLP-46",
    consumer="DLP-03 DLP-46",
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
    try:
        taken = exchange.take(offer, promised="" if exchange.option("struct") == "versioned" else None)
    except Refused as refusal:
        if offer.asked_for_versioned and exchange.promises():
            fail(
                *exchange.promises(), role=Role.CONSUMER, reason="a versioned capsule is refused by who has asked for one",
                expected="the array is exchanged", seen=refusal,
            )  # fmt: skip
        raise
    exchange.expect_address(source, exchange.look(taken), "DLP-03")
    exchange.expect_values(source, exchange.read(taken), "DLP-03")


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
    try:
        taken = exchange.consumer.take(offer, exchange.protocol, exchange.device)
    except Exception as error:
        exchange.check_context(error)
        if not offer.asked_for_versioned:
            raise Refused(f"{exchange.consumer.name} asks for legacy capsules only: {brief(error)}") from error
        fail(
            "DLP-05", role=Role.CONSUMER, level=Level.SHOULD, reason="a newer minor version was refused",
            expected="an array", seen=f"version (1, 99): {brief(error)}",
        )  # fmt: skip
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
    """A struct of another major version is refused and released once, and nothing behind its flags is touched."""
    garbage = {"data": 0xDEAD0000, "ndim": 0x7FFFFFF0, "shape": None, "strides": None, "code": 255, "bits": 255}
    content = garbage if exchange.option("content") == "garbage" else {}
    source = exchange.crafted(override={"version": (2, 0), "deleter": Deleter.NATIVE, **content})
    offer = Prepared(source)
    exchange.expect_refusal(
        lambda: exchange.consumer.take(offer, exchange.protocol, exchange.device),
        "DLP-04",
        "DLP-03",
        role=Role.CONSUMER,
        reason="a struct of major version 2",
    )
    expect_one_owner(offer, Role.CONSUMER, "a struct of another major version")


@invariant(
    "negotiation.unknown-device",
    consumer="DLP-45 DLP-05",
    bugs="I25",
    level=Level.SHOULD,
    cases=lambda env: every(env.imports(Protocol.DLPACK), device=("rocm", "unknown", "only-in-capsule")),
)
def test_unknown_device(exchange: Exchange) -> None:
    """An array on a device that the consumer cannot use, or that DLPack does not know, is refused with ``BufferError``.

    What the capsule says counts, also where ``__dlpack_device__`` says something else.
    """
    inside = ROCM if exchange.option("device") == "rocm" else UNKNOWN
    source = exchange.crafted(override={"device": inside})
    told = source.array.device() if exchange.option("device") == "only-in-capsule" else inside
    offer = Offered(source.array.__dlpack__, told)
    exchange.expect_refusal(
        lambda: exchange.consumer.take(offer, exchange.protocol, exchange.device),
        "DLP-05" if exchange.option("device") == "only-in-capsule" else "DLP-45",
        role=Role.CONSUMER,
        reason=f"an array on device {inside}",
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
    consumer="DLP-45 DLP-42",
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
        reason="an array in host memory",
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
        fail("G9", role=Role.CONSUMER, reason="the protocol changes from call to call", expected=ways[0], seen=ways[1])
