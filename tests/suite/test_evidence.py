"""What a verdict on order is made of: observations that are written down, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from conformance.adapters.base import Device, Protocol, Trait, Unsupported
from conformance.adapters.reference import ReferenceAdapter
from conformance.checks.codes import Code
from conformance.checks.outcomes import Failure, Inconclusive, Refused, Side
from conformance.checks.steps import Doing
from conformance.ordering import evidence
from conformance.ordering.evidence import Latest
from conformance.ordering.handover import REFERENCE, Call, How, Setting, Without
from conformance.ordering.observation import Seen, Wait
from conformance.protocols.clauses import Level

IN_ORDER = Seen(Wait.EVENT, True)
OVERTAKEN = Seen(Wait.NONE, False, rounds=3, writer=0x7F, told="two reads the old value in 9 of 9 elements")
LUCKY = Seen(Wait.NONE, True)
TOO_LATE = Seen(Wait.HOST, False)
STREAMS: Any = SimpleNamespace(synchronize_device=lambda: None)


class Named(ReferenceAdapter):
    """The reference under another name."""

    def __init__(self, name: str, *, traits: frozenset[Trait] = frozenset(), opt_out: int | None = None) -> None:
        super().__init__()
        self.name = name  # type: ignore[misc]
        self.traits = traits  # type: ignore[misc]
        self.opt_out = opt_out  # type: ignore[misc]


ONE, TWO = Named("one"), Named("two")
"""A producer and a consumer."""


def setting(protocol: Protocol = Protocol.CAI, **changes: Any) -> Setting:
    """The producer hands over to the consumer."""
    return Setting(ONE, TWO, protocol, Device.SIMULATED).but(**changes)


class Exchange:
    """As much of one as evidence looks at."""

    producer, consumer, protocol, device = ONE, TWO, Protocol.DLPACK, Device.SIMULATED

    def __init__(self, **options: str) -> None:
        self.options = options
        self.notes: dict[str, str] = {}
        self.asked: list[Any] = []
        self.steps: list[Doing] = []

    def option(self, name: str, default: str) -> str:
        return self.options.get(name, default)

    def check_context(self, error: Exception) -> None:
        self.asked.append(error)

    @contextmanager
    def step(self, doing: Doing, role: Any) -> Iterator[None]:
        self.steps.append(doing)
        yield


@pytest.fixture
def sees(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have observations of a piece of work end as this function of it says."""

    def set_up(of: Callable[[Any], Seen | Exception]) -> None:
        def observe(streams: Any, make: Callable[[], Any]) -> Seen:
            assert streams is not None
            ending = of(make())
            if isinstance(ending, Exception):
                raise ending
            return ending

        monkeypatch.setattr(evidence, "observe", observe)

    return set_up


# -- an exchange


def test_a_case_says_where_both_sides_stand() -> None:
    """Outside, on a stream of its own and by an import where it says nothing."""
    exchange: Any = Exchange()
    assert evidence.setting_of(exchange) == Setting(
        ONE, TWO, Protocol.DLPACK, Device.SIMULATED, How.OUTSIDE, reader="stream", call=Call.IMPORT
    )
    exchange = Exchange(how="inside", reader="per-thread", call="kernel")
    assert evidence.setting_of(exchange) == Setting(
        ONE, TWO, Protocol.DLPACK, Device.SIMULATED, How.INSIDE, reader="per-thread", call=Call.KERNEL
    )


def test_what_was_made_last_is_what_was_seen_and_nothing_is_let_go_of() -> None:
    """Freeing memory in the middle would wait for the device."""
    made = iter("abc")
    latest: Latest[Any] = Latest(lambda: next(made))
    assert (latest(), latest.work, latest(), latest.work) == ("a", "a", "b", "b")
    assert latest._made == ["a", "b"]


def test_what_is_seen_is_noted(sees: Callable[..., None]) -> None:
    """In words, beside the result."""
    exchange: Any = Exchange()
    sees(lambda work: work)
    assert evidence.seen_in(exchange, STREAMS, lambda: OVERTAKEN) is OVERTAKEN  # type: ignore[arg-type, return-value]
    assert exchange.notes == {"seen": "none, out of order"}
    assert exchange.steps == [Doing.IMPORT]


def test_a_death_in_an_export_is_told_as_one(sees: Callable[..., None]) -> None:
    """Where the export is what is looked at."""
    exchange: Any = Exchange()
    sees(lambda work: work)
    evidence.seen_of_export(exchange, STREAMS, lambda: IN_ORDER)  # type: ignore[arg-type, return-value]
    assert exchange.steps == [Doing.EXPORT]


def test_an_exception_of_a_library_is_a_refusal(sees: Callable[..., None]) -> None:
    """If the context has survived it; its words are told."""
    exchange: Any = Exchange()
    raised = BufferError("not on this stream")
    sees(lambda work: raised)
    with pytest.raises(Refused, match=r"^the exchange was refused: BufferError: not on this stream$") as caught:
        evidence.seen_in(exchange, STREAMS, lambda: None)  # type: ignore[arg-type, return-value]
    assert caught.value.__cause__ is raised
    assert exchange.asked == [raised]
    assert exchange.notes == {}


@pytest.mark.parametrize("raised", [Inconclusive("disturbed"), Unsupported("no such call")])
def test_what_the_suite_itself_could_not_do_is_no_refusal(raised: Exception, sees: Callable[..., None]) -> None:
    """Nobody has refused anything."""
    exchange: Any = Exchange()
    sees(lambda work: raised)
    with pytest.raises(type(raised)) as caught:
        evidence.seen_in(exchange, STREAMS, lambda: None)  # type: ignore[arg-type, return-value]
    assert caught.value is raised
    assert exchange.asked == []


# -- controls


def controls(*ends: Seen | Exception) -> Any:
    """Each with a label; asking for one that is not needed is an error."""
    for number, end in enumerate(ends):
        yield f"control {number}", lambda end=end: end
    raise AssertionError("there was a control already")


@pytest.mark.parametrize("before", [LUCKY, IN_ORDER, TOO_LATE, ValueError("no")])
def test_a_control_has_to_be_seen_to_overtake(before: Seen | Exception, sees: Callable[..., None]) -> None:
    """Not to wait and get the right data by luck shows nothing, and neither does an exception; the next is tried."""
    sees(lambda work: work)
    told = evidence.overtaken(STREAMS, controls(before, OVERTAKEN))
    assert told == "control 1: none, out of order after 3 round trips"


@pytest.mark.parametrize("wait", [Wait.EVENT, Wait.HOST, Wait.DEVICE])
@pytest.mark.parametrize("before", [LUCKY, OVERTAKEN, TOO_LATE])
def test_a_control_that_has_to_wait_waits_and_is_in_order(before: Seen, wait: Wait, sees: Callable[..., None]) -> None:
    """Whatever it waits with; a wait that comes to nothing shows nothing."""
    sees(lambda work: work)
    waited = Seen(wait, True, rounds=5)
    assert evidence.waiting(STREAMS, controls(before, waited)) == f"control 1: {wait.value}, in order"


def test_without_a_control_nothing_is_decided(sees: Callable[..., None]) -> None:
    """All that was tried is told, with what came of it."""
    sees(lambda work: work)
    tried = [("a", lambda: LUCKY), ("b", lambda: ValueError("no"))]
    told = "^no control failed, so a pass proves nothing: a: none, in order; b: ValueError: no$"
    with pytest.raises(Inconclusive, match=told):
        evidence.overtaken(STREAMS, tried)  # type: ignore[arg-type]
    with pytest.raises(Inconclusive):
        evidence.waiting(STREAMS, [])


def taken_out(of: Setting, seen: Seen = IN_ORDER) -> list[tuple[str, Without | None, str, str]]:
    """The controls of a setting: label, what is taken out, and who takes part."""
    return [
        (label, made.without, made.producer.name, made.consumer.name)  # type: ignore[attr-defined]
        for label, make in evidence.without_wait(of, lambda each: each, seen)  # type: ignore[arg-type, return-value]
        for made in [make()]
    ]


def test_the_wait_is_taken_out_as_the_protocol_allows() -> None:
    """As it is, to a flawless consumer, from a flawless producer, and by an import from before."""
    minus, none, alias = Without.MINUS_ONE, Without.NO_STREAM, Without.ALIAS
    assert taken_out(setting(Protocol.DLPACK)) == [
        ("stream=-1", minus, "one", "two"),
        ("stream=-1, to the reference", minus, "one", "reference"),
        ("stream=-1, from the reference", minus, "reference", "two"),
        ("an import from before the write", alias, "one", "two"),
    ]
    assert taken_out(setting()) == [
        ("a dictionary without stream", none, "one", "two"),
        ("a dictionary without stream, to the reference", none, "one", "reference"),
        ("a dictionary without stream, from the reference", none, "reference", "two"),
        ("an import from before the write", alias, "one", "two"),
    ]


def test_a_consumers_own_opt_out_is_tried_too() -> None:
    """Where its documents have one, after the other way."""
    careful = setting(consumer=Named("two", opt_out=-1))
    assert [(label, without) for label, without, *_ in taken_out(careful)][:3] == [
        ("a dictionary without stream", Without.NO_STREAM),
        ("the consumer's documented opt-out", Without.OPT_OUT),
        ("a dictionary without stream, to the reference", Without.NO_STREAM),
    ]
    assert len(taken_out(careful)) == 7
    assert Without.OPT_OUT not in [without for _, without, *_ in taken_out(careful.but(protocol=Protocol.DLPACK))]


def test_what_costs_the_latches_whole_time_is_tried_last() -> None:
    """Who held the GIL does it whatever it is told."""
    held = Seen(Wait.HOST, True, held_gil=True)
    assert [(producer, consumer) for *_, producer, consumer in taken_out(setting(), held)] == [
        ("one", "reference"),
        ("reference", "two"),
        ("one", "two"),
        ("one", "two"),
    ]


# -- blame


def blamed(
    sees: Callable[..., None], of: Setting, *, producer: Seen | Exception = IN_ORDER, consumer: Seen | Exception = IN_ORDER
) -> tuple[Failure, str]:  # fmt: skip
    """The failure where the two sides end like this with a flawless partner, and the note about it."""

    def with_reference(made: Setting) -> Seen | Exception:
        assert made.device is of.device
        if made.consumer is REFERENCE:
            assert (made.producer, made.how) == (of.producer, of.how), "the producer stays where it stood"
            return producer
        assert (made.producer, made.consumer, made.how) == (REFERENCE, of.consumer, How.OUTSIDE)
        return consumer

    sees(with_reference)
    exchange: Any = Exchange()
    with pytest.raises(Failure) as caught:
        evidence.blame(
            exchange, of, lambda each: each, OVERTAKEN, reason="too early", expected="new data", offering=Offering  # type: ignore[arg-type, return-value]
        )  # fmt: skip
    found = caught.value
    assert found.expected == "new data"
    return found, exchange.notes["blame"]


class Offering:
    """Shows a dictionary that names the producer's reader as its stream, once the producer has written."""

    described: dict[str, Any] = {"version": 3, "stream": 7}

    def __init__(self, setting: Setting) -> None:
        assert setting.consumer is REFERENCE
        self.written = False

    def before(self) -> None:
        self.written = True

    def offer(self) -> Any:
        assert self.written
        return SimpleNamespace(__cuda_array_interface__=self.described)


def judged(found: Failure) -> tuple[Code, str, Level, Side | None]:
    """What a failure is, and who is accused of it."""
    return found.code, found.clause, found.level, found.accused


@pytest.mark.parametrize("how", How)
@pytest.mark.parametrize(
    ("protocol", "code", "clause", "inside", "outside"),
    [
        (Protocol.DLPACK, Code.NAMED_STREAM_NOT_ORDERED, "DLP-33", Level.MUST, Level.SHOULD),
        (Protocol.CAI, Code.STREAM_NOT_COVERING, "CAI-22", Level.MUST, Level.MUST),
    ],
)
def test_a_producer_that_fails_with_a_flawless_consumer_is_to_blame(
    protocol: Protocol, code: Code, clause: str, inside: Level, outside: Level, how: How, sees: Callable[..., None]
) -> None:
    """A published stream is meant anywhere; of one without a current stream DLPack only recommends what it cannot know."""
    knowing = Named("one", traits=frozenset({Trait.CURRENT_STREAM} if how is How.INSIDE else ()))
    found, note = blamed(sees, setting(protocol, how=how, producer=knowing), producer=OVERTAKEN)
    assert judged(found) == (code, clause, inside if how is How.INSIDE else outside, Side.PRODUCER)
    assert note == "one to the reference: wrong order, no wait observed; the reference to two: in order"


@pytest.mark.parametrize(
    ("trait", "how"),
    [(Trait.VIEW_ONLY, How.INSIDE), (Trait.VIEW_ONLY, How.OUTSIDE), (Trait.CURRENT_STREAM, How.OUTSIDE)],
)
def test_what_both_libraries_leave_to_the_user_is_only_observed(
    trait: Trait, how: How, sees: Callable[..., None]
) -> None:
    """A producer whose exports only describe memory, and one that was written outside of its current stream."""
    producer = Named("one", traits=frozenset({trait}))
    found, _ = blamed(sees, setting(Protocol.DLPACK, how=how, producer=producer), producer=OVERTAKEN)
    assert judged(found) == (Code.NAMED_STREAM_NOT_ORDERED, "DLP-33", Level.OBSERVED, Side.NEITHER)


@pytest.mark.parametrize(("protocol", "clause"), [(Protocol.DLPACK, "DLP-35"), (Protocol.CAI, "CAI-18")])
def test_a_consumer_that_fails_with_a_flawless_producer_is_to_blame(
    protocol: Protocol, clause: str, sees: Callable[..., None]
) -> None:
    """Both protocols bind it."""
    found, note = blamed(sees, setting(protocol), consumer=TOO_LATE)
    assert judged(found) == (Code.STALE_READ, clause, Level.MUST, Side.CONSUMER)
    assert found.reason == "too early"
    assert note == "one to the reference: in order; the reference to two: wrong order, though the calling thread blocks"


def test_a_failure_tells_what_was_read_and_which_stream_was_not_waited_for(sees: Callable[..., None]) -> None:
    """By its handle, and with what the producer has published."""
    found, _ = blamed(sees, setting(), consumer=OVERTAKEN)
    assert found.seen == (
        "two reads the old value in 9 of 9 elements; two does not wait for stream 0x7f, on which the work of one is pending; "
        "one publishes stream 0x7 in version 3"
    )


@pytest.mark.parametrize("described", [{"version": 3, "stream": None}, {"version": 2, "stream": 7}, {"version": 2}])
def test_a_consumer_owes_nothing_where_no_stream_is_named(
    described: dict[str, Any], sees: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it would not follow a stream that is named shows with the reference, which names one."""
    monkeypatch.setattr(Offering, "described", described)
    found, _ = blamed(sees, setting(), producer=OVERTAKEN, consumer=OVERTAKEN)
    assert found.accused is (Side.PRODUCER if described["version"] == 3 else Side.NEITHER)
    assert found.code is Code.PENDING_WITHOUT_STREAM


def test_an_exception_with_a_flawless_partner_shows_nothing_about_order(sees: Callable[..., None]) -> None:
    """Nobody is accused then."""
    with pytest.raises(Inconclusive, match=r"the trials do not show which side is at fault: .* two: ValueError: no$"):
        blamed(sees, setting(), consumer=ValueError("no"))


def test_of_two_that_fail_the_producer_is_judged_and_both_are_accused(sees: Callable[..., None]) -> None:
    """Each has its own cause with the reference."""
    found, _ = blamed(sees, setting(Protocol.DLPACK), producer=OVERTAKEN, consumer=TOO_LATE)
    assert judged(found)[:2] == (Code.NAMED_STREAM_NOT_ORDERED, "DLP-33")
    assert found.accused is Side.BOTH


@pytest.mark.parametrize(("protocol", "clause"), [(Protocol.DLPACK, "DLP-35"), (Protocol.CAI, "CAI-26")])
def test_where_both_do_their_part_the_contract_has_a_gap(
    protocol: Protocol, clause: str, sees: Callable[..., None]
) -> None:
    """That is observed, and nobody is accused."""
    found, note = blamed(sees, setting(protocol))
    assert judged(found) == (Code.STALE_READ, clause, Level.OBSERVED, Side.NEITHER)
    assert found.reason == "too early: each side is correct with the reference, so the specification leaves a gap"
    assert note == "one to the reference: in order; the reference to two: in order"


@pytest.mark.parametrize(
    ("described", "code", "clause", "level"),
    [
        ({"version": 3, "stream": 7}, Code.STREAM_NOT_COVERING, "CAI-22", Level.MUST),
        ({"version": 4, "stream": 7}, Code.STREAM_NOT_COVERING, "CAI-22", Level.MUST),
        ({"version": 3, "stream": None}, Code.PENDING_WITHOUT_STREAM, "CAI-22", Level.MUST),
        ({"version": 3}, Code.PENDING_WITHOUT_STREAM, "CAI-22", Level.MUST),
        ({"version": 2, "stream": 7}, Code.PENDING_WITHOUT_STREAM, "CAI-30", Level.OBSERVED),
        ({"stream": 7}, Code.PENDING_WITHOUT_STREAM, "CAI-30", Level.OBSERVED),
    ],
)
def test_a_producer_is_held_to_the_version_that_it_publishes(
    described: dict[str, Any], code: Code, clause: str, level: Level, sees: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Version 3 promises that a stream covers all pending work; earlier ones say nothing of streams."""
    monkeypatch.setattr(Offering, "described", described)
    found, _ = blamed(sees, setting(), producer=OVERTAKEN)
    assert judged(found)[:3] == (code, clause, level)


def test_between_a_library_and_itself_the_user_knows_the_streams(sees: Callable[..., None]) -> None:
    """So what it publishes of them is only observed."""
    found, _ = blamed(sees, setting(consumer=Named("one")), producer=OVERTAKEN)
    assert judged(found) == (Code.STREAM_NOT_COVERING, "CAI-22", Level.OBSERVED, Side.NEITHER)


def test_where_the_user_takes_the_pointer_the_wait_is_the_users() -> None:
    """Such a library never sees the dictionary, unless a kernel of its own is given the object."""
    assert evidence.duty_to_follow(setting()) == ("CAI-18", Level.MUST)
    by_hand = Named("two", traits=frozenset({Trait.POINTER_ONLY, Trait.WRITES}))
    assert evidence.duty_to_follow(setting(consumer=by_hand)) == ("CAI-21", Level.OBSERVED)
    assert evidence.duty_to_follow(setting(consumer=by_hand, call=Call.KERNEL)) == ("CAI-18", Level.MUST)


def test_looking_at_a_dictionary_leaves_nothing_pending(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes next starts on an idle device."""
    waits: list[str] = []
    monkeypatch.setattr(Setting, "streams", SimpleNamespace(synchronize_device=lambda: waits.append("device")))
    assert evidence.names_stream(evidence.published_by(setting(), Offering))
    assert waits == ["device"]


def test_blame_and_dictionaries_rest_on_the_hand_over_of_the_suite() -> None:
    """The reference itself publishes the stream that it writes on."""
    reference = setting(producer=REFERENCE, consumer=REFERENCE)
    assert evidence.names_stream(evidence.published_by(reference))
