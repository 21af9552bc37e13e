"""Turns on the GPU: an exclusive case has it alone, and ordinary cases never starve it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.execution import gpu_sharing
from conformance.pytest_plugin.turns import Turns

ORDINARY = Case("pointer.values", "reference", "reference", "dlpack", Device.CUDA)
EXCLUSIVE = Case("ordering.handover", "reference", "reference", "dlpack", Device.CUDA)
HOST = Case("pointer.values", "reference", "reference", "dlpack", Device.HOST)
_SECONDS = 30
_MOMENT = 0.3


@pytest.fixture
def turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Turns:
    """Turns with a lock of their own."""
    monkeypatch.setattr(gpu_sharing, "LOCK", tmp_path / "gpus")
    return Turns(tmp_path / "gate")


class Waiting:
    """A case in a thread that takes its turn and holds it until it is let go. Locks are of open files, so threads have their own."""

    def __init__(self, turns: Turns, case: Case) -> None:
        self._turns, self._case = turns, case
        self.has_turn, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._turns.turn(self._case):
            self.has_turn.set()
            self._end.wait(_SECONDS)

    def end(self) -> None:
        """Let it go on."""
        self._end.set()
        self._thread.join(_SECONDS)


def test_ordinary_cases_share_the_gpu(turns: Turns) -> None:
    """Any number at a time."""
    running = [Waiting(turns, ORDINARY) for _ in range(3)]
    assert all(one.has_turn.wait(_SECONDS) for one in running)
    for one in running:
        one.end()


@pytest.mark.parametrize(("first", "second"), [(ORDINARY, EXCLUSIVE), (EXCLUSIVE, ORDINARY), (EXCLUSIVE, EXCLUSIVE)])
def test_an_exclusive_case_shares_the_gpu_with_none(turns: Turns, first: Case, second: Case) -> None:
    """Whichever comes first."""
    one = Waiting(turns, first)
    assert one.has_turn.wait(_SECONDS)
    other = Waiting(turns, second)
    assert not other.has_turn.wait(_MOMENT)
    one.end()
    assert other.has_turn.wait(_SECONDS)
    other.end()


def test_an_exclusive_case_has_its_turn_before_ordinary_ones_that_come_later(turns: Turns) -> None:
    """Else workers with ordinary cases would hold the GPU in common until their last."""
    one = Waiting(turns, ORDINARY)
    assert one.has_turn.wait(_SECONDS)
    exclusive = Waiting(turns, EXCLUSIVE)
    assert not exclusive.has_turn.wait(_MOMENT)
    later = Waiting(turns, ORDINARY)
    assert not later.has_turn.wait(_MOMENT)
    one.end()
    assert exclusive.has_turn.wait(_SECONDS)
    assert not later.has_turn.is_set()
    exclusive.end()
    assert later.has_turn.wait(_SECONDS)
    later.end()


def test_a_case_without_the_gpu_waits_for_nothing(turns: Turns) -> None:
    """Host memory belongs to each process."""
    one = Waiting(turns, EXCLUSIVE)
    assert one.has_turn.wait(_SECONDS)
    with turns.turn(HOST):
        pass
    one.end()
