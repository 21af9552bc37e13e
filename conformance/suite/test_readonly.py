"""Family ``readonly``: the read-only bit, which a producer must set and a consumer must respect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from conformance.adapters.base import DLPackOffer, Protocol, Trait
from conformance.checks.catalogue import Draft, every, invariant, layouts
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, Source, brief
from conformance.checks.libraries import Environment, Library, Pair
from conformance.checks.offers import older_signature
from conformance.checks.outcomes import Failure, Inconclusive, Refused, Side, fail
from conformance.checks.patterns import pattern
from conformance.checks.steps import Doing
from conformance.protocols.clauses import Level, Role
from conformance.protocols.dlpack import DLFlags, Tensor


def _locks(library: Library) -> bool:
    """Return whether the library has read-only arrays."""
    return library.has(Trait.READONLY) or library.has(Trait.IMMUTABLE)


def _read_only(exchange: Exchange) -> Source:
    """Return a read-only array of the producer, made so after a first export if the case says so."""
    source = exchange.source()
    if exchange.option("after", "") == _AFTER_EXPORT:
        _exported(exchange, source)
    if Trait.IMMUTABLE not in exchange.producer.traits and not exchange.is_locked:
        exchange.producer.freeze(source.array)
    return source


# -- producers

_AFTER_EXPORT = "export"


def _exported(exchange: Exchange, source: Source) -> None:
    """Export the array and drop the export at once."""
    if exchange.protocol is Protocol.CAI:
        exchange.dictionary_of(source)
    else:
        exchange.newest_capsule(source, promised="")


def _locking(env: Environment) -> Iterator[Draft]:
    """Yield cases of arrays that are read-only from the start, and of arrays that become read-only between two exports."""
    able = [pair for pair in env.exports() if _locks(pair.producer)]
    yield from every(able, layout=layouts("c-order", "inner"))
    yield from every((pair for pair in able if not pair.producer.has(Trait.IMMUTABLE)), after=(_AFTER_EXPORT,))


@invariant(
    "readonly.export",
    producer="DLP-08 CAI-08",
    context="G2",
    bugs="I13",
    level=Level.SHOULD,
    cases=_locking,
)
def test_export(exchange: Exchange) -> None:
    """A producer should export a read-only array with the read-only bit set, also if it was writable at an earlier export.

    A producer with only legacy capsules has no such bit, which the suite records. A producer may also refuse the export.
    """
    source = _read_only(exchange)
    if exchange.protocol is Protocol.CAI:
        said = _published_bit(exchange.dictionary_of(source))
        if not said:
            _not_said("CAI-08", expected="True in data[1]", seen=f"{said} in data[1]")
        return
    tensor = exchange.decode(exchange.newest_capsule(source, promised=""))
    if tensor.flags is None:
        _not_said(
            "G2", expected="a versioned capsule with the read-only bit", seen="a legacy capsule, which has no flags"
        )
    if not _flagged(tensor):
        _not_said("DLP-08", expected="the read-only bit in the flags", seen=f"flags {tensor.flags}")


def _not_said(clause: str, *, expected: str, seen: str) -> None:
    fail(
        Code.READONLY_LOST,
        clause,
        role=Role.PRODUCER,
        reason="the producer exports a read-only array without the read-only bit",
        expected=expected,
        seen=seen,
    )


def _flagged(tensor: Tensor) -> bool:
    return bool((tensor.flags or 0) & DLFlags.READ_ONLY)


def _published_bit(described: Any) -> bool:
    """Return the read-only bit of a dictionary; raise ``Inconclusive`` if it has none."""
    try:
        return bool(described["data"][1])
    except Exception as error:
        raise Inconclusive(f"the dictionary has no readable read-only bit: {brief(error)}") from error


@invariant(
    "readonly.legacy-export",
    producer="DLP-23",
    context="G2",
    bugs="I13 I25",
    level=Level.SHOULD,
    cases=lambda env: every(p for p in env.exports(Protocol.DLPACK) if _locks(p.producer)),
)
def test_legacy_export(exchange: Exchange) -> None:
    """A producer that refuses to export a read-only array to a request without a version should raise ``BufferError``.

    A legacy capsule has no read-only bit. No document says whether a producer may export one for such an array, so the suite records it.
    """
    source = _read_only(exchange)
    for keywords in ({}, {"copy": False}):
        _expect_refused_well(exchange, source, keywords)


def _expect_refused_well(exchange: Exchange, source: Source, keywords: dict[str, Any]) -> None:
    """Fail unless the producer refuses with ``BufferError``. A producer of an older edition of the standard may not know a keyword."""
    offer = exchange.offer(source)
    try:
        with exchange.step(Doing.EXPORT, Role.PRODUCER):
            exported = offer.__dlpack__(**keywords)
    except BufferError:
        return
    except Exception as error:
        exchange.check_context(error)
        if keywords and older_signature(error):
            return
        fail(
            Code.WRONG_EXCEPTION,
            "DLP-23",
            role=Role.PRODUCER,
            reason="the producer refuses a legacy capsule of a read-only array with the wrong kind of exception",
            expected="BufferError",
            seen=brief(error),
            given="a legacy capsule of a read-only array",
        )
    if not _flagged(exchange.decode(exported)):
        _not_said("G2", expected="BufferError", seen="a legacy capsule, which has no flags")


@invariant(
    "readonly.writable-export",
    producer="DLP-07 CAI-08",
    bugs="I13",
    level=Level.SHOULD,
    cases=lambda env: every(
        (p for p in env.exports() if not p.producer.has(Trait.IMMUTABLE)), layout=layouts("c-order", "inner")
    ),
)
def test_writable_export(exchange: Exchange) -> None:
    """A producer should export a writable array without the read-only bit."""
    source = exchange.source()
    if exchange.protocol is Protocol.CAI:
        clause, said = "CAI-08", _published_bit(exchange.dictionary_of(source))
    else:
        tensor = exchange.decode(exchange.newest_capsule(source))
        if tensor.flags is None:
            raise Refused(f"{exchange.producer.name} exports no versioned capsule")
        clause, said = "DLP-07", _flagged(tensor)
    if said:
        _invented_by_producer(clause)


def _invented_by_producer(clause: str) -> NoReturn:
    fail(
        Code.READONLY_INVENTED,
        clause,
        role=Role.PRODUCER,
        reason="the producer exports a writable array as read-only",
        expected="the read-only bit not set",
        seen="the read-only bit set",
        accused=Side.PRODUCER,
    )


# -- consumers


@invariant(
    "readonly.accepted",
    consumer="DLP-09",
    bugs="I13",
    level=Level.SHOULD,
    cases=lambda env: every(env.imports(Protocol.DLPACK)),
)
def test_accepted(exchange: Exchange) -> None:
    """A consumer should accept a read-only capsule, even if it has no read-only arrays."""
    exchange.take(exchange.source(), promised="")
    offer = exchange.offer(exchange.crafted(readonly=True))
    try:
        exchange.take(offer, promised="")
    except Refused as refusal:
        if offer.raised is not None:
            raise
        fail(
            Code.READONLY_REFUSED,
            "DLP-09",
            role=Role.CONSUMER,
            reason="the consumer refuses a read-only capsule",
            expected="the array, as read-only or with the bit ignored",
            seen=refusal,
        )


def _told_by_reference(env: Environment) -> Iterator[Pair]:
    """Yield the reference with every consumer, over every protocol that the consumer itself reads."""
    yield from env.imports(Protocol.DLPACK)
    yield from env.dictionaries()


@invariant(
    "readonly.import",
    consumer="DLP-09",
    context="G2",
    bugs="I13",
    level=Level.SHOULD,
    cases=lambda env: every(p for p in _told_by_reference(env) if p.consumer.has(Trait.READONLY)),
)
def test_import(exchange: Exchange) -> None:
    """A consumer that has read-only arrays should import a read-only array as one.

    The CUDA Array Interface does not say how a consumer uses the bit, so the suite only records it there.
    """
    taken = exchange.take(exchange.crafted(readonly=True), promised="")
    if not exchange.look(taken).readonly:
        _dropped(exchange)


def _dropped(exchange: Exchange) -> NoReturn:
    fail(
        Code.READONLY_LOST,
        _duty_to_lock(exchange.protocol),
        role=Role.CONSUMER,
        reason="the consumer drops the read-only bit",
        expected="a read-only array",
        seen="a writable one",
    )


def _duty_to_lock(protocol: Protocol) -> str:
    """Return the clause for a consumer of a read-only array. The CUDA Array Interface has none, only the gap G2."""
    return "DLP-09" if protocol is Protocol.DLPACK else "G2"


@invariant(
    "readonly.writable-import",
    producer="DLP-07 CAI-08",
    consumer="DLP-58",
    context="G2",
    bugs="I13",
    level=Level.SHOULD,
    cases=lambda env: every(
        p for p in env.pairs() if p.consumer.has(Trait.READONLY) and not p.producer.has(Trait.IMMUTABLE)
    ),
)
def test_writable_import(exchange: Exchange) -> None:
    """A consumer should import a writable array as writable, if the capsule or dictionary has a read-only bit.

    The CUDA Array Interface does not say how a consumer uses the bit, so the suite only records it there.
    """
    source = exchange.source()
    offer = exchange.offer(source)
    taken = exchange.take(offer, promised="")
    if isinstance(offer, DLPackOffer) and not _was_versioned(exchange, source, offer):
        raise Refused("the exchange used a legacy capsule, which has no read-only bit")
    if exchange.look(taken).readonly:
        by_dlpack = exchange.protocol is Protocol.DLPACK
        if exchange.handed is not None and exchange.handed.readonly:
            _invented_by_producer("DLP-07" if by_dlpack else "CAI-08")
        fail(
            Code.READONLY_INVENTED,
            "DLP-58" if by_dlpack else "G2",
            role=Role.CONSUMER,
            level=Level.SHOULD,
            reason="the consumer imports a writable array as read-only",
            expected="a writable array",
            seen="a read-only one",
            accused=exchange.reader_at_fault(),
        )


def _was_versioned(exchange: Exchange, source: Source, offer: DLPackOffer) -> bool:
    """Return whether the consumer requested a versioned capsule and the producer exports them."""
    asked = bool(offer.calls) and (offer.calls[-1][1].get("max_version") or (0, 0))[0] >= 1
    return asked and exchange.decode(exchange.newest_capsule(source)).flags is not None


@invariant(
    "readonly.legacy-import",
    context="G2 LIB-27",
    bugs="I13",
    level=Level.OBSERVED,
    cases=lambda env: every(p for p in env.imports(Protocol.DLPACK) if p.consumer.has(Trait.READONLY)),
)
def test_legacy_import(exchange: Exchange) -> None:
    """The suite records whether a consumer imports a legacy capsule as writable.

    Such a capsule has no read-only bit. NumPy documents that it imports the array as read-only for safety.
    """
    taken = exchange.take(exchange.crafted(newest=None), promised="")
    if exchange.look(taken).readonly:
        fail(
            Code.READONLY_INVENTED,
            "G2",
            role=Role.CONSUMER,
            reason="the consumer imports a legacy capsule as read-only",
            expected="a writable array",
            seen="a read-only one",
        )


# -- writes


@invariant(
    "readonly.write",
    producer="DLP-08 CAI-08",
    consumer="DLP-09",
    context="G2",
    bugs="I13",
    level=Level.SHOULD,
    cases=lambda env: every(
        p
        for p in env.pairs()
        if _locks(p.producer)
        and p.consumer.has(Trait.WRITES)
        and not (p.protocol is Protocol.CAI and p.consumer.has(Trait.POINTER_ONLY))
    ),
)
def test_write(exchange: Exchange) -> None:
    """A consumer should not change a read-only array by a write. The write should raise an exception or change a copy.

    A consumer without read-only arrays may leave this to the user, and the CUDA Array Interface does not cover it. If the producer does not
    set the bit, the consumer cannot know. The suite only records such writes.
    """
    source = _read_only(exchange)
    said = _is_said(exchange, source)
    taken = exchange.take(source, promised="")
    try:
        with exchange.step(Doing.USE, Role.CONSUMER):
            exchange.consumer.write(taken, pattern(source.dtype, source.view.size, seed=1))
    except Exception as error:
        exchange.check_context(error)
    if exchange.peek(source.address, len(source.block)) == source.block:
        return
    bound = said and Trait.READONLY in exchange.consumer.traits
    fail(
        Code.READONLY_WRITTEN,
        _duty_to_lock(exchange.protocol) if bound else "G2",
        role=Role.CONSUMER,
        reason="the consumer writes to a read-only array",
        expected="an exception, or a write to a copy",
        seen=f"the producer's elements changed{'' if said else ', and the producer had not set the read-only bit'}",
    )


def _is_said(exchange: Exchange, source: Source) -> bool:
    """Return whether the producer sets the read-only bit."""
    try:
        if exchange.protocol is Protocol.CAI:
            return _published_bit(exchange.dictionary_of(source))
        return _flagged(exchange.decode(exchange.newest_capsule(source, promised="")))
    except (Failure, Refused, Inconclusive):
        return False


def _onward(pair: Pair) -> tuple[str, ...]:
    """Return an axis: the protocols by which the consumer can export its import again."""
    return tuple(protocol.value for protocol in pair.target.exports)


@invariant(
    "readonly.re-export",
    consumer="DLP-09",
    context="G2 DLP-08 CAI-08",
    bugs="I13",
    level=Level.SHOULD,
    cases=lambda env: every(_told_by_reference(env), onward=_onward),
)
def test_re_export(exchange: Exchange) -> None:
    """A library should export a read-only import again as read-only, or refuse.

    A copy may be writable. A library without read-only arrays may ignore the bit of a capsule, and the CUDA Array Interface does not say
    how a consumer uses it. In these cases the suite only records the loss of the bit.
    """
    source = exchange.crafted(readonly=True)
    taken = exchange.take(source, promised="")
    onward = Protocol(exchange.option("onward"))
    address, said, versioned = _passed_on(exchange, taken, onward)
    if said or address != source.address:
        return
    knows = bool(exchange.consumer.traits & {Trait.READONLY, Trait.IMMUTABLE})
    if knows and versioned and not exchange.look(taken).readonly:
        _dropped(exchange)
    fail(
        Code.READONLY_PASSED_ON,
        _duty_to_lock(exchange.protocol) if knows and versioned else "G2",
        role=Role.CONSUMER,
        reason="the consumer exports a read-only import again as writable",
        expected="the read-only bit, a refusal, or a copy",
        seen="the same memory in a legacy capsule" if not versioned else "the same memory without the bit",
    )


def _passed_on(exchange: Exchange, taken: Any, onward: Protocol) -> tuple[int, bool, bool]:
    """Return the address and the read-only bit of the consumer's own export, and whether its format has such a bit."""
    if onward is Protocol.CAI:
        described = exchange.dictionary_of(taken, giver=exchange.consumer)
        return described["data"][0], _published_bit(described), True
    tensor = exchange.decode(exchange.newest_capsule(taken, giver=exchange.consumer))
    return tensor.element0, _flagged(tensor), tensor.flags is not None
