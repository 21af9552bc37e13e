"""The history is only ever added to, and tells since when a case fails and whether it flaps."""

from __future__ import annotations

import io
import json
import os
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.console.screen import Screen
from conformance.exits import UserError
from conformance.gate import history_display
from conformance.runs import history
from conformance.runs.model import RunFile
from conformance.verdict import Verdict

from .gates import CANARIES, CRASHES, A, B, D, run

entry = partial(history.entry, canaries={})
append = partial(history.append, canaries={})


def on_day(day: int, letters: str | dict[str, str], name: str = "one", **more: Any) -> RunFile:
    """The run of a day."""
    return run({name: letters}, id=f"run-{day}", began=f"2026-11-{day:02}T10:00:00+00:00", **more)


def entries(*letters: str) -> list[history.Entry]:
    """A run a day, in which ``A`` always fails and ``B`` is as these letters say; ``-`` is not planned."""
    return one_after_the_other(*({A: "v", **({B: letter} if letter != "-" else {})} for letter in letters))


def one_after_the_other(*planned: dict[str, str]) -> list[history.Entry]:
    """A run a day, as a file has them."""
    made: list[history.Entry] = []
    for day, letters in enumerate(planned, 1):
        made.append(entry(on_day(day, letters), earlier=made))
    return made


cases = st.dictionaries(st.sampled_from([A, B, D]), st.sampled_from("crodbvulxyw"), min_size=1)
runs = st.dictionaries(st.sampled_from(["one", "two"]), cases | st.sampled_from(["not run", "unresolvable"])).map(run)


@settings(deadline=None)
@given(runs)
def test_a_line_says_what_was_written(one: RunFile) -> None:
    """Everything that did not conform, in every cell; and it keeps to its schema."""
    made = entry(one)
    line = json.loads(json.dumps(history.to_json(made)))
    assert history.from_json(line) == made
    schema = json.loads(resources.files("conformance.runs").joinpath("schemas", "history.schema.json").read_text())
    jsonschema.validate(line, schema)
    for cell in one.cells:
        assert made.found(cell.name) == {found.case: found.verdict for found in one.found(cell)}


def test_runs_are_added_and_earlier_lines_stay_as_they_are(tmp_path: Path) -> None:
    """To the byte."""
    path = tmp_path / "history.jsonl"
    assert append(path, on_day(1, {A: "c"})) == (True, ())
    before = path.read_bytes()
    assert append(path, on_day(2, {A: "v"})) == (True, ())
    assert path.read_bytes().startswith(before)
    assert [one.id for one in history.read(path).entries] == ["run-1", "run-2"]


def test_a_run_is_added_once(tmp_path: Path) -> None:
    """The second time nothing happens, and it says so."""
    path = tmp_path / "history.jsonl"
    append(path, on_day(1, {A: "c"}))
    before = path.read_bytes()
    assert append(path, on_day(1, {A: "c"})) == (False, ())
    assert path.read_bytes() == before


def test_a_torn_last_line_is_passed_over_and_the_next_run_begins_a_line(tmp_path: Path) -> None:
    """What its writer could not end is left as it is, and told."""
    path = tmp_path / "history.jsonl"
    append(path, on_day(1, {A: "c"}))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    found = history.read(path)
    assert [one.id for one in found.entries] == ["run-1"]
    assert f"{path}:2: skipped an incomplete last line" in found.complaints[0]
    added, complaints = append(path, on_day(2, {A: "c"}))
    assert (added, len(complaints)) == (True, 1)
    again = history.read(path)
    assert [one.id for one in again.entries] == ["run-1", "run-2"]
    assert f"{path}:2: skipped a line that is not a run" in again.complaints[0]


LINE = history.to_json(entry(on_day(1, {A: "c", B: "v"})))
CELL = LINE["cells"]["one"]


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "null",
        "[]",
        '"x"',
        '{"format": "conformance-history/2"}',
        "\x00",
        "[" * 100_000,
        *(json.dumps({**LINE, name: None}) for name in LINE),
        *(json.dumps({**LINE, "cells": {"one": {**CELL, name: ["x"]}}}) for name in CELL),
        json.dumps({**LINE, "cases": [5]}),
    ],
)
def test_a_line_that_is_no_run_is_passed_over_and_told(tmp_path: Path, line: str) -> None:
    """With its number; the others count."""
    path = tmp_path / "history.jsonl"
    append(path, on_day(1, {A: "c"}))
    path.write_text(line + "\n" + path.read_text())
    found = history.read(path)
    assert ([one.id for one in found.entries], len(found.complaints)) == (["run-1"], 1)
    assert f"{path}:1: " in found.complaints[0]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (None, True), ("", True), ("\n", True), (json.dumps(LINE) + "\n", True),
        (json.dumps(LINE)[:99], True), ("{}\n" + json.dumps(LINE) + "\n", True),
        ("{}\n", False), ("text", False), ('{"format": "conformance-run/1"}\n', False), ("\x00" * 99, False),
    ],
)  # fmt: skip
def test_a_file_that_is_no_history_is_told_from_one_that_was_damaged(
    content: str | None, wanted: bool, tmp_path: Path
) -> None:
    """To that a run can still be added."""
    path = tmp_path / "history.jsonl"
    if content is not None:
        path.write_text(content)
    assert history.is_one(path) is wanted


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """With the option."""
    with pytest.raises(UserError, match=r"--history: .* cannot be written"):
        append(tmp_path / "none" / "history.jsonl", on_day(1, {A: "c"}))


@pytest.mark.parametrize(
    ("letters", "failing", "since", "count", "flaps"),
    [
        ("v", True, "run-1", 1, 0),
        ("vvv", True, "run-1", 3, 0),
        ("cvv", True, "run-2", 2, 1),
        ("vcc", False, "run-2", 2, 1),
        ("cvcv", True, "run-4", 1, 3),
        ("vdv", True, "run-1", 3, 0),
        ("vuv", True, "run-1", 2, 0),
        ("vlv", True, "run-1", 2, 0),
        ("v-v", True, "run-1", 2, 0),
        ("vr", False, "run-2", 1, 1),
        ("vo", False, "run-2", 1, 1),
        ("cb", True, "run-2", 1, 1),
        ("vby", True, "run-1", 3, 0),
        ("v-c-v", True, "run-5", 1, 2),
    ],
)
def test_a_streak_is_since_when_and_how_often_it_changed(
    letters: str, failing: bool, since: str, count: int, flaps: int
) -> None:
    """A run that does not know says nothing, neither way."""
    found = history.streaks(entries(*letters))["one", B]
    assert (found.failing, found.since, found.runs, found.flaps) == (failing, since, count, flaps)
    assert found.began.startswith("2026-11-")


def test_what_was_mended_when_the_plan_changed_does_not_fail_any_more() -> None:
    """Every change of the suite is another plan, and says the same of the cases that both have."""
    old, new = {A: "v"}, {A: "c", D: "c"}
    told = one_after_the_other(old, new, new)
    mended = history.streaks(told)["one", A]
    assert (mended.failing, mended.since, mended.runs, mended.flaps) == (False, "run-2", 2, 1)
    again = history.streaks(one_after_the_other(old, new, new, old))["one", A]
    assert (again.failing, again.since, again.runs, again.flaps) == (True, "run-4", 1, 2)
    assert set(told[2].found("one")) == {A}, "what never failed is in no line"
    gone = history.streaks(one_after_the_other(old, {D: "c"}))["one", A]
    assert (gone.failing, gone.since, gone.runs) == (True, "run-1", 1), "a run that has not planned it says nothing"


def test_a_case_that_never_failed_has_no_streak() -> None:
    """Refused, observed and undecided is no failure."""
    assert set(history.streaks(entries("c", "r", "o", "u"))) == {("one", A)}


def test_runs_count_in_the_order_in_which_they_began() -> None:
    """Whenever they were added; of a run that was gone on with the last counts."""
    first, second = entries("c", "v")
    assert history.streaks([second, first])["one", B].since == "run-2"
    resumed = entry(on_day(2, {A: "v", B: "c"}))
    assert history.streaks([first, second, resumed]) == history.streaks([first, resumed])


def test_cells_are_their_own() -> None:
    """A failure in one says nothing of another, and one that was not run knows nothing."""
    told = [
        entry(on_day(1, {A: "v"}, "one")),
        entry(on_day(2, {A: "c"}, "two")),
        entry(on_day(3, "killed", "one")),
    ]
    assert {spot: streak.runs for spot, streak in history.streaks(told).items()} == {("one", A): 1}


def test_canaries_fail_for_nobody() -> None:
    """They were built to."""
    made = history.entry(on_day(1, {CRASHES: "x", A: "v"}), CANARIES)
    assert (made.found("one"), made.cells["one"].planned) == ({A: Verdict.VIOLATES}, 1)


def test_people_see_runs_what_flaps_and_what_fails() -> None:
    """A line for each run."""
    stream = io.StringIO()
    history_display.show(Screen(stream, 120, False), entries("c", "v", "c", "v"))
    text = stream.getvalue()
    assert "conforms" not in text, "what conforms is not counted, or only that would be which had failed before"
    assert [line.split()[1] for line in text.splitlines()[:4]] == ["run-1", "run-2", "run-3", "run-4"]
    assert f"{B} in one: 3 changes; fails since run run-4 (2026-11-04T10:00:00+00:00), 1 run" in text
    assert "since run run-1 (2026-11-01T10:00:00+00:00), 4 runs: 1 case" in text


@pytest.mark.parametrize("kind", ["FIFO", "device", "folder"])
def test_what_is_no_file_is_told_and_not_waited_for(kind: str, tmp_path: Path) -> None:
    """The history is neither read nor extended."""
    path = tmp_path / "history.jsonl"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(UserError, match=f"is a {kind}, not a file"):
        history.read(path)
    with pytest.raises(UserError, match="is in the place of this file"):
        append(path, on_day(1, {A: "v"}))


@pytest.mark.parametrize(
    "change",
    [
        {"cells": []},
        {"cells": {"one": {"lifecycle": "done", "plan": "", "planned": 1, "found": {"z": []}}}},
        {"cells": {"one": {"lifecycle": "done", "plan": "", "planned": 1, "found": {"v": [[0]]}}}},
        {"cells": {"one": {"lifecycle": "done", "plan": "", "planned": 1, "found": {"v": [[0, 1 << 40]]}}}},
        {"cells": {"one": {"lifecycle": "done", "plan": "", "planned": 1, "found": {"v": [[0, 1]] * 9}}}},
        {"began": None},
        {"cases": [5]},
    ],
)
def test_a_line_of_another_kind_costs_what_it_said_and_no_other(change: dict[str, object], tmp_path: Path) -> None:
    """The line is skipped, and the message has its number."""
    path = tmp_path / "history.jsonl"
    append(path, on_day(1, {A: "v"}))
    line = json.loads(path.read_text())
    path.write_text(json.dumps({**line, **change}) + "\n" + "[" * 100_000 + "\n" + json.dumps(line) + "\n")
    found = history.read(path)
    assert (len(found.entries), [told.partition(": ")[0] for told in found.complaints]) == (
        1,
        [f"{path}:1", f"{path}:2"],
    )
