"""Damaged files of every kind on every command that reads them, and tests of the search itself."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.execution import check_folder

from .running import Fuzz
from .targets import Target

SEED = 20261122
EACH = 500
PARTS = 6
FIRST = 2
"""Parts that each run of the tests tries; the others are tried every night."""


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(part, marks=[pytest.mark.seconds(10), *([pytest.mark.again] if part >= FIRST else [])])
        for part in range(PARTS)
    ],
)
def test_a_damaged_file_is_a_sentence_and_costs_no_other_result(part: int, tmp_path: Path) -> None:
    """No traceback, no wait, and a documented exit code; ``nox -s fuzz`` runs more inputs."""
    found = Fuzz(tmp_path, SEED).go(range(part * EACH, (part + 1) * EACH))
    assert (found.wrong, found.inputs) == ([], EACH)


def test_sound_files_are_read(tmp_path: Path) -> None:
    """Each command ends without a user error; otherwise the damage would not be tested."""
    fuzz = Fuzz(tmp_path, SEED)
    ended = {
        target.file: [way() for way in target.ways] for target in fuzz.targets if not target.file.startswith("locks/")
    }
    assert [file for file, codes in ended.items() if 2 in codes] == []


def raises() -> int:
    """Raise an error that the suite does not define."""
    raise KeyError("x")


def waits() -> int:
    """Wait without an end."""
    signal.raise_signal(signal.SIGALRM)  # stands for the timeout
    return 0


@pytest.mark.parametrize(("way", "told"), [(raises, "KeyError"), (waits, "Waits"), (lambda: 99, "it ended with 99")])
def test_what_goes_wrong_is_told(way: Callable[[], int], told: str, tmp_path: Path) -> None:
    """The message has the number that repeats the input."""
    fuzz = Fuzz(tmp_path, SEED)
    fuzz.targets = [Target(target.file, [way]) for target in fuzz.targets]
    found = fuzz.go(range(20))
    assert found.wrong
    assert all(told in one and f"of seed {SEED}" in one for one in found.wrong)


def test_a_result_that_is_lost_with_another_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test makes the reader reject every line."""
    fuzz = Fuzz(tmp_path, SEED)
    monkeypatch.setattr(check_folder, "mistake", lambda line: "is none")
    monkeypatch.setattr("conformance.execution.journal.mistake", lambda line: "is none")
    assert any("was damaged" in one or "Unreadable" in one for one in fuzz.go(range(60)).wrong)
