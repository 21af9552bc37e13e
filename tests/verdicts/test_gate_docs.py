"""What docs/gate.md says is so."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

import conformance
from conformance.suite.catalogue import catalogue
from conformance.verdict import Verdict
from conformance.verdicts import waiver_file
from conformance.verdicts.comparing import CHANGE
from conformance.verdicts.remarks import Kind

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
    columns = [(s,) for s in (Verdict.CONFORMS, Verdict.REFUSED, Verdict.OBSERVED, Verdict.DEVIATES, Verdict.VIOLATES)]
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


def test_the_example_of_a_waiver_can_be_read(tmp_path: Path) -> None:
    """With the invariants that there are."""
    assert PAGE
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "waivers.yaml").write_text(example)
    (found,) = waiver_file.read(tmp_path / "waivers.yaml", catalogue(), date(2026, 11, 22))
    assert set(waiver_file.KEYS) == set(re.findall(r"^(?:- |  )([a-z]+):", example, re.MULTILINE))
    assert found.id == "torch-bool"
