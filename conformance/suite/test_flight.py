"""Family ``flight``: memory that is dropped, overwritten or copied while work with it is in flight."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.adapters.base import Device, Protocol
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.catalogue import Draft, Needs, every, invariant
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange
from conformance.checks.libraries import Environment, shows_one_library, streaming
from conformance.checks.outcomes import ACCUSED, Inconclusive, Refused, Side, fail
from conformance.faults.flight import HoldsNothing
from conformance.ordering import evidence, wording
from conformance.ordering.evidence import Latest, seen_in, seen_of_export, setting_of
from conformance.ordering.handover import REFERENCE, Export, Setting, first_how
from conformance.ordering.memory_in_flight import Copying, Dropped, Drops, Held, Overwriting, ToHost
from conformance.ordering.observation import Seen, Wait, observe
from conformance.protocols.clauses import Level, Role

_ON = (Device.CUDA, Device.SIMULATED)


def _pairs(env: Environment) -> Iterator[Draft]:
    return every(streaming(env.pairs(on=_ON)), quick=shows_one_library, how=first_how)


# -- dropped


class _HoldsNothing(ReferenceAdapter):
    """What a control needs to see memory handed out too early."""

    importer_class = HoldsNothing


_HOLDS_NOTHING = _HoldsNothing()


def _observed(exchange: Exchange, setting: Setting, drops: Drops) -> tuple[Seen, Dropped]:
    """What was seen, and the work that it was seen of."""
    latest = Latest(lambda: Dropped(setting, drops))
    seen = seen_in(exchange, setting.streams, latest)
    if not latest.work.shared:
        raise Refused(f"{setting.consumer.name} copies what it imports: it reads memory of its own")
    exchange.notes["handed out again"] = "while pending" if latest.work.handed_out else "not while pending"
    return seen, latest.work


@invariant(
    "flight.array-dropped",
    producer="DLP-28",
    consumer="DLP-26",
    context="CAI-27",
    bugs="I17 lifetime-26",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_pairs,
    exclusive=True,
)
def test_array_dropped(exchange: Exchange) -> None:
    """Memory that an import still holds is not handed out again, though the producer's own array is dropped at once.

    The consumer's stream is held, its read queued behind; the producer's array goes, and new ones of its size are made and
    written on the producer's stream, then again when the read is done. Reading the array interface alone holds nothing: if
    the import does not either, that is for its user to know.
    """
    setting = setting_of(exchange)
    seen, work = _observed(exchange, setting, Drops.ARRAY)
    if not seen.in_order or work.handed_out:
        _blame_early(exchange, setting, "the memory is handed out again while the consumer's read is pending", seen)
    if work.make_more():
        _blame_early(exchange, setting, "the memory is handed out again while the import lives", seen)
    exchange.notes["control"] = _control_of_drop(setting, work)


def _control_of_drop(setting: Setting, work: Dropped) -> str:
    """See the memory written too early where nobody holds it, or at least see it handed out again once it is free."""
    try:
        return evidence.overtaken(
            setting.streams,
            [
                ("an import that holds nothing", lambda: Dropped(setting.but(consumer=_HOLDS_NOTHING), Drops.ARRAY)),
                ("the import dropped as well", lambda: Dropped(setting, Drops.BOTH)),
            ],
        )
    except Inconclusive as never:
        if work.handed_out_when_free():
            return "once nobody has it and nothing is pending, the memory is handed out again"
        raise Inconclusive(
            f"{setting.producer.name} does not hand the memory out again even when it is free"
        ) from never


def _blame_early(exchange: Exchange, setting: Setting, reason: str, seen: Seen) -> None:
    """By DLPack it is the producer's fault if it does so to a flawless consumer too, else the consumer's.

    By the array interface it is nobody's: the user keeps the array alive.
    """
    if setting.protocol is Protocol.CAI:
        _early(
            Role.CONSUMER, "CAI-27", Level.OBSERVED, f"the import holds no reference, so {reason}", seen, Side.NEITHER
        )
    by_producer = _handed_out_early(setting.but(consumer=REFERENCE))
    exchange.notes["blame"] = f"{setting.producer.name} to the reference: {_TOLD[by_producer]}"
    if by_producer is None:
        raise Inconclusive(f"{reason}, and which side is at fault cannot be told: {exchange.notes['blame']}")
    role, cited = (Role.PRODUCER, "DLP-28") if by_producer else (Role.CONSUMER, "DLP-26")
    _early(role, cited, None, reason, seen, ACCUSED[role])


_TOLD = {True: "the memory is handed out early", False: "in order", None: "refused"}


def _early(role: Role, cited: str, level: Level | None, reason: str, seen: Seen, accused: Side) -> None:
    fail(
        Code.RELEASED_EARLY, cited, role=role, level=level, reason=reason,
        expected="the data that was handed over, in memory that nobody else gets", seen=_what(seen), given="",
        accused=accused,
    )  # fmt: skip


def _what(seen: Seen) -> str:
    return seen.told or "a new array of the producer's on the memory of the dropped one"


def _handed_out_early(setting: Setting) -> bool | None:
    """Whether memory is handed out again while the import lives; ``None`` if nothing can be exchanged."""
    latest = Latest(lambda: Dropped(setting, Drops.ARRAY))
    try:
        seen = observe(setting.streams, latest)
    except Exception:
        return None
    return not seen.in_order or latest.work.handed_out or latest.work.make_more()


@invariant(
    "flight.import-dropped",
    context="G12",
    bugs="I17 lifetime-26",
    level=Level.OBSERVED,
    needs=Needs.GPU,
    cases=_pairs,
    exclusive=True,
)
def test_import_dropped(exchange: Exchange) -> None:
    """Memory whose import is dropped while it is still being read is not written by the producer's next arrays first.

    No document says who has to see to that: an allocator that keeps memory by stream does not know the consumer's stream.
    """
    setting = setting_of(exchange)
    seen, work = _observed(exchange, setting, Drops.BOTH)
    if not seen.in_order:
        fail(
            Code.FREED_IN_FLIGHT,
            "G12",
            role=Role.PRODUCER,
            level=Level.OBSERVED,
            reason="the producer hands out and writes memory of a dropped import while the consumer still reads it",
            expected="the consumer reads the data that was handed over",
            seen=_what(seen),
            given="",
        )
    exchange.notes["control"] = _why_safe(setting, seen, work)


def _why_safe(setting: Setting, seen: Seen, work: Dropped) -> str:
    if work.handed_out:
        if seen.wait is Wait.NONE:
            raise Inconclusive("the memory was handed out again and written, and yet the read came first")
        return f"the memory is handed out again, and written when the read is done: {seen}"
    if work.handed_out_when_free():
        return "the block is not handed out again while the work is pending; once it is done, it is"
    raise Inconclusive(f"{setting.producer.name} does not hand the memory out again even when it is free")


# -- overwritten


@invariant(
    "flight.consumer-writes",
    producer="CAI-22 DLP-33",
    consumer="CAI-18 DLP-35 CAI-26",
    context="CAI-21 CAI-23 CAI-30",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(
        streaming(env.pairs(on=_ON)), quick=shows_one_library, how=first_how, pending=("read", "write")
    ),
    exclusive=True,
)
def test_consumer_writes(exchange: Exchange) -> None:
    """The consumer's write into an imported array comes after all pending reads and writes of the producer.

    Work that only reads is pending work too: who waits for writes alone overwrites what is still to be read.
    """
    setting, pending = setting_of(exchange), exchange.option("pending")

    def make(tried: Setting) -> Overwriting:
        return Overwriting(tried, pending)

    seen = seen_in(exchange, setting.streams, lambda: make(setting))
    if not seen.in_order:
        evidence.blame(
            exchange,
            setting,
            make,
            seen,
            reason=f"the consumer's write overtakes the producer's pending {pending}",
            expected="the producer reads what was there before the write"
            if pending == "read"
            else "the array ends with what the consumer wrote",
            code=Code.EARLY_WRITE,
        )
    exchange.notes["control"] = evidence.overtaken(setting.streams, evidence.without_wait(setting, make, seen))


# -- copied


def _host_exports(env: Environment) -> Iterator[Draft]:
    by = ("call", "numpy") if env.get("numpy") else ("call",)
    return every(streaming(env.exports(Protocol.DLPACK, on=_ON)), how=first_how, by=by, copy=("default", "true"))


@invariant(
    "flight.host-copy",
    producer="DLP-37",
    bugs="I15 stream-16",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=_host_exports,
    exclusive=True,
)
def test_host_copy(exchange: Exchange) -> None:
    """What is exported to the host holds the producer's pending work when the call returns.

    The producer's stream is its current one, and none is named, because the host has none. The elements are looked at as soon as the
    call has returned.
    """
    setting = setting_of(exchange)
    keywords = {"copy": True} if exchange.option("copy") == "true" else {}
    numpy = exchange.library("numpy") if exchange.option("by") == "numpy" else None
    latest = Latest(lambda: ToHost(setting, keywords, numpy))
    seen = seen_of_export(exchange, setting.streams, latest)
    if not seen.in_order:
        fail(
            Code.COPY_NOT_DONE,
            "DLP-37",
            role=Role.PRODUCER,
            level=evidence.level_of_export(setting),
            reason="the copy on the host is not done when the call returns",
            expected="the new value in every element",
            seen=f"{seen.told}; the call does not wait for {wording.stream(seen.writer)}, on which the write is pending",
            given="",
        )
    named = [arguments[1]["stream"] for arguments in latest.work.offer.calls if arguments[1].get("stream") is not None]
    if named:
        raise Inconclusive(f"a stream was named for the host, which has none: stream={named[0]!r}")
    exchange.notes["control"] = evidence.overtaken(setting.streams, _unsynchronized(setting))


def _unsynchronized(setting: Setting) -> evidence.Controls:
    """An export that waits for nothing sees the old data."""
    yield "stream=-1", lambda: Export(setting, "handle", asked=-1)
    yield "stream=-1, from the reference", lambda: Export(setting.but(producer=REFERENCE), "handle", asked=-1)


@invariant(
    "flight.copy-on-stream",
    producer="DLP-40",
    level=Level.MUST,
    needs=Needs.GPU,
    cases=lambda env: every(streaming(env.exports(Protocol.DLPACK, on=_ON))),
    exclusive=True,
)
def test_copy_on_stream(exchange: Exchange) -> None:
    """``copy=True`` copies on the named stream, or has finished the copy when it returns.

    That stream is held. A copy that is there before it is let go was made elsewhere; if it is not done on return either,
    which is seen with the producer's own stream held, nothing that the consumer queues on its stream waits for it.
    """
    setting = setting_of(exchange)
    seen = seen_of_export(exchange, setting.streams, lambda: Copying(setting, Held.NAMED))
    if seen.wait in (Wait.HOST, Wait.DEVICE):
        raise Inconclusive(f"where the copy ran cannot be told: {seen}")
    if not seen.overtakes:
        free = [("a stream that is not held", lambda: Copying(setting, Held.OTHER))]
        exchange.notes["control"] = evidence.overtaken(setting.streams, free)
        return
    late = observe(setting.streams, lambda: Copying(setting, Held.OWN))
    exchange.notes["control"] = f"with {Held.OWN.value} held: {late}"
    if late.wait is Wait.NONE and late.in_order:
        fail(
            Code.COPY_ON_WRONG_STREAM,
            "DLP-40",
            role=Role.PRODUCER,
            reason="the producer makes the copy on its own stream and not on the one that was named",
            expected="no copy while the named stream is held, or a copy that is done on return",
            seen=f"the copy is made while the named stream is held, and it waits for {wording.stream(late.writer)}, "
            f"the current stream of {exchange.producer.name}",
            given="",
        )
