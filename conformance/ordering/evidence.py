"""Evidence for verdicts on stream order: an observation, a control that fails, and a trial of each side with the reference."""

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
    Wait.NONE: "wrong order, no wait observed",
    Wait.EVENT: "wrong order, though the consumer's stream waits",
    Wait.HOST: "wrong order, though the calling thread blocks",
    Wait.DEVICE: "wrong order, though the whole device is synchronized",
}
"""Descriptions of a trial that goes wrong, by the observed wait."""
Make = Callable[[S], Work]
Controls = Iterable[tuple[str, Callable[[], Work]]]


class Offering(Protocol):
    """A hand-over that can be stopped half-way, to inspect the object that the consumer gets."""

    def before(self) -> None:
        """Queue the producer's write."""

    def offer(self) -> Any:
        """Return the array in the form that the consumer gets."""


class Latest(Generic[W]):
    """A factory that keeps all work that it makes.

    The last work is the observed one. The others are kept because freeing them would disturb the observation.
    """

    def __init__(self, make: Callable[[], W]) -> None:
        self._make = make
        self._made: list[W] = []

    def __call__(self) -> W:
        self._made.append(self._make())
        return self.work

    @property
    def work(self) -> W:
        """The newest work."""
        return self._made[-1]


def setting_of(exchange: Exchange) -> Setting:
    """Return the setting of a case: its libraries, its streams, and the call of the consumer.

    The parameters ``how`` and ``reader`` give the streams of the two sides. ``call`` is the way in which the consumer reads the array.
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
    """Observe the work, and add the result to the notes. An exception of a library ends the case as refused.

    A crash meanwhile is reported for this side in this step, until each side has been tried with the reference.
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
    """Observe a producer's export, as :func:`seen_in` observes an import."""
    return seen_in(exchange, streams, make, Doing.EXPORT, Role.PRODUCER)


def overtaken(streams: Streams, controls: Controls) -> str:
    """Describe the first control that reads stale data. Raise :class:`Inconclusive` if none does."""
    return _first(streams, controls, lambda seen: seen.overtakes)


def waiting(streams: Streams, controls: Controls) -> str:
    """Describe the first control in which a wait is observed. Raise :class:`Inconclusive` if there is no wait in any."""
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
    raise Inconclusive("no control failed, so a pass proves nothing: " + "; ".join(tried))


def without_wait(setting: S, make: Make[S], seen: Seen) -> Controls:
    """Yield controls: the same hand-over without the wait, between the two libraries, to the reference, from it, and by an older import.

    A consumer that held the GIL waits in every control, and each attempt takes the whole time limit of the latches. So it comes last.
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
    """The duty of one side of a hand-over: its clause, the level of the clause for this side, and the code of a failure."""

    role: Role
    code: Code
    clause: str
    level: Level


@dataclass(frozen=True)
class Trial:
    """A trial of one side with the reference as its partner: the observation, or the reason why there is none."""

    who: str
    seen: Seen | None
    trouble: str = ""

    @property
    def wrong(self) -> bool:
        """Whether stale data were read. An exception proves nothing about order."""
        return self.seen is not None and not self.seen.in_order

    def __str__(self) -> str:
        how = self.trouble if self.seen is None else "in order" if self.seen.in_order else _OUT_OF_ORDER[self.seen.wait]
        return f"{self.who}: {how}"


def blame(
    exchange: Exchange, setting: S, make: Make[S], seen: Seen, *, reason: str, expected: str,
    code: Code = Code.STALE_READ, offering: Callable[[S], Offering] = Forward,
) -> NoReturn:  # fmt: skip
    """Fail for the side that also goes wrong with the reference as its partner, or for both sides.

    ``code`` is the code of a consumer's failure. ``offering`` makes the hand-over from which the producer's dictionary is read. A side that no
    clause binds is not accused. If no clause binds either side, the failure is only observed.
    """
    trials = (
        tried(f"{_name(setting.producer)} to the reference", setting.but(consumer=REFERENCE), make),
        tried(f"the reference to {_name(setting.consumer)}", setting.but(producer=REFERENCE, how=How.OUTSIDE), make),
    )
    exchange.notes["blame"] = "; ".join(map(str, trials))
    described = published_by(setting, offering) if setting.protocol is Exchanged.CAI else None
    duties = _broken(setting, code, described, *trials)
    if not duties and any(trial.seen is None for trial in trials):
        raise Inconclusive(f"{reason}, but the trials do not show which side is at fault: {exchange.notes['blame']}")
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


_GAP = ": each side is correct with the reference, so the specification leaves a gap"
WHY = {
    Code.NAMED_STREAM_NOT_ORDERED: ": the producer does not make the named stream wait",
    Code.PENDING_WITHOUT_STREAM: ": the producer publishes no stream",
    Code.STREAM_NOT_COVERING: ": the stream that the producer publishes does not cover the work",
}
"""The causes of a failure, where the producer is at fault."""


def tried(who: str, setting: S, make: Make[S]) -> Trial:
    """Observe a hand-over that only helps to find the side at fault."""
    try:
        return Trial(who, observe(setting.streams, lambda: make(setting)))
    except Exception as error:
        return Trial(who, None, brief(error))


def _broken(
    setting: Setting, code: Code, described: Mapping[str, Any] | None, producer: Trial, consumer: Trial
) -> list[Duty]:
    """Return the duties of the sides that go wrong. A consumer has no duty where the dictionary names no stream (CAI-17)."""
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
    """Describe a race: the data that were read, and the stream that the consumer did not wait for."""
    consumer = _name(setting.consumer)
    told = seen.told or f"{consumer} reads the old data"
    pending = f"{wording.stream(seen.writer)}, on which the work of {_name(setting.producer)} is pending"
    return f"{told}; {_WAITED[seen.wait].format(consumer=consumer, pending=pending)}"


def _name(library: Adapter) -> str:
    return "the reference" if library.name == REFERENCE.name else library.name


_WAITED = {
    Wait.NONE: "{consumer} does not wait for {pending}",
    Wait.EVENT: "the stream of {consumer} waits, but does not wait for all of {pending}",
    Wait.HOST: "the calling thread blocks, but does not wait for all of {pending}",
    Wait.DEVICE: "the call synchronizes the device, but does not wait for all of {pending}",
}


def in_a_dictionary(described: Mapping[str, Any]) -> str:
    """Describe the stream that a dictionary names, with the version that gives it a meaning."""
    return f"{wording.stream(described.get('stream'))} in version {described.get('version')}"


def _exporters_duty(setting: Setting) -> Duty:
    return Duty(Role.PRODUCER, Code.NAMED_STREAM_NOT_ORDERED, "DLP-33", level_of_export(setting))


def level_of_export(setting: Setting) -> Level:
    """Return the level at which a producer must order its export.

    A library that only knows its current stream cannot cover another one, and a library whose exports only describe memory knows no stream.
    The documentation of these libraries leaves the ordering to the user.
    """
    if setting.producer.traits & {Trait.VIEW_ONLY}:
        return Level.OBSERVED
    if setting.producer.traits & {Trait.CURRENT_STREAM}:
        return Level.MUST if setting.how is How.INSIDE else Level.OBSERVED
    return Level.SHOULD


def published_duty(described: Mapping[str, Any], *, same: bool = False) -> Duty:
    """Return the duty that a producer breaks if it publishes this dictionary while work is pending.

    Versions below 3 define no stream (CAI-30). In an exchange of a library with itself (``same``), the user knows the streams.
    """
    if described.get("version", 0) < 3:
        return Duty(Role.PRODUCER, Code.PENDING_WITHOUT_STREAM, "CAI-30", Level.OBSERVED)
    level = Level.OBSERVED if same else Level.MUST
    if described.get("stream") is None:
        return Duty(Role.PRODUCER, Code.PENDING_WITHOUT_STREAM, "CAI-22", level)
    return Duty(Role.PRODUCER, Code.STREAM_NOT_COVERING, "CAI-22", level)


def _gap(setting: Setting, code: Code) -> Duty:
    """Return the duty for a race in which each side is correct with the reference: the specification leaves a gap."""
    clause = "DLP-35" if setting.protocol is Exchanged.DLPACK else "CAI-26"
    return Duty(Role.CONSUMER, code, clause, Level.OBSERVED)


def duty_to_follow(setting: Setting) -> tuple[str, Level]:
    """Return the clause that binds a consumer of the CUDA Array Interface.

    Where users of the consumer take the pointer themselves, the wait is the user's task.
    """
    if setting.call is Call.IMPORT and setting.consumer.traits & {Trait.POINTER_ONLY}:
        return "CAI-21", Level.OBSERVED
    return "CAI-18", Level.MUST


def published_by(setting: S, offering: Callable[[S], Offering] = Forward) -> Mapping[str, Any]:
    """Return the dictionary that the producer publishes while its write is pending."""
    made = offering(setting.but(consumer=REFERENCE))
    made.before()
    described: Mapping[str, Any] = made.offer().__cuda_array_interface__
    setting.streams.synchronize_device()
    return described


def names_stream(described: Mapping[str, Any]) -> bool:
    """Return whether a dictionary names a stream, in a version that defines the key (CAI-30)."""
    return described.get("version", 0) >= 3 and described.get("stream") is not None
