"""Two threads in an order of our choosing: the second works at a chosen step of the first, whatever the machine is doing."""

from __future__ import annotations

import threading

import pytest

from conformance.adapters.base import Device
from conformance.checks.codes import Code
from conformance.checks.interleaving import meet
from conformance.checks.outcomes import Outcome
from conformance.faults import all_faults

from .conftest import Runner

TIMES = 20
"""What does not hang on luck comes out alike, so often."""


def told(step: int, *, begun: bool = True) -> list[str]:
    """In which order two threads write, the first two words, the second one."""
    words: list[str] = []

    def first() -> None:
        words.append("one")
        words.append("two")

    meet(first, lambda: words.append("beside"), step, lambda: begun)
    return words


def test_the_second_works_where_it_is_told_to() -> None:
    """Between any two lines of the first, and before and behind them; each time alike."""
    orders = [["beside", "one", "two"], ["beside", "one", "two"], ["one", "beside", "two"], ["one", "two", "beside"]]
    for _ in range(TIMES):
        assert [told(step) for step in range(4)] == orders


def test_steps_count_from_the_moment_that_matters() -> None:
    """Until then the first is left alone; one that never gets there is followed by the second."""
    assert told(0, begun=False) == ["one", "two", "beside"]


def test_a_first_that_takes_fewer_steps_is_told() -> None:
    """That is how somebody who tries all of them knows the last."""
    words: list[str] = []
    reached = [meet(lambda: None, lambda: words.append("beside"), step, lambda: True).reached for step in range(9)]
    assert reached == sorted(reached, reverse=True)
    assert (reached[0], reached[-1], len(words)) == (True, False, 9)


def test_a_second_that_waits_for_the_first_is_let_wait() -> None:
    """It holds a lock: the first goes on, and both come to an end."""
    lock, words = threading.Lock(), []

    def first() -> None:
        with lock:
            words.append("first")

    def second() -> None:
        with lock:
            words.append("second")

    meetings = [meet(first, second, step, lambda: lock.locked()) for step in range(2)]
    assert [meeting.waited for meeting in meetings] == [True, True]
    assert words == ["first", "second"] * 2


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("MarkedTooLate", Code.CAPSULE_TAKEN_TWICE),
        ("BothGiveUp", Code.REFUSED),
        ("RefusalReleasesTheStruct", Code.RELEASED_TWICE),
    ],
)
def test_a_race_for_a_capsule_ends_alike_each_time(run_reference: Runner, fault: str, code: Code) -> None:
    """The verdict on one does not hang on who is faster."""
    seen = []
    for _ in range(3):
        results = run_reference("capsule.race", all_faults()[f"capsule.{fault}"], (Device.HOST,))
        seen.append([(r.case.id, r.outcome, r.code, r.reason) for r in results])
    assert seen[0] == seen[1] == seen[2]
    assert {(outcome, slug) for _, outcome, slug, _ in seen[0]} == {(Outcome.FAIL, code.value)}


def test_races_that_luck_decides_are_told_and_not_judged(run_reference: Runner) -> None:
    """How many steps were tried belongs beside the verdict, too."""
    for result in run_reference("capsule.race", None, (Device.HOST,)):
        assert result.outcome is Outcome.PASS
        assert "races that luck decides" in result.attachments["luck"]
        assert "waits for the first" in result.attachments["steps"]
