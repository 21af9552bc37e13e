"""How a call that waits is told from one that is slow: by what is seen of its thread, look by look."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conformance.ordering import blocking
from conformance.ordering.blocking import Called
from conformance.reference import streams

IDLE, BUSY = True, False
MANY = blocking._SLEEPS + 1
"""Looks in a row at a sleeping thread that prove that it waits."""
PATIENCE = 100
DEVICE = streams.simulated()


@dataclass
class PaperLatch:
    """Notes when it is let go of."""

    look: Callable[[], int] = lambda: 0
    expired: bool = False
    released_at: list[int] = field(default_factory=list)

    def release(self) -> None:
        """At which look."""
        self.released_at.append(self.look())


class Watched:
    """A task of which every look is written down: nanoseconds spent so far, and whether its thread sleeps."""

    patience = PATIENCE

    def __init__(self, looks: list[tuple[int, bool]], latches: int) -> None:
        self.looks = looks
        self.number = 0
        self.asked = 0
        self.pauses: list[float] = []
        self.latches = [PaperLatch(lambda: self.number) for _ in range(latches)]
        self.released = 0
        self.watch: Any = None

    def pause(self, seconds: float) -> None:
        """Until the next look; after the last the call is over."""
        self.pauses.append(seconds)
        self.number += 1
        if self.number == len(self.looks):
            self.watch.over()

    def spent(self) -> int:
        """At this look; the first is before any pause."""
        self.asked += 1
        return self.looks[self.number][0]

    def sleeps(self) -> bool:
        """At this look."""
        return self.looks[self.number][1]


class Watching(blocking._Watch):
    """Looks when it is told to, without a thread."""

    def __init__(self, task: Any) -> None:
        self._lock = threading.Lock()
        self._task = task
        task.watch = self

    def over(self) -> None:
        """The call returns."""
        self._task = None


def released(looks: list[tuple[int, bool]], monkeypatch: pytest.MonkeyPatch, latches: int = 1) -> list[list[int]]:
    """The look at which each latch is let go of, if it is."""
    task = Watched(looks, latches)
    monkeypatch.setattr(blocking.time, "sleep", task.pause)
    Watching(task)._follow()
    assert task.pauses == [blocking._LOOK_SECONDS] * len(looks)
    assert task.released == sum(len(latch.released_at) for latch in task.latches)
    return [latch.released_at for latch in task.latches]


def test_a_thread_that_has_burnt_more_than_its_patience_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had spent before the first look does not count, and exactly its patience is no proof yet."""
    looks = [(1000, BUSY), (1050, BUSY), (1000 + PATIENCE, BUSY), (1001 + PATIENCE, BUSY), (1002 + PATIENCE, BUSY)]
    assert released(looks, monkeypatch) == [[3]]


def test_a_thread_that_sleeps_and_does_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many looks in a row, not one less."""
    assert released([(7, IDLE)] * (MANY + 3), monkeypatch) == [[MANY]]
    assert released([(7, IDLE)] * MANY, monkeypatch) == [[]]


def test_a_thread_that_has_run_in_between_has_not_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The looks before do not count any more, whether it is seen running or only has run."""
    nap = [(7, IDLE)] * MANY
    assert released([*nap, (8, IDLE), *[(8, IDLE)] * (MANY - 1), (9, IDLE)], monkeypatch) == [[]]
    assert released([*nap, (7, BUSY), *[(7, IDLE)] * (MANY - 1), (9, IDLE)], monkeypatch) == [[]]


def test_a_thread_without_a_processor_is_not_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """It spends nothing because it is not let run."""
    assert released([(7, BUSY)] * (3 * MANY), monkeypatch) == [[]]


def test_each_latch_needs_a_proof_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order; time spent and looks from before a release say nothing about the next."""
    burning = [(step * (PATIENCE + 1), BUSY) for step in range(5)]
    assert released(burning, monkeypatch, 2) == [[1], [2]]
    assert released([(7, IDLE)] * (2 * MANY + 2), monkeypatch, 2) == [[MANY], [2 * MANY]]
    assert released([(0, BUSY), (101, BUSY), (200, BUSY), (201, BUSY), (202, BUSY), (203, BUSY)], monkeypatch, 2) == [
        [1],
        [4],
    ]


def test_a_call_that_is_over_is_not_looked_at() -> None:
    """Its thread may be gone, and with it the clock that would be asked."""
    task = Watched([], 1)
    watch = Watching(task)
    watch.over()
    watch._follow()
    assert task.asked == 0


def test_the_watching_thread_keeps_no_process_alive() -> None:
    """It is one for all calls, under its own name."""
    for _ in range(2):
        blocking.call(lambda: None, [])
    (thread,) = [each for each in threading.enumerate() if each.name == "conformance-watch"]
    assert thread.daemon


# -- real calls, on the simulated device


def test_a_call_that_returns_under_a_latch_has_not_waited() -> None:
    """Nothing had to end for it to return."""
    stream = DEVICE.create()
    latch = DEVICE.hold(stream, 1.0)
    called = blocking.call(lambda: 7, [latch])
    assert (called.value, called.ended, latch.held) == (7, 0, True)
    latch.release()


@pytest.mark.parametrize("waits_for", [1, 2])
def test_a_call_that_waits_ends_the_latches_in_their_order(waits_for: int) -> None:
    """As many as it waits for, and no more."""
    held = [DEVICE.create() for _ in range(2)]
    latches = [DEVICE.hold(stream, 0.25) for stream in held]
    called = blocking.call(lambda: [DEVICE.synchronize(s) for s in held[:waits_for]], latches)
    assert (called.error, called.ended, called.held_gil) == (None, waits_for, False)
    assert [latch.held for latch in latches] == [n >= waits_for for n in range(2)]
    for latch in latches:
        latch.release()


def test_a_busy_call_that_waits_is_seen_too() -> None:
    """Waiting by asking again and again burns time instead of sleeping."""

    def spin() -> None:
        while not DEVICE.done(stream):
            pass

    stream = DEVICE.create()
    latch = DEVICE.hold(stream, 0.25)
    assert blocking.call(spin, [latch]).ended == 1


def test_an_exception_under_a_latch_is_the_callers() -> None:
    """It comes back as it was raised."""
    raised = ValueError("no")

    def refuse() -> None:
        raise raised

    assert blocking.call(refuse, []).error is raised


# -- looking


def test_the_time_of_the_calling_thread_is_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of the thread that asks; 0 where it cannot be had."""
    task = blocking._Task([], 0)
    before = task.spent()
    until = time.thread_time_ns() + 2_000_000
    while time.thread_time_ns() < until:
        pass
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(task.spent()))
    asking.start()
    asking.join()
    assert answers[0] - before >= 2_000_000

    def gone(thread: int) -> int:
        raise ProcessLookupError

    monkeypatch.setattr(blocking.time, "pthread_getcpuclockid", gone)
    assert task.spent() == 0
    monkeypatch.delattr(blocking.time, "pthread_getcpuclockid")
    assert task.spent() == 0


@pytest.mark.parametrize(("state", "sleeps"), [("S", True), ("D", True), ("R", False), ("T", False), ("s", False)])
def test_a_thread_sleeps_if_the_kernel_says_so(state: str, sleeps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the program is called."""
    asked: list[str] = []

    def status(path: Path) -> bytes:
        asked.append(str(path))
        return f"77 (a) R (b) {state} 1 S R D".encode()

    monkeypatch.setattr(Path, "read_bytes", status)
    assert blocking._Task([], 0).sleeps() is sleeps
    assert asked == [f"/proc/self/task/{threading.get_native_id()}/stat"]


def test_a_thread_that_the_kernel_does_not_know_does_not_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``/proc`` nobody is seen to wait that way."""
    task = blocking._Task([], 0)
    task._native = 2**31
    assert task.sleeps() is False


# -- calling


class PaperWatch:
    """Lets go of as many latches as it is told to."""

    def __init__(self, lets_go: int) -> None:
        self.lets_go = lets_go
        self.tasks: list[Any] = []

    def arm(self, task: Any) -> None:
        """A call begins."""
        self.tasks.append(task)

    def disarm(self, task: Any) -> int:
        """It is over."""
        assert self.tasks == [task]
        return self.lets_go


@pytest.mark.parametrize(
    ("lets_go", "expired", "ended", "held_gil"),
    [(0, 0, 0, False), (1, 0, 1, False), (2, 0, 2, False), (0, 1, 1, True), (0, 2, 2, True), (1, 1, 2, True)],
)
def test_what_had_to_end_before_the_call_returned_is_counted(
    lets_go: int, expired: int, ended: int, held_gil: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who could not be watched, as it held the GIL, is known by the latches whose own time was up."""
    watch = PaperWatch(lets_go)
    times = iter((100, 350))
    monkeypatch.setattr(blocking, "_watch", lambda: watch)
    monkeypatch.setattr(blocking, "time", SimpleNamespace(process_time_ns=lambda: next(times)))
    latches: Any = [PaperLatch(expired=n < expired) for n in range(2)]
    assert blocking.call(lambda: "value", latches) == Called("value", None, ended, held_gil, 250)
    assert watch.tasks[0].latches == latches


@pytest.mark.parametrize(("usual", "patience"), [(0, 1_000_000), (50_000, 1_000_000), (50_001, 1_000_020)])
def test_patience_is_many_times_what_the_call_usually_takes(
    usual: int, patience: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a millisecond at the least."""
    watch = PaperWatch(0)
    monkeypatch.setattr(blocking, "_watch", lambda: watch)
    blocking.call(lambda: None, [], usual)
    assert (watch.tasks[0].patience, watch.tasks[0].released) == (patience, 0)


def test_what_is_no_error_of_the_call_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops the run stops the call; it is not watched any more then."""
    over: list[Any] = []
    watch = SimpleNamespace(arm=lambda task: None, disarm=over.append)
    monkeypatch.setattr(blocking, "_watch", lambda: watch)

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        blocking.call(interrupted, [])
    assert len(over) == 1


def test_an_exception_comes_back_with_what_had_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that waits and then fails has waited; there is no value."""
    raised = ValueError("no")

    def refuse() -> None:
        raise raised

    watch = PaperWatch(1)
    monkeypatch.setattr(blocking, "_watch", lambda: watch)
    called = blocking.call(refuse, [])
    assert (called.value, called.error, called.ended) == (None, raised, 1)
