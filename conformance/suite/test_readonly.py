"""Family ``readonly``: what must not be written says so, and who is told does not write."""

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
    """Whether the library can have an array that must not be written."""
    return library.has(Trait.READONLY) or library.has(Trait.IMMUTABLE)


def _read_only(exchange: Exchange) -> Source:
    """The producer's array, made read-only where not all of its arrays are; after an export, if the case says so."""
    source = exchange.source()
    if exchange.option("after", "") == _AFTER_EXPORT:
        _exported(exchange, source)
    if Trait.IMMUTABLE not in exchange.producer.traits and not exchange.is_locked:
        exchange.producer.freeze(source.array)
    return source


# -- what producers say

_AFTER_EXPORT = "export"


def _exported(exchange: Exchange, source: Source) -> None:
    """An export that is dropped at once."""
    if exchange.protocol is Protocol.CAI:
        exchange.dictionary_of(source)
    else:
        exchange.newest_capsule(source, promised="")


def _locking(env: Environment) -> Iterator[Draft]:
    """Arrays that are read-only from the start, and arrays that become so between two exports."""
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
    """An array that must not be written is exported with the read-only bit set, also if it could be written when it was exported before.

    A producer that makes legacy capsules only cannot say it; that is noted. It may refuse as well.
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
        reason="the producer exports an array that must not be written, and does not say so",
        expected=expected,
        seen=seen,
    )


def _flagged(tensor: Tensor) -> bool:
    return bool((tensor.flags or 0) & DLFlags.READ_ONLY)


def _published_bit(described: Any) -> bool:
    """The read-only bit of a dictionary; undecided if it has none."""
    try:
        return bool(described["data"][1])
    except Exception as error:
        raise Inconclusive(f"the dictionary has no read-only bit to judge: {brief(error)}") from error


@invariant(
    "readonly.legacy-export",
    producer="DLP-23",
    context="G2",
    bugs="I13 I25",
    level=Level.SHOULD,
    cases=lambda env: every(p for p in env.exports(Protocol.DLPACK) if _locks(p.producer)),
)
def test_legacy_export(exchange: Exchange) -> None:
    """A consumer that asks for no version gets no writable view of what must not be written: the refusal is a BufferError.

    A legacy capsule cannot say that an array is read-only. The documents leave open whether it may be made; it is noted.
    """
    source = _read_only(exchange)
    for keywords in ({}, {"copy": False}):
        _expect_refused_well(exchange, source, keywords)


def _expect_refused_well(exchange: Exchange, source: Source, keywords: dict[str, Any]) -> None:
    """Expect a ``BufferError``; a producer of an older edition may not know a keyword."""
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
    """A writable array is exported as writable."""
    source = exchange.source()
    if exchange.protocol is Protocol.CAI:
        clause, said = "CAI-08", _published_bit(exchange.dictionary_of(source))
    else:
        tensor = exchange.decode(exchange.newest_capsule(source))
        if tensor.flags is None:
            raise Refused(f"{exchange.producer.name} makes no versioned capsule")
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


# -- what consumers make of it


@invariant(
    "readonly.accepted",
    consumer="DLP-09",
    bugs="I13",
    level=Level.SHOULD,
    cases=lambda env: every(env.imports(Protocol.DLPACK)),
)
def test_accepted(exchange: Exchange) -> None:
    """A read-only capsule is accepted, also by a library that has no read-only arrays."""
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
            expected="the array, read-only or with the bit ignored",
            seen=refusal,
        )


def _told_by_reference(env: Environment) -> Iterator[Pair]:
    """The reference with every consumer, over every protocol that the consumer reads by itself."""
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
    """A library that has read-only arrays makes one of what was given as read-only.

    The array interface says nothing of what a consumer does with the bit, so there it is only observed.
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
    """What is said of a consumer that gets a read-only array; nothing is by the array interface."""
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
    """A writable array stays writable on the other side, wherever the exchange can say so.

    The array interface says nothing of what a consumer does with the bit, so there it is only observed.
    """
    source = exchange.source()
    offer = exchange.offer(source)
    taken = exchange.take(offer, promised="")
    if isinstance(offer, DLPackOffer) and not _was_versioned(exchange, source, offer):
        raise Refused("the exchange was by a legacy capsule, which cannot say that an array is writable")
    if exchange.look(taken).readonly:
        by_dlpack = exchange.protocol is Protocol.DLPACK
        if exchange.handed is not None and exchange.handed.readonly:
            _invented_by_producer("DLP-07" if by_dlpack else "CAI-08")
        fail(
            Code.READONLY_INVENTED,
            "DLP-58" if by_dlpack else "G2",
            role=Role.CONSUMER,
            level=Level.SHOULD,
            reason="the consumer makes a read-only array of a writable one",
            expected="a writable array",
            seen="a read-only one",
            accused=exchange.reader_at_fault(),
        )


def _was_versioned(exchange: Exchange, source: Source, offer: DLPackOffer) -> bool:
    """Whether the consumer asked for a versioned capsule, and the producer makes them."""
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
    """What comes in a legacy capsule is writable.

    Such a capsule does not say. NumPy documents that it plays safe; who does is noted.
    """
    taken = exchange.take(exchange.crafted(newest=None), promised="")
    if exchange.look(taken).readonly:
        fail(
            Code.READONLY_INVENTED,
            "G2",
            role=Role.CONSUMER,
            reason="the consumer makes a read-only array of a legacy capsule",
            expected="a writable array",
            seen="a read-only one",
        )


# -- what happens to the elements


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
    """A write through the consumer does not change an array that must not be written: it fails, or stays in a copy.

    Over DLPack, a library without read-only arrays may leave that to its user, and nobody can heed what the producer did
    not say; the array interface leaves it open. Such a write is noted.
    """
    source = _read_only(exchange)
    told = _is_said(exchange, source)
    taken = exchange.take(source, promised="")
    try:
        with exchange.step(Doing.USE, Role.CONSUMER):
            exchange.consumer.write(taken, pattern(source.dtype, source.view.size, seed=1))
    except Exception as error:
        exchange.check_context(error)
    if exchange.peek(source.address, len(source.block)) == source.block:
        return
    bound = told and Trait.READONLY in exchange.consumer.traits
    fail(
        Code.READONLY_WRITTEN,
        _duty_to_lock(exchange.protocol) if bound else "G2",
        role=Role.CONSUMER,
        reason="the consumer writes an array that must not be written",
        expected="an exception, or a copy that is written instead",
        seen=f"the producer's elements changed{'' if told else ', and the producer had not called them read-only'}",
    )


def _is_said(exchange: Exchange, source: Source) -> bool:
    """Whether the producer says that the array is read-only."""
    try:
        if exchange.protocol is Protocol.CAI:
            return _published_bit(exchange.dictionary_of(source))
        return _flagged(exchange.decode(exchange.newest_capsule(source, promised="")))
    except (Failure, Refused, Inconclusive):
        return False


def _onward(pair: Pair) -> tuple[str, ...]:
    """By which protocols the consumer can pass on what it took."""
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
    """What was taken as read-only is passed on as read-only, or not at all: no detour makes it writable.

    A copy may be writable. A library without read-only arrays may ignore a capsule's bit, and the array interface says nothing of what
    a consumer does with it; that it is lost is noted then.
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
        reason="the consumer passes on as writable what it takes as read-only",
        expected="the read-only bit, a refusal, or a copy",
        seen="the same memory in a legacy capsule" if not versioned else "the same memory without the bit",
    )


def _passed_on(exchange: Exchange, taken: Any, onward: Protocol) -> tuple[int, bool, bool]:
    """Address and read-only bit of the consumer's own export, and whether it has a place for the bit."""
    if onward is Protocol.CAI:
        described = exchange.dictionary_of(taken, giver=exchange.consumer)
        return described["data"][0], _published_bit(described), True
    tensor = exchange.decode(exchange.newest_capsule(taken, giver=exchange.consumer))
    return tensor.element0, _flagged(tensor), tensor.flags is not None
