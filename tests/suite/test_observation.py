"""What an observation does, call by call, and what it concludes: with streams and latches made of paper."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conformance.checks.garbage import uncollected
from conformance.checks.outcomes import Inconclusive
from conformance.ordering import blocking, observation
from conformance.ordering.blocking import Called
from conformance.ordering.observation import BURNT_NANOSECONDS, LIMIT_SECONDS, LONGER_SECONDS, Disturbed, Seen, Wait

WRITER, READER, UNRELATED = 11, 22, 33
ROUNDS = 5
RETURNED = Called(None, None, 0, False, 0)


class PaperLatch:
    """Holds until it is released, or as it is written: one answer for each time it is asked, and then the last."""

    def __init__(self, log: list[Any], name: str, held: list[bool], expired: list[bool]) -> None:
        self._log, self._name, self._held, self._expired = log, name, held, expired

    @property
    def held(self) -> bool:
        return self._held.pop(0) if len(self._held) > 1 else self._held[0]

    @property
    def expired(self) -> bool:
        return self._expired.pop(0) if len(self._expired) > 1 else self._expired[0]

    def release(self) -> None:
        self._log.append(f"release {self._name}")

    def close(self) -> None:
        self._log.append(f"close {self._name}")


class PaperStreams:
    """Writes down what is asked of it; ``done`` are the answers about the reader's stream, ``False`` when there are none left."""

    def __init__(self, done: tuple[bool, ...] = ()) -> None:
        self.log: list[Any] = []
        self.answers = list(done)
        self.held = {"latch": [True], "other": [True]}
        self.expired = {"latch": [False], "other": [False]}
        self.made = 0

    def create(self) -> int:
        self.made += 1
        return UNRELATED

    def hold(self, stream: int, seconds: float) -> PaperLatch:
        name = {WRITER: "latch", UNRELATED: "other"}[stream]
        self.log.append(f"hold {name} {seconds:g}")
        return PaperLatch(self.log, name, self.held[name], self.expired[name])

    def done(self, stream: int) -> bool:
        assert stream == READER
        return self.answers.pop(0) if self.answers else False

    def round_trip(self) -> None:
        self.log.append("round trip")

    def synchronize(self, stream: int) -> None:
        assert stream == READER
        self.log.append("synchronize reader")

    def synchronize_device(self) -> None:
        self.log.append("synchronize device")


class Library:
    """Keeps imports for later."""

    def __init__(self) -> None:
        self.let_go_while_collecting: list[bool] = []

    def let_go(self) -> None:
        self.let_go_while_collecting.append(gc.isenabled())


class PaperWork:
    """Two pieces of work that only write down that they ran."""

    writer, reader = WRITER, READER

    def __init__(self, log: list[Any], *, in_order: bool = True, error: Exception | None = None) -> None:
        self.libraries: Any = (Library(), Library())
        self._log, self._in_order, self._error = log, in_order, error

    def before(self) -> None:
        self._log.append("before")

    def exchange(self) -> None:
        self._log.append("exchange")
        if self._error:
            raise self._error

    def in_order(self) -> bool:
        self._log.append("in order?")
        return self._in_order


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The arguments of each call that is watched."""
    return []


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, calls: list[tuple[Any, ...]]) -> Callable[..., None]:
    """Have calls under latches end like this, one after the other; the last for all that follow."""

    def set_up(*called: Called) -> None:
        left = list(called)

        def call(action: Callable[[], Any], latches: Any, usual: int = 0) -> Called:
            action()
            calls.append((latches, usual))
            return left.pop(0) if len(left) > 1 else left[0]

        monkeypatch.setattr(blocking, "call", call)

    return set_up


def seen(streams: PaperStreams, *, in_order: bool = True, rounds: int = ROUNDS, seconds: float = 3.0) -> Seen:
    """One observation, with what came before it left out of the log."""
    work = PaperWork(streams.log, in_order=in_order)
    return observation._observe(streams, work, 77, rounds, seconds)  # type: ignore[arg-type]


HELD = ["synchronize device", "hold latch 3", f"hold other {3 + LONGER_SECONDS:g}", "before", "exchange"]
LET_GO = ["release latch", "release other", "synchronize device", "close latch", "close other", "in order?"]


def test_who_finishes_while_the_latch_holds_waits_for_nothing(
    answer: Callable[..., None], calls: list[tuple[Any, ...]]
) -> None:
    """After as many round trips as it took; both latches are let go of before the data are looked at."""
    streams = PaperStreams(done=(False, False, True))
    answer(RETURNED)
    assert seen(streams, in_order=False) == Seen(Wait.NONE, False, False, 2)
    assert streams.log == [*HELD, "round trip", "round trip", *LET_GO]
    (((latch, other), usual),) = calls
    assert (latch._name, other._name, usual) == ("latch", "other", 77)


def test_who_is_not_done_after_all_round_trips_waits_on_its_stream(answer: Callable[..., None]) -> None:
    """The latch is let go of, and then it does finish while the unrelated stream is still held."""
    streams = PaperStreams(done=(False,) * (ROUNDS + 3) + (True,))
    answer(RETURNED)
    assert seen(streams) == Seen(Wait.EVENT, True, False, ROUNDS)
    assert streams.log == [*HELD, *["round trip"] * ROUNDS, "release latch", *LET_GO]
    assert streams.answers == []


def test_who_is_done_only_after_the_unrelated_stream_waits_for_the_device(answer: Callable[..., None]) -> None:
    """Its own latch was long gone."""
    streams = PaperStreams()
    streams.expired["other"] = [False, False, True]
    streams.held["other"] = [False]
    answer(RETURNED)
    assert seen(streams) == Seen(Wait.DEVICE, True, False, ROUNDS)


@pytest.mark.parametrize(("held", "wait"), [(True, Wait.HOST), (False, Wait.DEVICE)])
@pytest.mark.parametrize("held_gil", [True, False])
def test_a_call_that_did_not_return_by_itself_waits_on_the_host(
    held: bool, wait: Wait, held_gil: bool, answer: Callable[..., None]
) -> None:
    """For everything, if the unrelated stream had to be let go of too; whatever it queued is finished before the data count."""
    streams = PaperStreams()
    streams.held["other"] = [held]
    answer(Called(None, None, 1, held_gil, int(BURNT_NANOSECONDS)))
    assert seen(streams) == Seen(wait, True, held_gil, 0)
    assert streams.log == [*HELD, "synchronize reader", *LET_GO]


def test_a_latch_that_let_go_before_anything_was_seen_is_a_disturbance(answer: Callable[..., None]) -> None:
    """While the first was being queued, or before the second side's stream had been looked at."""
    for held, told in (
        ([False], "before the first operation was queued"),
        ([True, False], "second stream was checked"),
    ):
        streams = PaperStreams(done=(True,))
        streams.held["latch"] = held
        answer(RETURNED)
        with pytest.raises(Disturbed, match=told):
            seen(streams)
        assert streams.log[-5:] == LET_GO[:-1], "the latches are let go of"


def test_a_latch_that_let_go_although_nobody_burnt_time_is_a_disturbance(answer: Callable[..., None]) -> None:
    """A call that waits with the GIL held burns what the latch holds, or a good part of it."""
    streams = PaperStreams()
    answer(Called(None, None, 1, True, int(BURNT_NANOSECONDS) - 1))
    with pytest.raises(Disturbed, match="though the call did not wait"):
        seen(streams)
    answer(Called(None, None, 1, False, 0))
    assert seen(streams).wait is Wait.HOST, "one that let go of the GIL was watched"


def test_the_exchanges_own_exception_comes_out(answer: Callable[..., None]) -> None:
    """Whatever the latches did meanwhile, and after they were let go of."""
    raised = BufferError("no")
    streams = PaperStreams()
    answer(Called(None, raised, 1, False, 0))
    with pytest.raises(BufferError) as caught:
        seen(streams)
    assert caught.value is raised
    assert streams.log[-5:] == LET_GO[:-1]


# -- several observations


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[Any, ...]]]:
    """Have single observations end like this, one after the other; what they were asked is returned."""

    def set_up(*endings: Seen | Disturbed) -> list[tuple[Any, ...]]:
        left: Iterator[Seen | Disturbed] = iter(endings)
        asked: list[tuple[Any, ...]] = []

        def one(streams: Any, work: Any, usual: int, rounds: int, seconds: float) -> Seen:
            asked.append((streams, work, usual, rounds, seconds, gc.isenabled()))
            ending = next(left)
            if isinstance(ending, Disturbed):
                raise ending
            return ending

        monkeypatch.setattr(observation, "_observe", one)
        return asked

    return set_up


def observed(streams: PaperStreams, **how: Any) -> tuple[Seen, list[PaperWork]]:
    """An observation, and the work that was made for it."""
    made: list[PaperWork] = []

    def make() -> Any:
        made.append(PaperWork(streams.log))
        return made[-1]

    return observation.observe(streams, make, **how), made  # type: ignore[arg-type]


def test_everything_is_used_once_before_it_is_observed(
    ended: Callable[..., list[tuple[Any, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With latches that let go at once; what the exchange alone took is what it usually takes."""
    times = iter((1000, 1234))
    monkeypatch.setattr(observation.time, "thread_time_ns", lambda: next(times))
    streams = PaperStreams()
    asked = ended(Seen(Wait.NONE, True))
    result, (warm, work) = observed(streams, rounds=3, seconds=0.5)
    assert result == Seen(Wait.NONE, True)
    limit = f"{LIMIT_SECONDS:g}"
    assert streams.log == [
        *(f"hold latch {limit}", f"hold other {limit}", "release latch", "release other", "before", "exchange"),
        *("synchronize device", "close latch", "close other"),
    ]
    assert asked == [(streams, work, 234, 3, 0.5, False)]
    assert [library.let_go_while_collecting for library in warm.libraries] == [[True], [True]]
    assert (streams.made, gc.isenabled()) == (1, True)


def test_rounds_and_seconds_are_those_of_the_suite_unless_told(ended: Callable[..., list[tuple[Any, ...]]]) -> None:
    """Of the second observation too."""
    asked = ended(Seen(Wait.HOST, True), Seen(Wait.HOST, True))
    observed(PaperStreams(), rounds=3, seconds=0.5)
    assert [one[3:5] for one in asked] == [(3, 0.5), (3, 0.5)]
    asked = ended(Seen(Wait.NONE, True))
    observed(PaperStreams())
    assert asked[0][3:5] == (observation.ROUNDS, LIMIT_SECONDS)


@pytest.mark.parametrize("wait", Wait)
@pytest.mark.parametrize("held_gil", [True, False])
def test_a_wait_of_the_host_has_to_show_twice(
    wait: Wait, held_gil: bool, ended: Callable[..., list[tuple[Any, ...]]]
) -> None:
    """The second observation counts. Who held the GIL was not judged by looks, so once is proof."""
    asked = ended(Seen(wait, True, held_gil), Seen(Wait.NONE, False))
    streams = PaperStreams()
    result, made = observed(streams)
    twice = wait in (Wait.HOST, Wait.DEVICE) and not held_gil
    assert result == (Seen(Wait.NONE, False) if twice else Seen(wait, True, held_gil))
    assert [one[1] for one in asked] == made[1:], "each has work of its own, and the warm-up's is not used again"
    assert {(one[0], one[2]) for one in asked} == {(streams, asked[0][2])}


def test_a_disturbed_observation_is_tried_again(ended: Callable[..., list[tuple[Any, ...]]]) -> None:
    """With new work; the first that comes off counts."""
    asked = ended(*[Disturbed("early")] * (observation.ATTEMPTS - 1), Seen(Wait.EVENT, True))
    result, made = observed(PaperStreams())
    assert result == Seen(Wait.EVENT, True)
    assert [one[1] for one in asked] == made[1:]


def test_an_observation_that_is_always_disturbed_decides_nothing(
    ended: Callable[..., list[tuple[Any, ...]]],
) -> None:
    """The last disturbance is told, and how often; garbage is collected again then."""
    last = Disturbed("late")
    ended(*[Disturbed("early")] * (observation.ATTEMPTS - 1), last, Seen(Wait.NONE, True))
    with pytest.raises(Inconclusive, match=f"^late, {observation.ATTEMPTS} times$") as caught:
        observed(PaperStreams())
    assert caught.value.__cause__ is last
    assert gc.isenabled()


def test_who_collects_no_garbage_still_does_not_afterwards() -> None:
    """An observation changes nothing for the rest of the process."""
    gc.disable()
    try:
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_unrelated_stream_is_made_once_for_each_device() -> None:
    """Few streams keep clear of each other."""
    one, two = PaperStreams(), PaperStreams()
    assert [observation._unrelated(streams) for streams in (one, two, one)] == [UNRELATED] * 3  # type: ignore[arg-type]
    assert (one.made, two.made) == (1, 1)


def test_an_observation_holds_no_gil_and_took_no_round_unless_it_says_so() -> None:
    """Both are only said where they were seen."""
    assert Seen(Wait.HOST, True) == Seen(Wait.HOST, True, False, 0)


@pytest.mark.parametrize(
    ("observation", "overtakes", "told"),
    [
        (Seen(Wait.NONE, False), True, "none, out of order"),
        (Seen(Wait.NONE, True), False, "none, in order"),
        (Seen(Wait.EVENT, False), False, "event-wait, out of order"),
        (Seen(Wait.HOST, True, held_gil=True), False, "host-sync with the GIL held, in order"),
        (Seen(Wait.DEVICE, True), False, "device-sync, in order"),
    ],
)
def test_only_what_finished_first_with_the_wrong_data_has_overtaken(
    observation: Seen, overtakes: bool, told: str
) -> None:
    """In order by luck is not in order, but it is no proof of disorder either."""
    assert (observation.overtakes, str(observation)) == (overtakes, told)
