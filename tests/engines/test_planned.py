"""What a cell is expected to hold, and how far it has come: from what is written down, never from its name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from conformance.adapters.base import Device
from conformance.checks.catalogue import Case
from conformance.checks.outcomes import Outcome
from conformance.engines import cells, records, running
from conformance.engines.model import Cell, Older
from conformance.engines.records import Counts
from conformance.execution.results import Result
from conformance.protocols.clauses import Level

ONE, TWO = "a.a/numpy-torch/dlpack/host", "a.a/torch-numpy/dlpack/host"
TRIAL = "a.a/numpy-reference/dlpack/host"


@pytest.mark.parametrize(
    ("arguments", "held"),
    [
        ((), {"numpy": "numpy", "torch": "torch", "cuda_python": "cuda_bindings"}),
        (("--family", "layout"), {"numpy": "numpy", "torch": "torch", "cuda_python": "cuda_bindings"}),
        (("--between", "numpy,torch"), {"numpy": "numpy", "torch": "torch"}),
        (("--between=cuda_python, torch", "--tier", "quick"), {"torch": "torch", "cuda_python": "cuda_bindings"}),
        (("--betw", "torch"), {"torch": "torch"}),
        (("--between", "numpy", "--between", "torch"), {"torch": "torch"}),
    ],
)
def test_what_was_not_asked_for_need_not_be_there(arguments: Sequence[str], held: dict[str, str]) -> None:
    """With `--between` a cell looks at some of its libraries alone."""
    holds = {"numpy": "numpy", "torch": "torch", "cuda_python": "cuda_bindings"}
    (found,) = cells.only([Cell("one", axes={"numpy": "2.5"}, holds=holds)], arguments)
    assert (found.holds, found.axes) == (held, {"numpy": "2.5"})


def test_a_cell_reads_back_as_it_was() -> None:
    """With its axes; one without them was written by an older suite."""
    cell = Cell("one", axes={"numpy": "2.5"}, holds={"numpy": "numpy"})
    assert Cell.from_json(json.loads(json.dumps(cell.to_json()))) == cell
    for part in ("axes", "holds"):
        with pytest.raises(Older):
            Cell.from_json({name: value for name, value in cell.to_json().items() if name != part})


def result(id: str, outcome: Outcome) -> dict[str, Any]:
    """One result as a run writes it."""
    name, libraries, protocol, device = id.split("/")
    producer, consumer = libraries.split("-")
    return Result(Case(name, producer, consumer, protocol, Device(device)), outcome, Level.MUST).to_json()


def ran(folder: Path, *ids: str) -> Path:
    """Two planned cases, and a journal in which these have passed."""
    plan = ({"id": id} for id in (ONE, TWO))
    ends = ({"event": "end", "result": result(id, Outcome.PASS)} for id in ids)
    (folder / records.PLAN).write_text("".join(json.dumps(line) + "\n" for line in plan))
    (folder / records.JOURNAL).write_text("".join(json.dumps(line) + "\n" for line in ends))
    return folder


def test_cases_that_only_tell_who_is_accused_are_no_part_of_the_progress(tmp_path: Path) -> None:
    """They were not planned, and more than everything cannot be done."""
    counts = Counts(ran(tmp_path, ONE, TRIAL, TWO))
    counts.update()
    assert (counts.done, counts.planned, counts.verdicts) == (2, 2, Counter({"conforms": 2}))
    found = records.ended(tmp_path)
    assert (found.done, found.planned, found.verdicts) == (2, 2, Counter({"conforms": 2}))


def test_what_a_cell_has_come_to_is_told_without_its_journal(tmp_path: Path) -> None:
    """As whoever merges the run is told; nothing is told of what cannot be read."""
    ran(tmp_path, ONE)
    (tmp_path / records.JOURNAL).unlink()
    lines = (json.dumps(result(id, Outcome.CRASH)) + "\n" for id in (ONE, TWO))
    (tmp_path / records.RESULTS).write_text("".join(lines))
    assert records.ended(tmp_path).verdicts == Counter({"violates": 2})
    assert running.has_begun(tmp_path)
    (tmp_path / records.RESULTS).write_text("no results\n")
    assert (records.ended(tmp_path).done, records.ended(tmp_path).planned) == (0, 0)


def test_a_cell_that_has_left_a_plan_alone_begins_anew(tmp_path: Path) -> None:
    """There is nothing to go on with."""
    ran(tmp_path)
    assert running.has_begun(tmp_path)
    (tmp_path / records.JOURNAL).unlink()
    assert not running.has_begun(tmp_path)
