"""What a cell ran is told by digests: they change when, and only when, results may."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from conformance.engines import digests, records
from conformance.engines.here import Here
from conformance.engines.model import Bounds, Cell, Ending, Lifecycle
from conformance.engines.records import Record, Run
from conformance.engines.running import Runner
from conformance.engines.stops import Stops

from .test_conform import Bench, bench, pytestmark, schema  # noqa: F401

A, B = "a" * 64, "b" * 64


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with a file in each part that decides results, and one beside them."""
    for part in (*digests.DECIDES, "report"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "module.py").write_text(part)
    return tmp_path


def test_the_suite_has_another_digest_when_a_file_that_decides_results_changes(package: Path) -> None:
    """By content, by name, by being there; a compiled file and a report decide nothing."""
    before = digests.of_suite(package)
    (package / "report" / "module.py").write_text("other")
    (package / "suite" / "__pycache__").mkdir()
    (package / "suite" / "__pycache__" / "module.pyc").write_bytes(b"compiled")
    assert digests.of_suite(package) == before
    found = {before}
    (package / "suite" / "module.py").write_text("other")
    found.add(digests.of_suite(package))
    (package / "suite" / "module.py").rename(package / "suite" / "another.py")
    found.add(digests.of_suite(package))
    shutil.rmtree(package / "cuda")
    found.add(digests.of_suite(package))
    assert len(found) == 4


def test_every_part_of_a_cell_that_was_run_by_something_else_is_named() -> None:
    """Whatever the order, and once."""
    assert digests.joined({}, {"suite": A}) == {"suite": A}
    assert digests.joined({"suite": A, "lock": B}, {"suite": A}) == {"suite": A, "lock": B}
    both = digests.joined({"suite": B}, {"suite": A})
    assert both == {"suite": f"{A}+{B}"}
    assert digests.joined(both, {"suite": B}) == both


def test_a_cell_records_what_it_ran_and_what_it_brought(bench: Bench) -> None:  # noqa: F811
    """The image by the engine's id of it."""
    done = bench.conform("--cells", "smoke-12")
    (record,) = done.records.values()
    (cell,) = done.plan["cells"]
    jsonschema.validate(record, schema("cell"))
    found = record["digests"]
    assert found["suite"] == digests.of_suite()
    assert found["lock"] == digests.of_file(Path(cell["lock"]))
    assert found["results"] == hashlib.sha256((bench.out / cell["name"] / records.RESULTS).read_bytes()).hexdigest()
    assert found["image key"] == record["ran_in"]["image"]
    assert found["image"]


@pytest.mark.parametrize(("begun", "parts"), [(True, {A, "now"}), (False, {"now"})])
def test_a_part_of_an_earlier_suite_is_told_only_where_it_is_gone_on_with(
    tmp_path: Path, begun: bool, parts: set[str]
) -> None:
    """A start that left nothing has no part in the results."""
    cell = Cell("one")
    folder = tmp_path / cell.name
    folder.mkdir()
    if begun:
        (folder / records.PLAN).write_text("")
        (folder / records.JOURNAL).write_text("")
    earlier = Record(cell, Ending(Lifecycle.KILLED, "killed"), digests={"suite": A})
    records.write(folder / records.CELL, earlier.to_json())
    run = Run("id", "", "here", "because", "none", Bounds(), ("--no-such-option",), (cell,))
    silent = Runner(run, tmp_path, Here("none"), 1, lambda _: None, lambda _: None, lambda _: None, Stops())
    silent.go()
    found = json.loads((folder / records.CELL).read_text())["digests"]["suite"]
    assert set(found.split("+")) == {digests.of_suite() if part == "now" else part for part in parts}


def test_a_record_without_digests_is_read(tmp_path: Path) -> None:
    """Runs of earlier versions have none."""
    cell = Cell("one")
    (tmp_path / "one").mkdir()
    data = Record(cell, Ending(Lifecycle.DONE, "complete", 0)).to_json()
    del data["digests"]
    records.write(tmp_path / "one" / records.CELL, data)
    assert records.read_record(tmp_path, cell).digests == {}
