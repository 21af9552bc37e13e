"""Family ``flight``: memory that is dropped, overwritten or copied while work on it is in flight."""

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
    """A reference whose import holds no reference to the array, for a control that must go wrong."""

    importer_class = HoldsNothing


_HOLDS_NOTHING = _HoldsNothing()


def _observed(exchange: Exchange, setting: Setting, drops: Drops) -> tuple[Seen, Dropped]:
    """Return the observation and the observed work. A consumer that copies ends the case as refused."""
    latest = Latest(lambda: Dropped(setting, drops))
    seen = seen_in(exchange, setting.streams, latest)
    if not latest.work.shared:
        raise Refused(f"{setting.consumer.name} copies its imports, so it reads memory of its own")
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
    """A producer must not reuse the memory of an array that an import still holds, even if its own array is dropped at once.

    A latch holds the consumer's stream, and its read is queued behind. The producer's array is dropped. New arrays of its size are made and
    written on the producer's stream, and again when the read is done. Reading a CUDA Array Interface holds no reference. If
    the import holds none either, the user has to keep the array.
    """
    setting = setting_of(exchange)
    seen, work = _observed(exchange, setting, Drops.ARRAY)
    if not seen.in_order or work.handed_out:
        _blame_early(exchange, setting, "the memory is reused while the consumer's read is pending", seen)
    if work.make_more():
        _blame_early(exchange, setting, "the memory is reused while the import is alive", seen)
    exchange.notes["control"] = _control_of_drop(setting, work)


def _control_of_drop(setting: Setting, work: Dropped) -> str:
    """Prove that unheld memory is overwritten too early, or at least that free memory is reused."""
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
            return "once the memory is free and no work is pending, it is reused"
        raise Inconclusive(f"{setting.producer.name} does not reuse the memory even when it is free") from never


def _blame_early(exchange: Exchange, setting: Setting, reason: str, seen: Seen) -> None:
    """Fail for memory that is reused too early.

    By DLPack, the producer is at fault if the same happens with the reference as consumer, else the consumer. By the CUDA Array Interface, no side
    is at fault: the user keeps the array alive.
    """
    if setting.protocol is Protocol.CAI:
        _early(
            Role.CONSUMER, "CAI-27", Level.OBSERVED, f"the import holds no reference, so {reason}", seen, Side.NEITHER
        )
    by_producer = _handed_out_early(setting.but(consumer=REFERENCE))
    exchange.notes["blame"] = f"{setting.producer.name} to the reference: {_TOLD[by_producer]}"
    if by_producer is None:
        raise Inconclusive(f"{reason}, but the trial does not show which side is at fault: {exchange.notes['blame']}")
    role, cited = (Role.PRODUCER, "DLP-28") if by_producer else (Role.CONSUMER, "DLP-26")
    _early(role, cited, None, reason, seen, ACCUSED[role])


_TOLD = {True: "the memory is reused too early", False: "in order", None: "refused"}


def _early(role: Role, cited: str, level: Level | None, reason: str, seen: Seen, accused: Side) -> None:
    fail(
        Code.RELEASED_EARLY, cited, role=role, level=level, reason=reason,
        expected="the data of the hand-over, in memory that no other array gets", seen=_what(seen), given="",
        accused=accused,
    )  # fmt: skip


def _what(seen: Seen) -> str:
    return seen.told or "a new array of the producer in the memory of the dropped one"


def _handed_out_early(setting: Setting) -> bool | None:
    """Return whether memory is reused while the import is alive, or ``None`` if the exchange is refused."""
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
    """The suite records whether the producer reuses the memory of a dropped import while the consumer's read is pending.

    No document assigns this duty to a side: an allocator that keeps free blocks by stream does not know the consumer's stream.
    """
    setting = setting_of(exchange)
    seen, work = _observed(exchange, setting, Drops.BOTH)
    if not seen.in_order:
        fail(
            Code.FREED_IN_FLIGHT,
            "G12",
            role=Role.PRODUCER,
            level=Level.OBSERVED,
            reason="the producer reuses and overwrites the memory of a dropped import while the consumer's read is pending",
            expected="the consumer reads the data of the hand-over",
            seen=_what(seen),
            given="",
        )
    exchange.notes["control"] = _why_safe(setting, seen, work)


def _why_safe(setting: Setting, seen: Seen, work: Dropped) -> str:
    if work.handed_out:
        if seen.wait is Wait.NONE:
            raise Inconclusive("the memory was reused and overwritten without a wait, and yet the read came first")
        return f"the memory is reused, and overwritten once the read is done: {seen}"
    if work.handed_out_when_free():
        return "the memory is not reused while the work is pending, and is reused once the work is done"
    raise Inconclusive(f"{setting.producer.name} does not reuse the memory even when it is free")


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
    """A consumer that writes to an imported array must wait for all pending reads and writes of the producer.

    A pending read is pending work too. A consumer that waits for writes alone overwrites data that the producer has still to read.
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
            expected="the producer reads the values from before the write"
            if pending == "read"
            else "the array ends with the consumer's values",
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
    """A producer that exports to the host must finish its pending work and the copy before the call returns.

    The producer's stream is its current one. No stream is passed, because the host has none. The suite reads the elements as soon as the
    call returns.
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
        raise Inconclusive(f"a stream was passed for the host, which has none: stream={named[0]!r}")
    exchange.notes["control"] = evidence.overtaken(setting.streams, _unsynchronized(setting))


def _unsynchronized(setting: Setting) -> evidence.Controls:
    """Yield controls: an export without a wait gives the old data."""
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
    """A producer must make a copy for ``copy=True`` on the named stream, or finish it before it returns.

    A latch holds the named stream. A copy that exists before the latch is released was made on another stream. If it is not finished on return
    either, work that the consumer queues on the named stream does not wait for it. A second trial holds the producer's own stream to see that.
    """
    setting = setting_of(exchange)
    seen = seen_of_export(exchange, setting.streams, lambda: Copying(setting, Held.NAMED))
    if seen.wait in (Wait.HOST, Wait.DEVICE):
        raise Inconclusive(f"it is not known where the copy ran: {seen}")
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
            reason="the producer makes the copy on its own stream and not on the named stream",
            expected="no copy while the named stream is held, or a copy that is done on return",
            seen=f"the copy is made while the named stream is held, and it waits for {wording.stream(late.writer)}, "
            f"the current stream of {exchange.producer.name}",
            given="",
        )
