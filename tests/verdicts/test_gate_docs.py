"""What docs/gate.md says is so."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

import conformance
from conformance.checks.catalogue import catalogue
from conformance.console.screen import Screen
from conformance.gate import display, judgement, waiver_file
from conformance.gate.compare import CHANGE
from conformance.runs.remarks import Judgement, Kind
from conformance.verdict import Verdict

from .gates import A, B, present, run

PAGES = [root / "docs" / "gate.md" for root in (Path(conformance.__file__).parents[1], Path.cwd())]
PAGE = next((page for page in PAGES if page.is_file()), None)
pytestmark = pytest.mark.skipif(PAGE is None, reason="the docs lie in a checkout only")


def rows(first: str) -> list[list[str]]:
    """The cells of the table whose head begins so, without its head."""
    assert PAGE
    lines = PAGE.read_text(encoding="utf-8").split("\n")
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first}"))
    table = lines[start + 2 : lines.index("", start)]
    return [[cell.strip(" *") for cell in row.strip("|").split("|")] for row in table]


def test_the_table_of_changes_is_the_one_in_the_code() -> None:
    """Verdict by state."""
    assert PAGE
    (head,) = [line for line in PAGE.read_text(encoding="utf-8").split("\n") if line.startswith("| before")]
    words = [word.strip() for word in head.strip("|").split("|")][1:-1]
    columns = [(Verdict(word),) for word in words]
    assert {*words, Verdict.UNDECIDED.word, Verdict.LOST.word} == {verdict.word for verdict in Verdict}
    for row in rows("before"):
        words = row[0].split(", ")
        for before in (state for state in Verdict if state.word in words):
            for told, states in zip(row[1:], [*columns, (Verdict.UNDECIDED, Verdict.LOST)]):
                kinds = {CHANGE[before][now] for now in states}
                assert {kind.word if kind else "" for kind in kinds} == {told.removesuffix(" (better)")}, (
                    before,
                    states,
                )
    assert {word for row in rows("before") for word in row[0].split(", ")} == {*(s.word for s in Verdict), "not there"}


def test_the_table_of_exit_codes_is_the_one_in_the_code() -> None:
    """Worst first."""
    told = {word: int(row[0]) for row in rows("code") for word in row[1].split(", ")}
    assert told == {kind.word: int(kind.exit) for kind in Kind}
    assert list(told.values()) == sorted(told.values(), reverse=True)


def blocks(language: str) -> list[str]:
    """The examples of the page in this language."""
    assert PAGE
    every = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [text for said, text in every if said == language]


def test_the_examples_of_waivers_can_be_read(tmp_path: Path) -> None:
    """With the invariants that there are: one by its finding, and the other way to say what a waiver is for in its place."""
    first, other = blocks("yaml")
    second = re.sub(r"^  finding: .*\n", other, first, flags=re.MULTILINE)
    assert "finding" not in second
    read = []
    for text in (first, second):
        (tmp_path / "waivers.yaml").write_text(text)
        read += waiver_file.read(tmp_path / "waivers.yaml", catalogue(), date(2026, 11, 22))
    assert set(waiver_file.KEYS) == set(re.findall(r"^(?:- |  )([a-z]+):", first + other, re.MULTILINE))
    assert [found.id for found in read] == ["torch-bool"] * 2
    assert (read[0].finding, read[1].codes) == (example().findings[0].id, ("dtype-changed",))
    assert {row[0] for row in rows("key")} == {f"`{key}`" for key in waiver_file.KEYS if key not in PAIRED} | PAIRS


PAIRS = {"`owner`, `reason`, `link`", "`opened`, `expires`"}
PAIRED = {key for pair in PAIRS for key in re.findall("[a-z]+", pair)}
"""Keys that have a row of the table together."""


def example() -> Judgement:
    """The run that the page shows: bool is not what it was in five cells, and in the sixth torch could not be built."""
    tested = ("newest-12", "newest-13", "oldest-12", "oldest-13", "smoke-13")
    before = run({**{name: {B: "c", A: "v"} for name in tested}, "smoke-12": {B: "c", A: "v"}}, id="a1b2c3d4")
    now = run(
        {**{name: {B: "v", A: "v"} for name in tested}, "smoke-12": "build failed"},
        id="e5f6a7b8", reason="no wheel of torch",
    )  # fmt: skip
    bool_, plain = (now.evidence[0]._replace(given=given) for given in ("an array of bool", ""))
    other = plain._replace(code="strides-changed", reason="the strides changed", expected="(1,)", seen="(4,)")
    cells = (replace(cell, evidence=(0, 1) if cell.states else ()) for cell in now.cells)
    return judgement.judge(replace(now, evidence=(bool_, other), cells=tuple(cells)), before, (), present(*tested))


def test_the_example_of_what_is_printed_is_what_is_printed() -> None:
    """On a terminal of 80 columns."""
    stream = io.StringIO()
    display.show(Screen(stream, 80, False), example(), verbose=False)
    assert stream.getvalue() in blocks("")
