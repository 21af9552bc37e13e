"""A few signals to each kind of process of a run; ``killing.py`` sends more as a command."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.libraries import Environment
from conformance.execution import environment
from conformance.execution.untested import untested

from .killing import FEW_FAMILIES, Account, Kind, Runs


@pytest.mark.seconds(40)
def test_what_somebody_ends_loses_nothing_and_accuses_nobody(tmp_path: Path) -> None:
    """One run receives ten signals at random processes and times: verdicts may change to *no result* only.

    Every kind of process is recognised in the run before it, which is left alone: otherwise a kind would never be killed.
    """
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    account = Account()
    runs = Runs(tmp_path, seed, families=FEW_FAMILIES)
    assert runs.seen == set(Kind)
    runs.disturbed(10, account, only=frozenset(Kind) - {Kind.SUPERVISOR})
    assert account.wrong == []
    assert account.cases


@pytest.mark.parametrize(
    ("numbers", "probes", "usable", "killed"),
    [
        ((), 1, True, False),
        ((9, 9), 3, True, False),
        ((9, 9, 9), 3, False, True),
        ((11,), 2, True, False),
        ((11, 6), 2, False, False),
        ((9, 11), 3, True, False),
        ((9, 11, 9), 3, False, False),
    ],
)
def test_a_probe_that_a_signal_ends_is_made_again(
    numbers: tuple[int, ...], probes: int, usable: bool, killed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault has to occur twice before it counts against the library; a signal of another process never does."""
    made = []

    def probed(name: str, neutral: Path, module: str) -> dict[str, object]:
        made.append(name)
        if len(made) > len(numbers):
            return {"available": True}
        return {"available": False, "reason": "ended", "ended": "died", environment._CODE: -numbers[len(made) - 1]}

    monkeypatch.setattr(environment, "_probed", probed)
    found = environment._probe("one", tmp_path)
    assert (len(made), found["available"], environment.KILLED in found) == (probes, usable, killed)


def test_a_library_whose_probes_were_killed_is_not_accused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is installed and untested, so the run cannot be a success."""
    dead = {"available": False, "reason": "ended", "ended": "died with signal 9", environment._CODE: -9}
    monkeypatch.setattr(environment, "_probed", lambda name, neutral, module: dict(dead))
    library, contents = environment._library("one", tmp_path)
    assert (library.untrusted, contents) == (None, {})
    assert library.absent == (
        "installed, and SIGKILL ended its probe 3 times; the sender is unknown, so check the memory limit and the library"
    )
    assert untested(Environment((library,)), [HOST]).unusable == (("one", library.absent),)
    assert (
        environment._driver(tmp_path)[environment.UNKNOWN] == "the process that queries the driver died with signal 9"
    )


HOST = Case("pointer.values", "reference", "reference", "dlpack", Device.HOST)
