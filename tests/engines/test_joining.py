"""Runs over cells put into one: what was planned is in it, and nothing is chosen silently."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.engines import joining, records
from conformance.engines.model import Bounds, Candidate, Cell, Ending, Lifecycle
from conformance.engines.records import Record, Run
from conformance.exits import UserError

A, B, C = Cell("a"), Cell("b"), Cell("c", problem="no solution", unresolvable=True)


def ran(folder: Path, *cells: Cell) -> Path:
    """A run that has brought these cells."""
    folder.mkdir()
    run = Run("id", "", "docker", "because", "none", Bounds(), (), cells)
    records.write(folder / records.RUN, run.to_json())
    for cell in cells:
        (folder / cell.name).mkdir()
        record = Record(cell, Ending(Lifecycle.DONE, "complete", 0), {"engine": "docker"})
        records.write(folder / cell.name / records.CELL, record.to_json())
        (folder / cell.name / records.RESULTS).write_text(f'{{"id": "of {cell.name}"}}\n')
    return folder


def test_every_planned_cell_is_there_with_its_results(tmp_path: Path) -> None:
    """Each from the run that has it; the plan names them all."""
    runs = [ran(tmp_path / "1", A), ran(tmp_path / "2", B)]
    run, found = joining.join(runs, (A, B), "nightly", tmp_path / "out")
    assert [record.ending.lifecycle for record in found] == [Lifecycle.DONE, Lifecycle.DONE]
    assert records.read_run(tmp_path / "out") == run
    assert [cell.name for cell in run.cells] == ["a", "b"]
    assert json.loads((tmp_path / "out" / "b" / records.RESULTS).read_text())["id"] == "of b"


def test_a_cell_that_nobody_has_brought_is_not_run(tmp_path: Path) -> None:
    """Unless it cannot be resolved, which the plan knows. Both are written down."""
    _, found = joining.join([ran(tmp_path / "1", A)], (A, B, C), "nightly", tmp_path / "out")
    assert [record.ending.lifecycle for record in found] == [Lifecycle.DONE, Lifecycle.NOT_RUN, Lifecycle.UNRESOLVABLE]
    assert [records.read_record(tmp_path / "out", cell).ending for cell in (B, C)] == [r.ending for r in found[1:]]


def test_two_results_of_a_cell_and_cells_that_were_not_planned_are_mistakes(tmp_path: Path) -> None:
    """All at once, and nothing is written."""
    runs = [ran(tmp_path / "1", A), ran(tmp_path / "2", A, B)]
    with pytest.raises(UserError) as told:
        joining.join(runs, (A,), "nightly", tmp_path / "out")
    first, second = str(told.value).splitlines()
    assert f"a is in {tmp_path / '1'} and in {tmp_path / '2'}" in first
    assert "has the cell b, which is not planned" in second
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """Joining makes a new one."""
    with pytest.raises(UserError, match="choose a folder that is not there yet"):
        joining.join([ran(tmp_path / "1", A)], (A,), "smoke", tmp_path / "1")


def test_runs_that_were_not_given_the_same_are_not_joined(tmp_path: Path) -> None:
    """A cell that was run without the candidate would pass for one that does not hold it."""
    first, second = ran(tmp_path / "1", A), ran(tmp_path / "2", B)
    for folder, wheel in ((first, "/there/x.whl"), (second, "/here/x.whl")):
        run = replace(records.read_run(folder), asked=(f"x={wheel}",))
        records.write(folder / records.RUN, run.to_json())
    joining.join([first, second], (A, B), "nightly", tmp_path / "out")
    records.write(second / records.RUN, replace(records.read_run(second), asked=()).to_json())
    with pytest.raises(UserError, match="not given the same --candidate"):
        joining.join([first, second], (A, B), "nightly", tmp_path / "other")


def test_a_joined_cell_keeps_its_candidate(tmp_path: Path) -> None:
    """In the plan too, which is made anew."""
    candidate = Candidate("x", "2", "x.whl", "0" * 64, "x==2", "1")
    run, _ = joining.join([ran(tmp_path / "1", replace(A, candidates=(candidate,)))], (A,), "", tmp_path / "out")
    assert [cell.candidates for cell in run.cells] == [(candidate,)]
