"""Conditional faults in several processes: the results that a run keeps if it is stopped, or loses a process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from conformance import faults
from conformance.checks.catalogue import Case
from conformance.selftest.conditional import running
from conformance.selftest.conditional.subjects import PREFIX
from conformance.selftest.conditional.trying import Candidate, Tried
from conformance.selftest.conditional.worker import Lost
from conformance.signals import Stops

GROUP = 3


class Paper:
    """A process on paper. The one that gets the first group has no answer until it is ended; the other one answers."""

    first: str
    ended: threading.Event
    answered: list[str]

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def measure(self, cases: Sequence[Any], library: str, into: Path) -> dict[str, Any]:
        """Nothing to measure."""
        return {}

    def load(self, parts: Sequence[Path], points: Sequence[Case]) -> None:
        """Nothing to load."""

    def tried(self, names: Sequence[str]) -> list[Tried]:
        """All are caught."""
        if names[0] == self.first:
            self.ended.wait()
            raise Lost("its process ended with exit code -9")
        self.answered.append(names[0])
        return [Tried(name, "It is wrong.", 2, "somewhere", "layout.rank/x", "wrong") for name in names]

    def end(self) -> None:
        """The process is killed."""
        self.ended.set()


@pytest.fixture
def candidates(monkeypatch: pytest.MonkeyPatch) -> list[Candidate]:
    """Candidates for three groups, tried on paper."""
    found = [Candidate(f"{PREFIX}{name}", (("rank", "2"),)) for name in sorted(faults.all_faults())[: 3 * GROUP]]
    monkeypatch.setattr(Paper, "first", found[0].name, raising=False)
    monkeypatch.setattr(Paper, "ended", threading.Event(), raising=False)
    monkeypatch.setattr(Paper, "answered", [], raising=False)
    monkeypatch.setattr(running, "Worker", Paper)
    monkeypatch.setattr(running, "_GROUP", GROUP)
    return found


@pytest.mark.parametrize("is_stopped", [True, False])
def test_groups_that_have_ended_are_kept_behind_one_that_has_not(candidates: list[Candidate], is_stopped: bool) -> None:
    """In the order in which they were drawn."""
    stops = Stops()

    def progress(done: int, planned: int | None) -> None:
        if len(Paper.answered) == 2 and is_stopped:
            stops.number = signal.SIGINT
        elif len(Paper.answered) == 2:
            Paper.ended.set()

    found = running.run((), "reference", [(iter(candidates), None)], 2, progress, stops)
    assert [one.name for one in found.tried] == [candidate.name for candidate in candidates[GROUP:]]
    assert found.lost == [running.STOPPED if is_stopped else "its process ended with exit code -9"]
