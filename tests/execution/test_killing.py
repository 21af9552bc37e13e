"""A few signals to each kind of process of a run; ``killing.py`` sends more as a command."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from conformance.execution import environment

from .killing import Account, Kind, Runs


def test_what_somebody_ends_loses_nothing_and_accuses_nobody(tmp_path: Path) -> None:
    """One run receives ten signals at random processes and times: verdicts may change to *no result* only."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    account = Account()
    Runs(tmp_path, seed).disturbed(10, account, only=frozenset(Kind) - {Kind.SUPERVISOR})
    assert account.wrong == []
    assert account.cases


def test_every_kind_of_process_is_recognised(tmp_path: Path) -> None:
    """Otherwise a kind is never killed, and the test above proves less than it says."""
    assert Runs(tmp_path, 0).seen() == set(Kind)


@pytest.mark.parametrize(("ended", "probes", "usable"), [(0, 1, True), (2, 3, True), (3, 3, False)])
def test_a_probe_that_somebody_ends_is_made_again(
    ended: int, probes: int, usable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three such probes the library is not tested, and the exit code says so."""
    made = []

    def probed(name: str, neutral: Path, module: str) -> dict[str, object]:
        made.append(name)
        if len(made) > ended:
            return {"available": True}
        return {"available": False, "reason": "ended", "ended": "died with signal 9", environment._CODE: -9}

    monkeypatch.setattr(environment, "_probed", probed)
    found = environment._probe("one", tmp_path)
    assert (len(made), found["available"]) == (probes, usable)
