"""What a verdict on order rests on: an observation, the same check seen to fail, and each side tried with a flawless partner."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from conformance.adapters.base import Adapter, Trait, Unsupported
from conformance.adapters.base import Protocol as Exchanged
from conformance.protocols.clauses import Level
from conformance.reference.streams import Streams

from ..exchange import Exchange, brief
from ..outcomes import Finding, Inconclusive, Refused
from .handover import REFERENCE, Forward, How, S, Setting, Without
from .observation import Seen, Wait, Work, observe

W = TypeVar("W", bound=Work)
Make = Callable[[S], Work]
Controls = Iterable[tuple[str, Callable[[], Work]]]


class Offering(Protocol):
    """A hand-over that can be stopped half-way, to look at what the consumer gets to see."""

    def before(self) -> None:
        """Queue the producer's write."""

    def offer(self) -> Any:
        """The array as the consumer gets to see it."""


class Latest(Generic[W]):
    """Makes work and keeps all of it: the last is what was seen, and nothing of the others is freed before the end."""

    def __init__(self, make: Callable[[], W]) -> None:
        self._make = make
        self._made: list[W] = []

    def __call__(self) -> W:
        self._made.append(self._make())
        return self.work

    @property
    def work(self) -> W:
        """What was made last."""
        return self._made[-1]


def setting_of(exchange: Exchange) -> Setting:
    """Who hands over to whom in a case; its parameters ``how`` and ``reader`` say where the two sides stand."""
    how = How(exchange.option("how", How.OUTSIDE.value))
    reader = exchange.option("reader", "stream")
    return Setting(exchange.producer, exchange.consumer, exchange.protocol, exchange.device, how, reader)


def seen_in(exchange: Exchange, streams: Streams, make: Callable[[], Work]) -> Seen:
    """Observe, and note what was seen; whatever the libraries raise ends the case as a refusal."""
    try:
        seen = observe(streams, make)
    except (Inconclusive, Unsupported):
        raise
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"the exchange was refused: {brief(error)}") from error
    exchange.notes["seen"] = str(seen)
    return seen


def overtaken(streams: Streams, controls: Controls) -> str:
    """The first of these that is seen to go wrong, in words; :class:`Inconclusive` if none is."""
    return _first(streams, controls, lambda seen: seen.overtakes)


def waiting(streams: Streams, controls: Controls) -> str:
    """The first of these in which somebody is seen to wait, in words; :class:`Inconclusive` if nobody is."""
    return _first(streams, controls, lambda seen: seen.wait is not Wait.NONE and seen.in_order)


def _first(streams: Streams, controls: Controls, wanted: Callable[[Seen], bool]) -> str:
    tried = []
    for label, make in controls:
        try:
            seen = observe(streams, make)
        except Exception as error:
            tried.append(f"{label}: {brief(error)}")
            continue
        if wanted(seen):
            return f"{label}: {seen}" + (f" after {seen.rounds} round trips" if seen.wait is Wait.NONE else "")
        tried.append(f"{label}: {seen}")
    raise Inconclusive("the check could not be seen to fail: " + "; ".join(tried))


def without_wait(setting: S, make: Make[S], seen: Seen) -> Controls:
    """The same with the wait taken out: as it is, to a flawless consumer, from a flawless producer, by an older import.

    A consumer that held the GIL waits whatever it is told, and each time costs the latches' whole limit: it comes last.
    """
    removed: list[Without] = [Without.MINUS_ONE]
    if setting.protocol is Exchanged.CAI:
        removed = [Without.NO_STREAM] + ([Without.OPT_OUT] if setting.consumer.opt_out is not None else [])
    places: list[tuple[str, dict[str, Adapter]]] = [
        ("", {}),
        (", to the reference", {"consumer": REFERENCE}),
        (", from the reference", {"producer": REFERENCE}),
    ]
    if seen.held_gil:
        places.append(places.pop(0))
    for place, partner in places:
        for without in removed:
            yield without.value + place, _made(make, setting.but(without=without, **partner))
    yield Without.ALIAS.value, _made(make, setting.but(without=Without.ALIAS))


def _made(make: Make[S], setting: S) -> Callable[[], Work]:
    return lambda: make(setting)


def blame(
    exchange: Exchange, setting: S, make: Make[S], seen: Seen, *, reason: str, expected: str,
    offering: Callable[[S], Offering] = Forward,
) -> NoReturn:  # fmt: skip
    """Fail for the side that goes wrong with a flawless partner in the other's place too; the producer, if both do.

    ``offering`` makes the hand-over that shows what the producer's dictionary says.
    """
    producer = _with_flawless(setting.but(consumer=REFERENCE), make)
    consumer = _with_flawless(setting.but(producer=REFERENCE, how=How.OUTSIDE), make)
    exchange.notes["blame"] = (
        f"{setting.producer.name} with the reference: {producer or 'in order'}; "
        f"the reference with {setting.consumer.name}: {consumer or 'in order'}"
    )
    guilty = list(dict.fromkeys([setting.producer.name] * bool(producer) + [setting.consumer.name] * bool(consumer)))
    clause, level = _duty(setting, offering, by_producer=bool(producer), by_consumer=bool(consumer))
    gap = "each does its part with the reference: the contract leaves a gap"
    told = f"to blame: {' and '.join(guilty)}" if guilty else gap
    raise Finding((clause,), level, f"{reason}; {told}", expected, str(seen))


def _with_flawless(setting: S, make: Make[S]) -> str:
    """What goes wrong between one side and a flawless partner, nothing if all is in order."""
    try:
        seen = observe(setting.streams, lambda: make(setting))
    except Exception as error:
        return brief(error)
    return "" if seen.in_order else str(seen)


def _duty(setting: S, offering: Callable[[S], Offering], *, by_producer: bool, by_consumer: bool) -> tuple[str, Level]:
    """The clause that was broken, and how much it demands of this side."""
    by_dlpack = setting.protocol is Exchanged.DLPACK
    if by_producer and by_dlpack:
        # Which stream is current is all that such a library knows: that another one is meant, its user has to say.
        return "DLP-33", Level.MUST if setting.how is How.INSIDE else Level.SHOULD
    if by_producer:
        return ("CAI-22", Level.MUST) if publishes(setting, offering) else ("CAI-23", Level.SHOULD)
    if by_consumer and by_dlpack:
        return "DLP-35", Level.MUST
    if by_consumer:
        return duty_to_follow(setting)
    return "DLP-33" if by_dlpack else "CAI-26", Level.OBSERVED


def duty_to_follow(setting: Setting) -> tuple[str, Level]:
    """What the array interface asks of a consumer; where its users take the pointer themselves, it is theirs to do."""
    if setting.consumer.traits & {Trait.POINTER_ONLY}:
        return "CAI-21", Level.OBSERVED
    return "CAI-18", Level.MUST


def publishes(setting: S, offering: Callable[[S], Offering] = Forward) -> bool:
    """Whether the producer's dictionary names a stream under a version that gives it a meaning (CAI-30)."""
    made = offering(setting.but(consumer=REFERENCE))
    made.before()
    described = made.offer().__cuda_array_interface__
    setting.streams.synchronize_device()
    return described.get("version", 0) >= 3 and described.get("stream") is not None
