"""Many exchanges by one seed, as one command that needs no Hypothesis."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conformance.adapters.base import Device
from conformance.adapters.reference import ReferenceAdapter
from conformance.faults.pointer import ByteOffsetIgnored

from . import exchanges
from .__main__ import Run

TESTS = Path(__file__).parents[1]
NO_HYPOTHESIS = (
    "import sys, runpy; sys.modules['hypothesis'] = None; runpy.run_module('properties', run_name='__main__')"
)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Where Hypothesis is not installed."""
    line = [sys.executable, "-c", NO_HYPOTHESIS, *arguments]
    return subprocess.run(line, cwd=TESTS, capture_output=True, text=True, timeout=300, check=False)


def test_the_last_line_says_how_many_and_by_which_seed() -> None:
    """And the first one how to run them again."""
    done = command("--exchanges", "30", "--seed", "4711")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "30 flawless exchanges, seed 4711: none accused"
    assert done.stdout.splitlines()[0].endswith("--seed 4711 --device host simulated --exchanges 30")


def test_the_same_seed_gives_the_same_exchanges() -> None:
    """So that what was accused once can be looked at."""
    first, second = (command("--exchanges", "30", "--seed", "1").stdout for _ in range(2))
    assert first == second


def test_a_seed_that_was_not_chosen_is_printed() -> None:
    """Without it an accusation could not be repeated."""
    assert "python -m properties --seed " in command("--exchanges", "1").stdout


@pytest.mark.parametrize("number", ["0", "-3"])
def test_no_exchanges_show_nothing(number: str) -> None:
    """That none of none is accused is no result."""
    done = command("--exchanges", number)
    assert (done.returncode, done.stdout) == (2, "")
    assert "has to be 1 at least" in done.stderr


def test_an_accusation_says_what_was_drawn_and_how_to_repeat_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exchange has a number, and needs no other to be run before it."""
    broken = ReferenceAdapter()
    broken.importer_class = ByteOffsetIgnored  # type: ignore[misc]
    monkeypatch.setattr(exchanges, "LIBRARY", broken)
    run = Run(5, (Device.HOST,))
    for number in range(40):
        run.exchange(number)
    told = capsys.readouterr().out
    assert run.verdict().startswith("40 flawless exchanges, seed 5: ")
    assert f"python -m properties --seed 5 --device host --only {run.accused[0]}\n" in told
    assert "the import has a wrong address" in told
    assert "drawn: Drawn(device=" in told
    again = Run(5, (Device.HOST,))
    again.exchange(run.accused[0])
    assert again.accused == run.accused[:1]
