"""What a verdict on order rests on: an observation, the same check seen to fail, and each side tried with a flawless partner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from conformance.adapters.base import Adapter, Trait, Unsupported
from conformance.adapters.base import Protocol as Exchanged
from conformance.protocols.clauses import Level, Role
from conformance.reference.streams import Streams

from ..exchange import Exchange, brief
from ..codes import Code
from ..outcomes import ACCUSED, Inconclusive, Refused, Side, fail
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


@dataclass(frozen=True)
class Duty:
    """What one side of a hand-over owes: the clause, how much it demands of this side, and the code of a failure."""

    role: Role
    code: Code
    clause: str
    level: Level


def blame(
    exchange: Exchange, setting: S, make: Make[S], seen: Seen, *, reason: str, expected: str,
    code: Code = Code.STALE_READ, offering: Callable[[S], Offering] = Forward,
) -> NoReturn:  # fmt: skip
    """Fail for the side that goes wrong with a flawless partner in the other's place too, or for both.

    ``code`` is that of a consumer's failure. ``offering`` makes the hand-over that shows what the producer's dictionary says. A side
    from which no clause demands anything is not accused; where that is true of both, the failure is only observed.
    """
    producer = _with_flawless(setting.but(consumer=REFERENCE), make)
    consumer = _with_flawless(setting.but(producer=REFERENCE, how=How.OUTSIDE), make)
    exchange.notes["blame"] = (
        f"{setting.producer.name} to the reference: {producer or 'in order'}; "
        f"the reference to {setting.consumer.name}: {consumer or 'in order'}"
    )
    duties = [_producers_duty(setting, offering)] * bool(producer) + [_consumers_duty(setting, code)] * bool(consumer)
    bound = [duty for duty in duties if duty.level is not Level.OBSERVED]
    duty = next(iter(bound or duties), _gap(setting, code))
    side = (Side.BOTH if len(bound) > 1 else ACCUSED[duty.role]) if bound else Side.NEITHER
    fail(
        duty.code, duty.clause, role=duty.role, level=duty.level, reason=reason, expected=expected,
        seen=in_words(seen, setting), given="", accused=side,
    )  # fmt: skip


def in_words(seen: Seen, setting: Setting) -> str:
    """An observation as a person would tell it."""
    data = "saw the new data" if seen.in_order else "saw the old data"
    return f"the {setting.consumer.name} side {data}; {_WAITED[seen.wait]}"


_WAITED = {
    Wait.NONE: "nothing waited for the producer's stream",
    Wait.EVENT: "the consumer's stream waited",
    Wait.HOST: "the calling thread waited",
    Wait.DEVICE: "the whole device was waited for",
}


def _with_flawless(setting: S, make: Make[S]) -> str:
    """What goes wrong between one side and a flawless partner, nothing if all is in order."""
    try:
        seen = observe(setting.streams, lambda: make(setting))
    except Exception as error:
        return brief(error)
    return "" if seen.in_order else str(seen)


def _producers_duty(setting: S, offering: Callable[[S], Offering]) -> Duty:
    if setting.protocol is Exchanged.DLPACK:
        return Duty(Role.PRODUCER, Code.NAMED_STREAM_NOT_ORDERED, "DLP-33", _level_of_export(setting))
    return published_duty(published_by(setting, offering), same=setting.producer.name == setting.consumer.name)


def _level_of_export(setting: Setting) -> Level:
    """A library that only knows its current stream cannot cover another one: both libraries' documents leave that to the user.

    So do those of a library whose exports only describe memory.
    """
    if setting.producer.traits & {Trait.VIEW_ONLY}:
        return Level.OBSERVED
    if setting.producer.traits & {Trait.CURRENT_STREAM}:
        return Level.MUST if setting.how is How.INSIDE else Level.OBSERVED
    return Level.SHOULD


def published_duty(described: Mapping[str, Any], *, same: bool) -> Duty:
    """What a producer owes whose dictionary said this while work was pending.

    Versions below 3 say nothing of streams (CAI-30). Between a library and itself (``same``) its user knows the streams.
    """
    if described.get("version", 0) < 3:
        return Duty(Role.PRODUCER, Code.PENDING_WITHOUT_STREAM, "CAI-30", Level.OBSERVED)
    level = Level.OBSERVED if same else Level.MUST
    if described.get("stream") is None:
        return Duty(Role.PRODUCER, Code.PENDING_WITHOUT_STREAM, "CAI-22", level)
    return Duty(Role.PRODUCER, Code.STREAM_NOT_COVERING, "CAI-22", level)


def _consumers_duty(setting: Setting, code: Code) -> Duty:
    if setting.protocol is Exchanged.DLPACK:
        return Duty(Role.CONSUMER, code, "DLP-35", Level.MUST)
    clause, level = duty_to_follow(setting)
    return Duty(Role.CONSUMER, code, clause, level)


def _gap(setting: Setting, code: Code) -> Duty:
    """Each side does its part with the reference: the contract leaves a gap."""
    clause = "DLP-35" if setting.protocol is Exchanged.DLPACK else "CAI-26"
    return Duty(Role.CONSUMER, code, clause, Level.OBSERVED)


def duty_to_follow(setting: Setting) -> tuple[str, Level]:
    """What the array interface asks of a consumer; where its users take the pointer themselves, it is theirs to do."""
    if setting.consumer.traits & {Trait.POINTER_ONLY}:
        return "CAI-21", Level.OBSERVED
    return "CAI-18", Level.MUST


def published_by(setting: S, offering: Callable[[S], Offering] = Forward) -> Mapping[str, Any]:
    """The dictionary that the producer shows while its write is pending."""
    made = offering(setting.but(consumer=REFERENCE))
    made.before()
    described: Mapping[str, Any] = made.offer().__cuda_array_interface__
    setting.streams.synchronize_device()
    return described


def names_stream(described: Mapping[str, Any]) -> bool:
    """Whether a dictionary names a stream under a version that gives it a meaning (CAI-30)."""
    return described.get("version", 0) >= 3 and described.get("stream") is not None
