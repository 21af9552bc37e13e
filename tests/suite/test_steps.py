"""What a process was doing is known after it has died."""

from __future__ import annotations

import os
import signal

import pytest

from conformance.checks.steps import Doing, Step, Steps
from conformance.protocols.clauses import Role


def test_the_newest_step_survives_the_death_of_its_process() -> None:
    """The memory belongs to parent and child."""
    steps = Steps()
    step = Step(Doing.IMPORT, Role.CONSUMER, "NULL strides", illegal=True)
    if not (child := os.fork()):
        steps.mark(Step(Doing.EXPORT, Role.PRODUCER))
        steps.mark(step)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert steps.newest == step


def test_before_the_first_step_nobody_is_at_work() -> None:
    """A death there is nobody's."""
    assert Steps().newest == Step(Doing.CHECK, None, "", False)


@pytest.mark.parametrize("given", ["", "ä" * 5000, "\x00" * 5000, "\U0001f980" * 5000, "\ud800" * 5000, "line\nbreak"])
def test_any_words_can_be_kept(given: str) -> None:
    """Long ones are cut."""
    steps = Steps()
    steps.mark(Step(given=given))
    assert steps.newest.given == given[:400]
