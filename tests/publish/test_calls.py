"""The tables of calls of a run: in Markdown, and in the content of the page."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from typing import Any

import pytest

from conformance.checks.call_table import HEADING, LEGEND
from conformance.reports.markdown import markdown
from conformance.reports.page import page
from conformance.reports.page.content import packed
from conformance.reports.run_call_tables import call_tables
from conformance.reports.subject import Subject
from conformance.runs.model import RunFile

from .samples import HOSTILE, SMALL

OLD = {"host/torch.as_tensor/numpy": "shares", "cuda/torch.as_tensor/cupy": "through the host"}
NEW = {"cuda/torch.as_tensor/cupy": "shares", "cuda/torch.as_tensor/pycuda": "", "cuda/cupy.asarray/pycuda": "refuses"}


def with_calls(*told: dict[str, str]) -> RunFile:
    """The small run, whose first cells have these tables of calls."""
    cells = [replace(cell, calls=calls) for cell, calls in zip(SMALL.cells, told)]
    return replace(SMALL, cells=(*cells, *SMALL.cells[len(cells) :]))


def document(run: RunFile) -> Any:
    """The JSON document of the page: behind its length, in seven bits a byte."""
    whole = zlib.decompress(packed(Subject(run)))
    start = next(at for at, byte in enumerate(whole) if byte < 128) + 1
    length = sum((byte & 127) << (7 * place) for place, byte in enumerate(whole[:start]))
    return json.loads(whole[start : start + length])


def test_cells_that_show_the_same_have_one_table() -> None:
    """The table of most cells comes first; a device has a table of its own, and what was not tried has no word."""
    found = call_tables(with_calls(NEW, OLD, OLD))
    first, second, third = (cell.title for cell in SMALL.cells[:3])
    assert [(table.titles, table.device) for table in found] == [
        ((second, third), "host"),
        ((second, third), "cuda"),
        ((first,), "cuda"),
    ]
    assert found[1].rows == (("torch.as_tensor", ("host",)),)
    assert found[2].producers == ("cupy", "pycuda")
    assert found[2].rows == (("torch.as_tensor", ("shares", "?")), ("cupy.asarray", ("–", "refuses")))


def test_the_summary_has_the_tables() -> None:
    """With the cells that each is of, and the words explained."""
    text = markdown(Subject(with_calls(OLD, NEW)))
    assert f"## {HEADING}" in text
    assert "| on cuda | cupy | pycuda |\n|---|---|---|\n" in text
    assert "| shares | ? |\n" in text
    assert "not decided" in text[text.index(HEADING) :]
    for cell in SMALL.cells[:2]:
        assert cell.title.replace(".", "&#46;") in text[text.index(HEADING) :]


def test_the_page_has_the_tables() -> None:
    """As rows that its script only has to write down."""
    run = with_calls(NEW)
    content = document(run)
    assert content["calls"] == [
        [[SMALL.cells[0].title], "cuda", ["cupy", "pycuda"], [["torch.as_tensor", "shares", "?"], ["cupy.asarray", "–", "refuses"]]]
    ]  # fmt: skip
    assert content["callsLegend"] == LEGEND.split("   ")
    assert "callTables" in page(Subject(run))


@pytest.mark.parametrize("run", [SMALL, with_calls({})], ids=("none", "empty"))
def test_a_run_without_calls_has_no_table(run: RunFile) -> None:
    """No heading, no view."""
    assert HEADING not in markdown(Subject(run))
    assert document(run)["calls"] == []


def test_text_from_outside_is_no_markup() -> None:
    """A run file may come from anybody: words in it that no table has are not decided, keys in another form are left out."""
    run = with_calls({f"cuda/{HOSTILE}/cupy": HOSTILE, "no place": "shares"})
    text = markdown(Subject(run))
    assert "<script" not in text.lower()
    (table,) = call_tables(run)
    assert [words for _, words in table.rows] == [("?",)]
