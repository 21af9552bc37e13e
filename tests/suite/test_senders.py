"""Sender of the signal that ended a process."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.checks import signal_senders

watchable = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in signal_senders._CALLS,
    reason="needs the filters of this kernel",
)


def ended(action: Callable[[], object], number: int) -> int:
    """Return the signal that ends a process with this action under watch; 0 if none does."""
    process = os.fork()
    if not process:
        os.setpgid(0, 0)
        faulthandler.disable()
        if signal_senders.watch(number):
            action()
        os._exit(0)
    _, status = os.waitpid(process, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


@watchable
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
@pytest.mark.parametrize(
    "send",
    [
        lambda number: os.kill(os.getpid(), number),
        lambda number: os.killpg(os.getpgrp(), number),
        lambda number: os.kill(0, number),
        lambda number: signal.raise_signal(number),
        lambda number: ctypes.CDLL(None)["raise"](number),
    ],
    ids=["kill", "killpg", "kill 0", "raise_signal", "raise"],
)
def test_a_process_under_watch_that_sends_the_signal_to_itself_ends_otherwise(
    send: Callable[[int], object], number: int
) -> None:
    """Python or C sends the signal, to the process or to its group."""
    assert ended(lambda: send(number), number) == signal_senders.CAUGHT


@watchable
@pytest.mark.parametrize(
    ("number", "timer"),
    [
        (signal.SIGALRM, signal.ITIMER_REAL), (signal.SIGVTALRM, signal.ITIMER_VIRTUAL), (signal.SIGPROF, signal.ITIMER_PROF),
    ],
)  # fmt: skip
def test_a_process_under_watch_that_sets_a_timer_for_the_signal_ends_otherwise(number: int, timer: int) -> None:
    """The kernel sends this signal, and the process has asked for it. Timers for other signals go on."""
    assert ended(lambda: signal.setitimer(timer, 100), number) == signal_senders.CAUGHT
    assert ended(lambda: signal.setitimer((timer + 1) % 3, 100), number) == 0
    assert ended(lambda: signal.setitimer(timer, 100), signal.SIGTERM) == 0


@watchable
def test_an_alarm_is_a_timer() -> None:
    """One of 0 seconds is none."""
    assert ended(lambda: signal.alarm(100), signal.SIGALRM) == signal_senders.CAUGHT
    assert ended(lambda: signal.alarm(0), signal.SIGALRM) == 0
    assert ended(lambda: signal.alarm(100), signal.SIGTERM) == 0


@watchable
@pytest.mark.parametrize(
    ("action", "number"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGTERM), signal.SIGTERM),
        (os.abort, signal.SIGABRT),
        (lambda: ctypes.string_at(0), signal.SIGSEGV),
        (lambda: subprocess.run(["sh", "-c", "kill -KILL $$"], check=False), 0),
    ],
)
def test_all_else_is_as_without_a_watch(action: Callable[[], object], number: int) -> None:
    """The actions are another signal, a fault, and a program that sends the signal to itself."""
    assert ended(action, signal.SIGKILL) == number


@watchable
def test_a_signal_from_outside_ends_a_process_under_watch_as_any_other() -> None:
    """This difference identifies the sender."""
    outside = os.getpid()

    def wait() -> None:
        os.kill(outside, 0)
        os.write(writer, str(os.getpid()).encode())
        signal.pause()

    reader, writer = os.pipe()
    found: list[int] = []
    thread = threading.Thread(target=lambda: os.kill(int(os.read(reader, 32)), signal.SIGKILL))
    thread.start()
    found.append(ended(wait, signal.SIGKILL))
    thread.join()
    assert found == [signal.SIGKILL]


def test_on_another_machine_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """On such a machine a death accuses no library."""
    monkeypatch.setattr(platform, "machine", lambda: "abacus")
    assert signal_senders.watch(signal.SIGKILL) is False


def test_the_kernels_out_of_memory_killer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counters of the machine and the container show it; without counters the sender stays unknown."""
    machine, container = tmp_path / "vmstat", tmp_path / "memory.events"
    machine.write_text("nr_free_pages 1\noom_kill 3\n")
    container.write_text("oom 9\noom_kill 1\noom_group_kill 0\n")
    assert signal_senders.memory_kills([machine, container]) == 4
    assert signal_senders.memory_kills([tmp_path / "none"]) == 0
    monkeypatch.setattr(signal_senders, "memory_kills", lambda: 4)
    assert signal_senders.told(signal.SIGKILL, 3) == signal_senders.MEMORY
    assert signal_senders.told(signal.SIGKILL, 4) == ""
    assert signal_senders.told(signal.SIGTERM, 3) == ""


def test_a_signal_without_a_name_has_its_number() -> None:
    """Real-time signals have no name."""
    assert (signal_senders.name_of(9), signal_senders.name_of(40)) == ("SIGKILL", "signal 40")
