"""Settings: all invalid values in options and variables are reported at once, each in one sentence."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

import pytest
from conftest import Command

import conformance as package
from conformance import settings
from conformance.exits import Exit, UserError

NO_SECONDS = ("", "nan", "inf", "-inf", "-1", "0", "1e300", "9" * 400, "²", "١٢", "1_0", " 1", "1s", "\udcff")
NO_COUNTS = ("", "0", "-2", "²", "١٢", "1_0", "1.5", "1e3", "nan", "9" * 5000, "\udcff")


@pytest.mark.parametrize("text", NO_SECONDS)
def test_what_is_no_time_is_a_mistake(text: str) -> None:
    """The message has the name of the option and the text."""
    found = settings.seconds("--deadline")(text)
    assert isinstance(found, settings.Mistake)
    assert found.text.startswith(f"--deadline: {text!r} is not a timeout; give seconds")


@pytest.mark.parametrize("text", NO_COUNTS)
def test_what_is_no_number_of_processes_is_a_mistake(text: str) -> None:
    """Only ASCII digits are accepted."""
    found = settings.count("-n", "processes", auto=True)(text)
    assert isinstance(found, settings.Mistake)
    assert "is not a number of processes; give 1 to 1000, or auto" in found.text


@pytest.mark.parametrize(("text", "found"), [("1", 1.0), ("0.5", 0.5), ("1e3", 1000.0), ("1000000", 1e6)])
def test_times_are_read(text: str, found: float) -> None:
    """Fractions and exponents are accepted."""
    assert settings.seconds("--limit")(text) == found


def test_numbers_are_read() -> None:
    """The word ``auto`` leaves the choice to the suite."""
    read = settings.count("-n", "processes", auto=True)
    assert (read("1"), read("1000"), read("auto")) == (1, 1000, None)
    assert isinstance(settings.count("--jobs", "builds")("auto"), settings.Mistake)


def test_all_mistakes_are_told_at_once() -> None:
    """Mistakes in options and in variables are reported together."""
    options = argparse.Namespace(limit=settings.seconds("--limit")("nan"), processes=3)
    around = {"CONFORMANCE_DEADLINE": "soon", "CONFORMANCE_BUILD_OPTIONS": "'open", "CONFORMANCE_SIMULATE": "yes"}
    with pytest.raises(UserError) as told:
        settings.check(options, around)
    names = [line.partition(":")[0] for line in str(told.value).splitlines()]
    assert names == ["--limit", "CONFORMANCE_BUILD_OPTIONS", "CONFORMANCE_DEADLINE", "CONFORMANCE_SIMULATE"]


def test_settings_that_can_be_used_are_no_mistakes() -> None:
    """A variable of another program is ignored."""
    settings.check(argparse.Namespace(limit=1.0), {"CONFORMANCE_DEADLINE": "3", "PATH": "nan"})


def test_a_variable_that_nobody_reads_is_told() -> None:
    """The message suggests a similar name."""
    around = {"CONFORMANCE_DEADLNE": "3", "CONFORMANCE_SEED": "x", "CONFORMANCE_DEADLINE": "3", "CONFORMANCE_": ""}
    _, typo, seed = settings.not_ours(around)
    assert (
        typo == "CONFORMANCE_DEADLNE is ignored: it is not a setting of the suite; did you mean CONFORMANCE_DEADLINE?"
    )
    assert (
        seed
        == "CONFORMANCE_SEED is ignored: the suite sets it for its own processes; --seed changes the order of the cases"
    )


def test_what_the_suite_sets_for_its_own_processes_is_not_taken_from_the_user() -> None:
    """The variable is removed before any process starts."""
    around = {**dict.fromkeys(settings.OF_OURS, "/tmp"), "CONFORMANCE_DEADLINE": "3"}
    settings.forget_ours(around)
    assert around == {"CONFORMANCE_DEADLINE": "3"}


def test_every_variable_of_the_suite_is_known() -> None:
    """An unknown variable would be reported to the user as a mistake."""
    sources = Path(package.__file__).parent.rglob("*.py")
    named = {name for path in sources for name in re.findall(r'"(CONFORMANCE_[A-Z_]*)"', path.read_text())}
    assert named - {settings.PREFIX} == settings.OF_THE_USER.keys() | settings.OF_OURS.keys()


def test_mistakes_in_options_and_variables_are_told_together(conformance: Command) -> None:
    """The command ends with exit code 2 and without a traceback."""
    done = conformance(
        "check", "-n", "²", "--deadline", "nan", "--limit", "-1", CONFORMANCE_DEADLINE="", CONFORMANCE_ENGIN="x"
    )
    assert (done.code, len(done.stderr.splitlines())) == (Exit.USAGE, 4), done.stderr
    assert [word in done.stderr for word in ("-n: ", "--timeout: ", "--limit: ", "CONFORMANCE_DEADLINE: ")] == [
        True
    ] * 4


@pytest.mark.parametrize("columns", ["1", "0", "-5", "²", "wide", "9" * 30, ""])
def test_no_width_of_the_terminal_is_too_odd(columns: str, conformance: Command) -> None:
    """A user's shell may export such a value."""
    done = conformance("list", "--between", "reference", "--family", "pointer", COLUMNS=columns)
    assert (done.code, "Traceback" in done.stderr) == (Exit.OK, False), done.stderr
    done = conformance("check", "--help", COLUMNS=columns)
    assert (done.code, done.stderr) == (Exit.OK, "")


def test_a_word_that_is_no_text_mixes_the_cases_as_well(conformance: Command) -> None:
    """An argument may contain any byte."""
    word = os.fsdecode(b"\xff")
    done = conformance(
        "check", "--between", "numpy", "--family", "pointer", "--tier", "quick", "--device", "host", "--seed", word
    )
    assert done.code == Exit.OK, done.stderr


def test_candidates_have_to_be_folders(tmp_path: Path) -> None:
    """Otherwise each library under test fails when its versions are read."""
    read = settings.OF_THE_USER["CONFORMANCE_CANDIDATES"]("CONFORMANCE_CANDIDATES")
    assert read(f"{tmp_path}{os.pathsep}{tmp_path}") == f"{tmp_path}{os.pathsep}{tmp_path}"
    found = read(f"{tmp_path}{os.pathsep}/nonexistent")
    assert isinstance(found, settings.Mistake)
    assert found.text.startswith("CONFORMANCE_CANDIDATES: '/nonexistent' is not a folder")
