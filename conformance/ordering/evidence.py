"""What a verdict on order rests on: an observation, the same check seen to fail, and each side tried with a flawless partner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from conformance.adapters.base import Adapter, Trait, Unsupported
from conformance.adapters.base import Protocol as Exchanged
from conformance.checks.codes import Code
from conformance.checks.exchange import Exchange, brief
from conformance.checks.outcomes import ACCUSED, Inconclusive, Refused, Side, fail
from conformance.checks.steps import Doing
from conformance.protocols.clauses import Level, Role
from conformance.reference.streams import Streams

from . import wording
from .handover import REFERENCE, Call, Forward, How, S, Setting, Without
from .histories import History, fresh
from .observation import Seen, Wait, Work, observe

W = TypeVar("W", bound=Work)
_OUT_OF_ORDER = {
    Wait.NONE: "out of order, nothing waits",
    Wait.EVENT: "out of order, though the consumer's stream waits",
    Wait.HOST: "out of order, though the calling thread waits",
    Wait.DEVICE: "out of order, though the whole device is waited for",
}
"""Of a side that goes wrong: what waits, which is not what has to."""
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
    """Who hands over to whom in a case.

    Its parameters ``how`` and ``reader`` say where the two sides stand, ``call`` by what the consumer gets at the array.
    """
    how = How(exchange.option("how", How.OUTSIDE.value))
    reader = exchange.option("reader", "stream")
    call = Call(exchange.option("call", Call.IMPORT.value))
    history = History(exchange.option("history", History.FRESH.value))
    for library in (exchange.producer, exchange.consumer):
        fresh(library)
    return Setting(
        exchange.producer, exchange.consumer, exchange.protocol, exchange.device, how, reader, call=call, history=history
    )  # fmt: skip


def seen_in(
    exchange: Exchange,
    streams: Streams,
    make: Callable[[], Work],
    doing: Doing = Doing.IMPORT,
    role: Role = Role.CONSUMER,
) -> Seen:
    """Observe, and note what was seen; whatever the libraries raise ends the case as a refusal.

    A death meanwhile is told as one of this side in this step, until each side has been tried with the reference.
    """
    try:
        with exchange.step(doing, role):
            seen = observe(streams, make)
    except (Inconclusive, Unsupported):
        raise
    except Exception as error:
        exchange.check_context(error)
        raise Refused(f"the exchange was refused: {brief(error)}") from error
    exchange.notes["seen"] = str(seen)
    return seen


def seen_of_export(exchange: Exchange, streams: Streams, make: Callable[[], Work]) -> Seen:
    """As :func:`seen_in`, where the producer's export is what is looked at."""
    return seen_in(exchange, streams, make, Doing.EXPORT, Role.PRODUCER)


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


@dataclass(frozen=True)
class Trial:
    """One side with a flawless partner in the other's place: what was seen, or why nothing could be."""

    who: str
    seen: Seen | None
    trouble: str = ""

    @property
    def wrong(self) -> bool:
        """Whether it was seen to go wrong: an exception shows nothing about order."""
        return self.seen is not None and not self.seen.in_order

    def __str__(self) -> str:
        how = self.trouble if self.seen is None else "in order" if self.seen.in_order else _OUT_OF_ORDER[self.seen.wait]
        return f"{self.who}: {how}"


def blame(
    exchange: Exchange, setting: S, make: Make[S], seen: Seen, *, reason: str, expected: str,
    code: Code = Code.STALE_READ, offering: Callable[[S], Offering] = Forward,
) -> NoReturn:  # fmt: skip
    """Fail for the side that goes wrong with a flawless partner in the other's place too, or for both.

    ``code`` is that of a consumer's failure. ``offering`` makes the hand-over that shows what the producer's dictionary says. A side
    from which no clause demands anything is not accused; where that is true of both, the failure is only observed.
    """
    trials = (
        tried(f"{_name(setting.producer)} to the reference", setting.but(consumer=REFERENCE), make),
        tried(f"the reference to {_name(setting.consumer)}", setting.but(producer=REFERENCE, how=How.OUTSIDE), make),
    )
    exchange.notes["blame"] = "; ".join(map(str, trials))
    described = published_by(setting, offering) if setting.protocol is Exchanged.CAI else None
    duties = _broken(setting, code, described, *trials)
    if not duties and any(trial.seen is None for trial in trials):
        raise Inconclusive(f"{reason}, and which side is at fault cannot be told: {exchange.notes['blame']}")
    bound = [duty for duty in duties if duty.level is not Level.OBSERVED]
    duty = next(iter(bound or duties), _gap(setting, code))
    side = (Side.BOTH if len(bound) > 1 else ACCUSED[duty.role]) if bound else Side.NEITHER
    told = in_words(seen, setting)
    if described is not None:
        told += f"; {_name(setting.producer)} publishes {in_a_dictionary(described)}"
    why = WHY.get(duty.code, "") if duties else _GAP
    fail(
        duty.code, duty.clause, role=duty.role, level=duty.level, reason=f"{reason}{why}", expected=expected, seen=told,
        given="", accused=side,
    )  # fmt: skip


_GAP = ": each side does its part with the reference, so the contract leaves a gap"
WHY = {
    Code.NAMED_STREAM_NOT_ORDERED: ": the producer does not make the named stream wait",
    Code.PENDING_WITHOUT_STREAM: ": the producer publishes no stream",
    Code.STREAM_NOT_COVERING: ": the stream that the producer publishes does not cover the work",
}
"""Why things go wrong, where the producer is at fault."""


def tried(who: str, setting: S, make: Make[S]) -> Trial:
    """Observe a hand-over that only shows who is at fault."""
    try:
        return Trial(who, observe(setting.streams, lambda: make(setting)))
    except Exception as error:
        return Trial(who, None, brief(error))


def _broken(
    setting: Setting, code: Code, described: Mapping[str, Any] | None, producer: Trial, consumer: Trial
) -> list[Duty]:
    """The duties of the sides that go wrong. A consumer owes nothing where the dictionary names no stream (CAI-17)."""
    if described is None:
        duties = [(producer, _exporters_duty(setting)), (consumer, Duty(Role.CONSUMER, code, "DLP-35", Level.MUST))]
        return [duty for trial, duty in duties if trial.wrong]
    found = []
    if producer.wrong:
        found.append(published_duty(described, same=setting.producer.name == setting.consumer.name))
    if consumer.wrong and names_stream(described):
        found.append(Duty(Role.CONSUMER, code, *duty_to_follow(setting)))
    return found


def in_words(seen: Seen, setting: Setting) -> str:
    """A disorder as a person would tell it: what was read, and which stream was not waited for."""
    consumer = _name(setting.consumer)
    told = seen.told or f"{consumer} reads the old data"
    pending = f"{wording.stream(seen.writer)}, on which the work of {_name(setting.producer)} is pending"
    return f"{told}; {_WAITED[seen.wait].format(consumer=consumer, pending=pending)}"


def _name(library: Adapter) -> str:
    return "the reference" if library.name == REFERENCE.name else library.name


_WAITED = {
    Wait.NONE: "{consumer} does not wait for {pending}",
    Wait.EVENT: "the stream of {consumer} waits, but not for all of {pending}",
    Wait.HOST: "the calling thread waits, but not for all of {pending}",
    Wait.DEVICE: "the call waits for the device, and still misses {pending}",
}


def in_a_dictionary(described: Mapping[str, Any]) -> str:
    """The stream that a dictionary names, with the version that gives it a meaning."""
    return f"{wording.stream(described.get('stream'))} in version {described.get('version')}"


def _exporters_duty(setting: Setting) -> Duty:
    return Duty(Role.PRODUCER, Code.NAMED_STREAM_NOT_ORDERED, "DLP-33", level_of_export(setting))


def level_of_export(setting: Setting) -> Level:
    """A library that only knows its current stream cannot cover another one: both libraries' documents leave that to the user.

    So do those of a library whose exports only describe memory.
    """
    if setting.producer.traits & {Trait.VIEW_ONLY}:
        return Level.OBSERVED
    if setting.producer.traits & {Trait.CURRENT_STREAM}:
        return Level.MUST if setting.how is How.INSIDE else Level.OBSERVED
    return Level.SHOULD


def published_duty(described: Mapping[str, Any], *, same: bool = False) -> Duty:
    """What a producer owes whose dictionary said this while work was pending.

    Versions below 3 say nothing of streams (CAI-30). Between a library and itself (``same``) its user knows the streams.
    """
    if described.get("version", 0) < 3:
        return Duty(Role.PRODUCER, Code.PENDING_WITHOUT_STREAM, "CAI-30", Level.OBSERVED)
    level = Level.OBSERVED if same else Level.MUST
    if described.get("stream") is None:
        return Duty(Role.PRODUCER, Code.PENDING_WITHOUT_STREAM, "CAI-22", level)
    return Duty(Role.PRODUCER, Code.STREAM_NOT_COVERING, "CAI-22", level)


def _gap(setting: Setting, code: Code) -> Duty:
    """Each side does its part with the reference: the contract leaves a gap."""
    clause = "DLP-35" if setting.protocol is Exchanged.DLPACK else "CAI-26"
    return Duty(Role.CONSUMER, code, clause, Level.OBSERVED)


def duty_to_follow(setting: Setting) -> tuple[str, Level]:
    """What the array interface asks of a consumer; where its users take the pointer themselves, it is theirs to do."""
    if setting.call is Call.IMPORT and setting.consumer.traits & {Trait.POINTER_ONLY}:
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
