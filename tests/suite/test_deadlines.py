"""Time that counts for a deadline: neither imports nor the wait for a processor."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest

from conformance.checks import deadline
from conformance.checks.deadline import IMPORT_SECONDS, MOST, Pauses, Watch, longest, not_counted

HERE = (1, 1)


@dataclass
class World:
    """The clock, the seconds that a thread has waited for a processor, and whether the process is stopped."""

    now: float = 1000.0
    waited: dict[tuple[int, int], float] = field(default_factory=dict)
    stopped: bool = False


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a world in which the test sets the time."""
    made = World()
    monkeypatch.setattr(deadline.time, "monotonic", lambda: made.now)
    monkeypatch.setattr(deadline, "waited", lambda group: dict(made.waited))
    monkeypatch.setattr(deadline, "is_stopped", lambda process: made.stopped)
    return made


def begun(world: World, pauses: Pauses | None = None) -> Watch:
    """Return a timeout of 10 s after its first check."""
    watch = Watch(1, 10.0, pauses or Pauses())
    assert watch.left == deadline._LOOK
    world.now += deadline._LOOK
    assert watch.left == 10 - deadline._LOOK
    return watch


def test_time_that_is_used_counts(world: World) -> None:
    """Without waits and imports, ten seconds count as ten seconds."""
    watch = begun(world)
    world.now = 1009.0
    assert watch.left == 1.0
    world.now = 1010.0
    assert watch.left == 0
    assert (watch.late, watch.is_decided) == ("timeout after 10 s", True)


def test_time_without_a_processor_does_not_count(world: World) -> None:
    """The longest wait of any thread counts; waits before the start do not."""
    world.waited = {HERE: 100.0}
    watch = begun(world)
    world.now = 1010.0
    world.waited = {HERE: 104.0, (1, 2): 3.0}
    assert watch.left == 4.0
    world.now = 1014.0
    assert watch.left == 0
    assert (watch.late, watch.is_decided) == ("timeout after 10 s", True)


def test_one_that_never_gets_a_processor_is_not_said_to_hang(world: World) -> None:
    """The watch still ends after a limit."""
    watch = begun(world)
    world.now = 1000 + 10 * MOST
    world.waited = {HERE: 10 * MOST - 1}
    assert watch.left == 0
    assert not watch.is_decided
    assert watch.late == "timeout after 50 s, with no processor for 49 s of them"


def test_the_time_of_an_import_does_not_count(world: World) -> None:
    """An import has a separate limit; a nested pause is part of the outer one."""
    pauses = Pauses()
    watch = begun(world, pauses)
    with pauses.pause(IMPORT_SECONDS), pauses.pause(1.0):
        world.now += 200
        assert watch.left == IMPORT_SECONDS - 200
    assert watch.left == 10 - deadline._LOOK
    world.now += 10
    assert watch.left == 0
    assert watch.late == "timeout after 10 s"


def test_pauses_of_an_earlier_case_are_no_gift(world: World) -> None:
    """A process runs many cases."""
    pauses = Pauses()
    with pauses.pause(IMPORT_SECONDS):
        world.now += 100
    watch = begun(world, pauses)
    world.now += 10
    assert watch.left == 0


def test_an_import_that_never_ends_is_told_as_such(world: World) -> None:
    """The message names the limit of imports."""
    pauses = Pauses()
    watch = begun(world, pauses)
    with pauses.pause(IMPORT_SECONDS):
        world.now += IMPORT_SECONDS
        assert watch.left == 0
    assert watch.late == f"timeout of an import after {IMPORT_SECONDS:g} s"


def test_a_process_that_is_stopped_while_its_clock_stands_still_is_not_waited_for(world: World) -> None:
    """The limit of the case applies from the time at which the process was seen to be stopped."""
    pauses = Pauses()
    watch = begun(world, pauses)
    with pauses.pause(1e6):
        world.now += 100
        world.stopped = True
        assert watch.left == 10
        world.now += 5
        world.stopped = False
        assert watch.left > 100
        world.stopped = True
        world.now += 5
        assert watch.left == 10
        world.now += 10
        assert watch.left == 0


def test_a_pause_is_seen_by_the_process_that_has_forked() -> None:
    """The process that enforces the deadline is not the one that imports."""
    pauses = Pauses()
    heard, tell = os.pipe()
    asked, ask = os.pipe()
    process = os.fork()
    if not process:
        deadline.keep(pauses)
        with not_counted():
            os.write(tell, b"x")
            os.read(asked, 1)
        os._exit(0)
    os.read(heard, 1)
    assert pauses.until is not None
    os.write(ask, b"x")
    os.waitpid(process, 0)
    for descriptor in (heard, tell, asked, ask):
        os.close(descriptor)
    assert pauses.until is None
    assert pauses.lasted(0.0) > 0


def test_without_anybody_who_keeps_a_deadline_nothing_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that runs alone has no deadline."""
    monkeypatch.setattr(deadline, "_kept", [])
    with not_counted():
        pass


def test_the_kernel_tells_of_every_thread_of_a_group() -> None:
    """The report contains at least the current thread."""
    assert (os.getpid(), os.getpid()) in deadline.waited(os.getpgrp())
    assert longest({}, {}) == 0
