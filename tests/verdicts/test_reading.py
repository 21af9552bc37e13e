"""Reading what `check` and `conform` have left, finished or not."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from conftest import Command, command_in
from libraries import install
from lines import ACCUSED, line, planned

from conformance import files
from conformance.engines import records
from conformance.engines.model import Bounds, Cell
from conformance.execution import check_folder
from conformance.exits import Exit, UserError
from conformance.gate import judgement
from conformance.runs import reader, run_file
from conformance.runs.remarks import Kind
from conformance.verdict import BY_LETTER, Verdict

from . import gates

CASE = "pointer.same-address/numpy-numpy/dlpack/host"


PLANNED: dict[str, object] = {"axes": {}, "holds": {}}
"""What each record of a cell has."""


def wrong(**more: object) -> str:
    """The line of a violation that says something else."""
    return json.dumps({**line(CASE, "fail", "violates"), **more}) + "\n"


def of_cell(**told: object) -> str:
    """A record with this in it."""
    return json.dumps({"lifecycle": "done", "reason": "", **PLANNED, **told})


def cell(folder: Path, plan: list[str], results: list[dict[str, object]] | None, **record: object) -> Path:
    """The files of one cell."""
    folder.mkdir(parents=True)
    (folder / "plan.jsonl").write_text("".join(json.dumps(planned(case)) + "\n" for case in plan))
    if results is not None:
        (folder / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in results))
    (folder / "cell.json").write_text(
        json.dumps({"lifecycle": "done", "reason": "", "starts": [], **PLANNED, **record})
    )
    return folder


def test_a_run_of_check_is_a_run_of_one_cell(conformance: Command, tmp_path: Path) -> None:
    """Every planned case has a letter; what was found in the environment is in it."""
    done = conformance("check", "--between", "numpy", "--family", "readonly", "--device", "host")
    assert done.code in (Exit.OK, Exit.VIOLATIONS)
    run = reader.load(done.out)
    (found,) = run.cells
    assert len(run.cases(found)) == len(found.states) == len(done.results)
    assert found.versions["numpy"]
    by_id = {r["id"]: r["verdict"] for r in done.results}
    assert {case: BY_LETTER[letter].word for case, letter in zip(run.cases(found), found.states)} == by_id
    assert found.libraries["numpy"] == {"numpy": found.versions["numpy"]}
    assert [run.evidence[f.evidence].reason for f in run.found(found)] == [
        r["reason"] for r in done.results if r["verdict"] != "conforms"
    ]


def test_what_calls_gave_is_kept_for_the_table_of_calls(tmp_path: Path) -> None:
    """Of cases that conform nothing else is. Other arrays, other types, and the reference have no part in the table."""
    told = {
        "native.as-protocol/numpy-torch/dlpack/host/torch.asarray/c-order": ("pass", "conforms", {"gives": "shares"}),
        "native.as-protocol/jax-torch/dlpack/host/torch.asarray/c-order": ("fail", "deviates", {"gives": "copies"}),
        "native.as-protocol/numpy-jax/dlpack/host/jax.numpy.asarray/c-order": ("refused", "refused", {}),
        "native.as-protocol/torch-jax/dlpack/host/jax.numpy.asarray/c-order": ("inconclusive", "not decided", {}),
        "native.as-protocol/torch-numpy/dlpack/host/numpy.asarray/c-order": ("crash", "violates", {}),
        "native.as-protocol/numpy-torch/dlpack/host/torch.asarray/stepped": ("pass", "conforms", {"gives": "copies"}),
        "native.as-protocol/numpy-torch/dlpack/host/torch.asarray/c-order/bool": ("pass", "conforms", {"gives": "copies"}),
        "native.as-protocol/reference-torch/dlpack/host/torch.asarray/c-order": ("pass", "conforms", {"gives": "copies"}),
    }  # fmt: skip
    lines = [{**line(case, outcome, verdict), "attachments": notes} for case, (outcome, verdict, notes) in told.items()]
    folder = cell(tmp_path / "one", list(told), lines)
    run = reader.load(folder)
    assert run.cells[0].calls == {
        "host/torch.asarray/numpy": "shares",
        "host/torch.asarray/jax": "broken",
        "host/jax.numpy.asarray/numpy": "refuses",
        "host/jax.numpy.asarray/torch": "",
        "host/numpy.asarray/torch": "broken",
    }
    run_file.write(run, tmp_path / "run.json")
    assert run_file.read(tmp_path / "run.json") == run


def test_a_run_without_a_table_of_calls_is_written_as_ever(tmp_path: Path) -> None:
    """So a run file of an earlier version keeps its digest."""
    run = reader.load(cell(tmp_path / "one", [CASE], [line(CASE)]))
    (written,) = run_file.to_json(run)["cells"]
    assert "calls" not in written
    assert run_file.from_json(run_file.to_json(run)) == run


def test_runs_of_one_plan_have_ids_of_their_own(tmp_path: Path) -> None:
    """Or a run beside its baseline would seem to be compared with itself. One that is read again has the same."""
    ids = []
    for began in (1795353758.5, 1795440158.5):
        folder = cell(tmp_path / f"{began}", ["a.a/x-y/cai/host"], [line("a.a/x-y/cai/host")])
        (folder / "journal.jsonl").write_text(json.dumps({"event": "begin", "at": began}) + "\n")
        (folder / "cell.json").unlink()
        ids += [reader.load(folder).id, reader.load(folder).id]
    assert (ids[0], ids[2]) == (ids[1], ids[3])
    assert ids[0] != ids[2]


def test_a_case_without_an_outcome_is_lost(tmp_path: Path) -> None:
    """It was planned."""
    folder = cell(tmp_path / "cell", ["a.a/x-y/cai/host", "a.b/x-y/cai/host"], [line("a.a/x-y/cai/host")])
    run = reader.load(folder)
    assert run.cells[0].states == "cl"
    assert [(f.case, f.verdict) for f in run.found(run.cells[0])] == [("a.b/x-y/cai/host", Verdict.LOST)]


def test_a_cell_that_did_not_come_to_its_end_is_read_from_its_journal(tmp_path: Path) -> None:
    """The last word on each case counts; a line that was cut off is none."""
    plan = ["a.a/x-y/cai/host", "a.b/x-y/cai/host"]
    folder = cell(tmp_path / "cell", plan, None, lifecycle="killed", reason="somebody killed it")
    ends = [
        {"event": "end", "result": line(plan[0], "crash", "violates", reason="SIGSEGV", accused=None)},
        {"event": "end", "result": line(plan[0])},
    ]
    torn = json.dumps({"event": "end", "result": line(plan[1])})[:-9]
    (folder / "journal.jsonl").write_text("".join(json.dumps(end) + "\n" for end in ends) + torn)
    assert reader.load(folder).cells[0].states == "cl"


def test_a_result_that_was_not_planned_is_a_mistake(tmp_path: Path) -> None:
    """Results and plan belong together."""
    folder = cell(tmp_path / "cell", ["a.a/x-y/cai/host"], [line("a.b/x-y/cai/host")])
    with pytest.raises(UserError, match=r"a\.b/x-y/cai/host, which is not in the plan"):
        reader.load(folder)


def test_a_folder_without_a_run_is_a_sentence(tmp_path: Path) -> None:
    """Empty or not there."""
    with pytest.raises(UserError, match="holds no run"):
        reader.load(tmp_path)
    with pytest.raises(UserError, match="holds nothing"):
        reader.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("results.jsonl", "{}\n", "line 1 of results.jsonl is not a result: it has no 'id'"),
        ("plan.jsonl", "plan\n", "line 1 of plan.jsonl is not valid JSON"),
        ("cell.json", "", "cell.json is not valid JSON (Expecting value: line 1 column 1 (char 0))"),
        ("cell.json", "[]", "cell.json is not in the expected format: it is [], but must be an object"),
        ("cell.json", of_cell(starts=[1.5]), "starts[0] is 1.5, but must be an object"),
        ("cell.json", "[" * 100_000, "cell.json is not valid JSON (it is nested too deeply)"),
        ("cell.json", "[" * 60 + "]" * 60, "cell.json is not in the expected format: it is [[[[[[[...]]]]]]]"),
        ("cell.json", of_cell(more=eval("[" * 60 + "]" * 60)), "more is nested too deeply"),
        ("cell.json", "\ufeff{}", "cell.json is not valid JSON (Unexpected UTF-8 BOM"),
        ("cell.json", of_cell(reason=None), "reason is None, but must be a string"),
        ("cell.json", of_cell(digests={"suite": 5}), "digests.suite is 5, but must be a string"),
        ("cell.json", of_cell(seconds="1"), "seconds is '1', but must be a number"),
        ("cell.json", of_cell(seconds=1e999), "cell.json is not valid JSON (Infinity is not a JSON number)"),
        ("cell.json", of_cell()[:-1] + ', "seconds": 1e999}', "seconds is inf, but must be a number"),
        ("cell.json", of_cell(lifecycle="fine"), "lifecycle is 'fine', which is unknown"),
        (
            "cell.json",
            of_cell(candidates=[{"name": "a", "version": 1, "sha256": ""}]),
            "candidates[0].version is 1, but must be a string",
        ),
        ("plan.jsonl", '{"id": "x"}\n', "line 1 of plan.jsonl has 'x' as its id, which is not a case id"),
        ("plan.jsonl", '{"id": 5}\n', "line 1 of plan.jsonl has 5 as its id, which is not a case id"),
        ("results.jsonl", wrong(verdict="maybe"), "verdict is 'maybe', which is unknown"),
        ("results.jsonl", wrong(verdict=None), "verdict is None, which is unknown"),
        ("results.jsonl", wrong(verdict="conforms"), "its outcome and its verdict disagree"),
        ("results.jsonl", wrong(reason=None), "reason is None, but must be a string"),
        ("results.jsonl", wrong(clause=None), "clause is None, but must be a string"),
        ("results.jsonl", wrong(accused=None), f"the result of {CASE} does not name the accused"),
        ("results.jsonl", wrong(accused=["torch"]), "accused is ['torch'], but must be an object"),
        ("results.jsonl", wrong(accused={"side": "consumer"}), "accused has no 'libraries'"),
        (
            "results.jsonl",
            wrong(accused={**ACCUSED, "libraries": "torch"}),
            "accused.libraries is 'torch', but must be a list",
        ),
        (
            "results.jsonl",
            wrong(accused={**ACCUSED, "libraries": ["torch", 5]}),
            "accused.libraries[1] is 5, but must be a string",
        ),
        ("results.jsonl", wrong(accused={**ACCUSED, "side": "left"}), "accused.side is 'left', which is unknown"),
        (
            "results.jsonl",
            json.dumps({"id": CASE, "outcome": "fail", "verdict": "violates", "clauses": ["DLP-01"]}) + "\n",
            "it has no 'invariant', so an older version of this suite wrote it",
        ),
        ("results.jsonl", wrong(attachments={"what": 5}), "attachments.what is 5, but must be a string"),
        ("results.jsonl", wrong(id=5), "id is 5, but must be a string"),
        ("results.jsonl", wrong(id=CASE + "/x"), "its id is"),
        ("journal.jsonl", None, "journal.jsonl is a folder, not a file"),
        ("environment.json", None, "environment.json is a folder, not a file"),
    ],
)
def test_every_cell_that_cannot_be_read_is_named_with_the_reason(
    file: str, content: str | None, told: str, tmp_path: Path
) -> None:
    """All at once, with file and line."""
    over_cells(tmp_path, "bad", "worse")
    for name in ("bad", "worse"):
        wrong = tmp_path / name / file
        if content is None:
            wrong.mkdir()
        else:
            wrong.write_text(content)
    with pytest.raises(UserError) as raised:
        reader.load(tmp_path)
    sentences = str(raised.value).splitlines()
    assert [sentence.split(" cannot be read as the results of a cell: ")[0] for sentence in sentences] == [
        str(tmp_path / "bad"),
        str(tmp_path / "worse"),
    ]
    assert [
        sentence for sentence in sentences if told not in sentence or not sentence.endswith("; run the cell again")
    ] == []


def test_a_damaged_line_costs_what_it_said_and_no_other(tmp_path: Path) -> None:
    """The other results are read; an unreadable line is never a pass."""
    other = f"{CASE}/x"
    folder = cell(tmp_path / "one", [CASE, other], [line(CASE)])
    with (folder / "results.jsonl").open("a") as results:
        results.write("{\n")
    (found,) = reader.load(folder).cells
    assert (found.states, reader.load(folder).evidence[0].verdict) == ("cl", Verdict.LOST)
    assert "line 2 of results.jsonl is not valid JSON" in reader.load(folder).evidence[0].reason


@pytest.mark.parametrize("at", ["1e300", '"now"', "[]", "NaN", "null"])
def test_a_time_at_which_nothing_can_have_been_is_not_known(at: str, tmp_path: Path) -> None:
    """The results count without the time."""
    folder = cell(tmp_path / "one", [CASE], [line(CASE)])
    (folder / "journal.jsonl").write_text(f'{{"event": "begin", "at": {at}}}\n')
    assert (reader.load(folder).began, reader.load(folder).cells[0].states) == ("", "c")


@pytest.mark.parametrize(
    "name", ["../out", "/out", "a/../../out", "", ".", "..", "-v", "a/b", "run.json", "candidates", "a\0b", "x" * 300]
)
def test_a_cell_whose_name_leads_out_of_its_run_is_none(name: str, tmp_path: Path) -> None:
    """The suite reads and writes results in that folder."""
    with pytest.raises(UserError, match="has invalid cells"):
        reader.load(of_one(tmp_path, cells=[{"name": name, **PLANNED}]))


def test_a_cell_that_is_planned_twice_is_a_mistake(tmp_path: Path) -> None:
    """Both cells would share one folder."""
    with pytest.raises(UserError, match="has invalid cells: 'one'"):
        reader.load(of_one(tmp_path, cells=[{"name": "one", **PLANNED}] * 2))


def test_a_link_that_leads_out_of_a_run_is_not_followed(tmp_path: Path) -> None:
    """The link replaces the folder of a cell."""
    folder = of_one(tmp_path / "run")
    (folder / "one").rename(tmp_path / "elsewhere")
    (folder / "one").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="one is a link, but the results of a cell must be in the folder of their run"):
        reader.load(folder)


def over_cells(folder: Path, *names: str) -> None:
    """A run over cells, each with one result."""
    for name in names:
        cell(folder / name, [CASE], [line(CASE)])
    cells = tuple(Cell(name, name, "") for name in names)
    run = records.Run("1", "smoke", "here", "it was asked for", "none", Bounds(), (), cells)
    records.write(folder / "run.json", run.to_json())


def test_so_many_cells_that_several_processes_read_them_are_told_alike(conformance: Command, tmp_path: Path) -> None:
    """In a process of its own, for it forks."""
    over_cells(tmp_path / "run", "bad", *(f"good-{number}" for number in range(9)), "worse")
    for name in ("bad", "worse"):
        (tmp_path / "run" / name / "plan.jsonl").write_text("plan\n")
    done = conformance("merge", "run")
    assert (done.code, done.stderr.count("line 1 of plan.jsonl is not valid JSON; run the cell again\n")) == (
        Exit.USAGE,
        2,
    )


def of_one(folder: Path, **changes: object) -> Path:
    """A run over one cell, whose ``run.json`` says something else; what is ``...`` is left out."""
    cell(folder / "one", [CASE], [line(CASE)])
    run = records.Run("1", "smoke", "here", "it was asked for", "none", Bounds(), (), (Cell("one"),))
    said = {name: value for name, value in {**run.to_json(), **changes}.items() if value is not ...}
    (folder / "run.json").write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"suite": ...}, "does not name the suite that was run"),
        ({"suite": None}, "suite is None, but must be a string"),
        ({"cells": ...}, "it has no 'cells'"),
        ({"cells": ["x"]}, "cells[0] is 'x', but must be an object"),
        ({"cells": [{"name": 5, **PLANNED}]}, "cells[0].name is 5, but must be a string"),
        (
            {"cells": [{"name": "x", "axes": {"torch": 2.12}, "holds": {}}]},
            "cells[0].axes.torch is 2.12, but must be a string",
        ),
        ({"tier": None}, "tier is None, but must be a string"),
    ],
)
def test_a_written_plan_that_is_not_as_it_should_be_is_a_sentence(
    changes: dict[str, object], told: str, tmp_path: Path
) -> None:
    """Whatever it lacks or has too much of."""
    with pytest.raises(UserError, match=re.escape(told)):
        reader.load(of_one(tmp_path, **changes))


@pytest.mark.parametrize("name", ["run.json", "file.json"])
def test_what_is_nested_too_deeply_is_a_sentence(name: str, tmp_path: Path) -> None:
    """In a written plan as in a run file."""
    (tmp_path / name).write_text("[" * 100_000)
    with pytest.raises(UserError, match="it is nested too deeply"):
        reader.load(tmp_path if name == "run.json" else tmp_path / name)


@pytest.mark.parametrize("text", ["\ud800", "\udc80 x", "x\udfff"])
def test_what_was_read_can_be_written(text: str, tmp_path: Path) -> None:
    """Half a surrogate pair, which JSON can name and UTF-8 cannot hold, is a question mark, also in what a library said."""
    results = [line(CASE, "fail", "violates", reason=text)]
    folder = cell(tmp_path / "one", [CASE], results, reason=text, lifecycle="killed")
    run = reader.load(folder)
    run_file.write(run, tmp_path / "run.json")
    wanted = text.encode("utf-8", "replace").decode()
    assert (run.cells[0].reason, run.evidence[0].reason) == (wanted, wanted)
    assert run_file.read(tmp_path / "run.json") == run


def test_a_whole_surrogate_pair_is_one_character(tmp_path: Path) -> None:
    """Beside a half that is none."""
    folder = cell(tmp_path / "one", [CASE], [line(CASE)], reason="\U0001f600 \udc80")
    assert reader.load(folder).cells[0].reason == "\U0001f600 ?"


def packed(content: bytes) -> bytes:
    """Return the content compressed by gzip."""
    return gzip.compress(content, mtime=0)


def test_a_run_file_that_is_unpacked_without_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check precedes unpacking the whole file."""
    monkeypatch.setattr(files, "MOST", 1 << 20)
    (tmp_path / "run.json.gz").write_bytes(packed(b" " * (1 << 24)))
    with pytest.raises(UserError, match="is, unpacked, larger than 1 MiB"):
        run_file.read(tmp_path / "run.json.gz")


def test_a_run_file_with_more_cases_than_states_is_told(tmp_path: Path) -> None:
    """A few numbers could stand for more cases than fit into memory."""
    path = tmp_path / "run.json"
    run_file.write(reader.load(cell(tmp_path / "one", [CASE], [line(CASE)])), path)
    said = json.loads(path.read_text())
    said["plans"]["stretches"] += [[[0, 1]] * 99]
    path.write_text(json.dumps(said))
    with pytest.raises(UserError, match="its plans have 100 cases, but its cells do not have as many states"):
        run_file.read(path)


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("cells", [], "its plans have 1 cases"),
        ("cells", {}, "cells is {}, but must be a list"),
        ("evidence", [5], "evidence[0] is 5, but must be an object"),
        ("plans", {"cases": [], "stretches": [[[0]]]}, "plans.stretches are pairs of numbers"),
        ("plans", {"cases": ["x"], "stretches": []}, "has an invalid case id"),
        ("format", [], "format is [], which is unknown"),
        ("id", None, "id is None, but must be a string"),
    ],
)
def test_a_run_file_of_another_kind_is_told(part: str, value: object, told: str, tmp_path: Path) -> None:
    """The message names the first invalid part."""
    path = tmp_path / "run.json"
    run_file.write(reader.load(cell(tmp_path / "one", [CASE], [line(CASE)])), path)
    path.write_text(json.dumps({**json.loads(path.read_text()), part: value}))
    with pytest.raises(UserError, match=re.escape(told)):
        run_file.read(path)


@pytest.mark.parametrize("kind", ["FIFO", "device", "[]", "5", "null"])
def test_what_is_no_run_file_is_told(kind: str, tmp_path: Path) -> None:
    """The reader does not wait for a pipe."""
    path = tmp_path / "run.json"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_text(kind)
    with pytest.raises(UserError, match="is not a readable run file"):
        reader.load(path)


@pytest.mark.parametrize("damage", ["cut off", "a byte of its data", "its checksum"])
def test_a_run_file_that_cannot_be_unpacked_is_not_as_it_was_written(damage: str, tmp_path: Path) -> None:
    """As one whose digest does not fit: a remark of the gate, a sentence elsewhere."""
    path = tmp_path / "run.json.gz"
    run_file.write(reader.load(cell(tmp_path / "one", [CASE], [line(CASE)])), path)
    data = bytearray(path.read_bytes())
    if damage == "cut off":
        data = data[:-20]
    else:
        data[len(data) // 2 if damage == "a byte of its data" else -6] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(run_file.Altered, match="was changed or damaged: it cannot be unpacked"):
        run_file.read(path)


def test_merge_writes_a_run_file_and_says_what_has_no_results(conformance: Command, tmp_path: Path) -> None:
    """Exit code 4 for a cell of the tier that nobody has brought."""
    cell(tmp_path / "one", [CASE], [line(CASE)])
    out = tmp_path / "new" / "run.json.gz"
    assert conformance("merge", str(tmp_path / "one"), "--out", str(out)).code == Exit.OK
    assert run_file.read(out).cells[0].states == "c"
    matrix = Path(__file__).parents[2] / "matrix.yaml"
    smoke = cell(tmp_path / "cu12.9-py3.12-numpy1.26-cupy13.6-cvcuda0.17-pycuda2026.1-cudapy12.9", [CASE], [line(CASE)])
    done = conformance("merge", str(smoke), "--tier", "smoke", "--matrix", str(matrix), "--out", str(out))
    assert done.code == Exit.INCOMPLETE, done.stderr
    assert "none of the merged runs contains it" in " ".join(done.stdout.split())
    none = conformance("merge", "--tier", "smoke", "--matrix", str(matrix), "--out", str(out))
    assert (none.code, len(run_file.read(out).cells)) == (Exit.INCOMPLETE, 2)
    other = conformance("merge", str(tmp_path / "one"), "--tier", "smoke", "--matrix", str(matrix), "--out", str(out))
    assert other.code == Exit.USAGE
    assert "--tier smoke: one is not in this tier" in other.stderr


def test_the_name_of_a_folder_need_not_be_utf_8(tmp_path: Path) -> None:
    """The replacement character can be written again."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xffb"))
    cell(folder, [CASE], [line(CASE)])
    run = reader.load(folder)
    run_file.write(run, tmp_path / "run.json")
    assert run_file.read(tmp_path / "run.json").cells[0].name == "a\ufffdb"


def test_a_cell_that_left_no_record_was_not_run(tmp_path: Path) -> None:
    """Its folder may be there or not."""
    cells = (Cell("begun", "begun", ""), Cell("none", "none", ""))
    run = records.Run("1", "smoke", "here", "it was asked for", "none", Bounds(), (), cells)
    cell(tmp_path / "begun", [CASE], None)
    (tmp_path / "begun" / "cell.json").unlink()
    records.write(tmp_path / "run.json", run.to_json())
    assert [(c.lifecycle, c.reason) for c in reader.load(tmp_path).cells] == [("not run", "it left no record")] * 2


@pytest.mark.parametrize(
    ("exit", "failed", "ended"),
    [
        (0, 0, "done"),
        (1, 1, "done"),
        (2, 0, "pytest ended with exit code 2, although no test failed"),
        (1, 0, "pytest ended with exit code 1, although no test failed"),
    ],
)
def test_own_tests_that_stopped_without_a_failure_did_not_come_to_their_end(
    exit: int, failed: int, ended: str, tmp_path: Path
) -> None:
    """`pytest.exit`, a threshold that was missed: pytest alone knows."""
    told = {"ended": "done", "exit": exit, "passed": 2, "failed": failed, "errors": 0, "skipped": 0}
    cell(tmp_path / "one", [CASE], [line(CASE)], with_tests=told)
    found = reader.load(tmp_path / "one").cells[0].own_tests
    assert found is not None
    assert found.ended == ended


def test_merge_says_what_has_no_outcome(conformance: Command, tmp_path: Path) -> None:
    """Exit code 4, also where a cell has some results; canaries alone are none."""
    cell(tmp_path / "killed", [CASE, f"{CASE}/x"], [line(CASE)], lifecycle="killed", reason="somebody killed it")
    done = conformance("merge", "killed")
    assert (done.code, "killed: killed: somebody killed it: 1 of 2 cases without an outcome" in done.stdout) == (
        Exit.INCOMPLETE,
        True,
    )
    canary = "canary.passes/reference-reference/dlpack/host/alone"
    cell(tmp_path / "canaries", [canary], [line(canary)])
    done = conformance("merge", "canaries", "--out", "other.json.gz")
    assert (done.code, "canaries: no results" in done.stdout) == (Exit.INCOMPLETE, True)


def test_merge_tells_all_that_it_cannot_read(conformance: Command, tmp_path: Path) -> None:
    """One sentence for each; without a run and without a plan there is nothing to merge."""
    cell(tmp_path / "one", [CASE], [line(CASE)])
    done = conformance("merge", "none", "one", "nowhere")
    assert (done.code, [told.split(" holds ")[0] for told in done.stderr.splitlines()]) == (
        Exit.USAGE,
        ["conformance: none", "nowhere"],
    )
    nothing = conformance("merge")
    assert (nothing.code, "there is no run to merge" in nothing.stderr) == (Exit.USAGE, True)


# -- what a cell was planned with

AXES = {"cuda": "13.0", "python": "3.12", "numpy": "2.4", "cuda_bindings": "13.0", "numba_cuda": "0.30"}
HOLDS = {"numpy": "numpy", "cuda_python": "cuda_bindings", "numba_cuda": "numba_cuda"}
UNUSABLE = "ImportError: libnvvm.so: cannot open"


def library(name: str, absent: str | None = None) -> dict[str, object]:
    """As the environment has it."""
    return {"name": name, "versions": {name: "1.0"}, "absent": absent}


def with_libraries(folder: Path, *libraries: dict[str, object]) -> None:
    """Write an environment that has these."""
    driver = {"available": False, "reason": "no driver"}
    environment = {"suite": "0.1.0", "python": "3.12.4", "driver": driver, "libraries": list(libraries)}
    (folder / "environment.json").write_text(json.dumps(environment))


def one_planned(folder: Path, *libraries: dict[str, object], name: str = "one", **record: object) -> Path:
    """A run over a cell that was planned with these axes; ``record`` is what its own record says otherwise."""
    planned_with: dict[str, object] = {"axes": AXES, "holds": HOLDS}
    cell(folder / name, [CASE], [line(CASE)], **{**planned_with, **record})
    with_libraries(folder / name, *libraries)
    run = records.Run(
        "1", "smoke", "here", "it was asked for", "none", Bounds(), (), (Cell(name, axes=AXES, holds=HOLDS),)
    )
    records.write(folder / "run.json", run.to_json())
    return folder


@pytest.mark.parametrize("name", ["cu13.0-py3.12-numpy2.4-cudapy13.0-numbacuda0.30", "one"])
def test_a_cell_has_the_axes_that_its_plan_has_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    """By their names in matrix.yaml, with what the cell has to hold."""
    (found,) = reader.load(one_planned(tmp_path, name=name)).cells
    assert (found.axes, found.holds) == (AXES, HOLDS)


def test_a_cell_that_is_read_alone_has_the_axes_of_its_own_record(tmp_path: Path) -> None:
    """As if it had been brought without its run; a folder of `check` has none."""
    one_planned(tmp_path)
    assert reader.load(tmp_path / "one").cells[0].axes == AXES
    (tmp_path / "one" / "cell.json").unlink()
    assert reader.load(tmp_path / "one").cells[0].axes == {}


def test_a_cell_without_a_record_has_the_axes_of_its_plan(tmp_path: Path) -> None:
    """It was not run, and it is known what it would have been."""
    one_planned(tmp_path)
    (tmp_path / "one" / "cell.json").unlink()
    assert reader.load(tmp_path).cells[0].axes == AXES


def test_a_record_that_was_planned_otherwise_is_a_mistake(tmp_path: Path) -> None:
    """It is of another cell."""
    one_planned(tmp_path, axes={**AXES, "numpy": "2.5"})
    with pytest.raises(UserError, match=r"cell\.json and run\.json disagree about the plan of the cell"):
        reader.load(tmp_path)


@pytest.mark.parametrize("part", ["axes", "holds"])
def test_a_run_that_an_older_suite_has_made_is_a_sentence(part: str, tmp_path: Path) -> None:
    """It knew the axes of a cell by its name alone, and not all of them."""
    run = json.loads((one_planned(tmp_path) / "run.json").read_text())
    record = json.loads((tmp_path / "one" / "cell.json").read_text())
    del record[part], run["cells"][0][part]
    (tmp_path / "one" / "cell.json").write_text(json.dumps(record))
    told = "the file lacks the planned versions of its cells, so an older version of this suite has written it"
    with pytest.raises(UserError, match=rf"{told}; run the cell again$"):
        reader.load(tmp_path / "one")
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(UserError, match=rf"run\.json: {told}; run it again$"):
        reader.load(tmp_path)


@pytest.mark.parametrize(
    ("libraries", "absent"),
    [
        ([library("numpy"), library("cuda_python"), library("numba_cuda", UNUSABLE)], {"numba_cuda": UNUSABLE}),
        ([library("numpy"), library("cuda_python", UNUSABLE), library("numba_cuda")], {"cuda_python": UNUSABLE}),
    ],
)
def test_a_library_that_could_not_be_used_is_red_whatever_its_axis_is_called(
    libraries: list[dict[str, object]], absent: dict[str, str], tmp_path: Path
) -> None:
    """Its name may have an underscore, its tag another name, and its axis too."""
    run = reader.load(one_planned(tmp_path, *libraries, name="cu13.0-py3.12-numpy2.4-cudabind13.0-numbacuda0.30"))
    assert run.cells[0].absent == absent
    judged = judgement.judge(run, None, (), gates.present())
    told = [remark.sentence for remark in judged.remarks if remark.kind is Kind.NOT_TESTED]
    assert told == [f"{name} could not be used and was not tested: {UNUSABLE}" for name in absent]
    assert judged.exit is Exit.NOT_TESTED


def test_a_library_that_nobody_has_looked_for_could_not_be_used(tmp_path: Path) -> None:
    """Its adapter is not in the cell, or matrix.yaml does not say what its axis stands for."""
    run = reader.load(one_planned(tmp_path, library("numpy"), library("cuda_python")))
    assert run.cells[0].absent.keys() == {"numba_cuda"}
    assert "if the axis numba_cuda stands for other libraries" in run.cells[0].absent["numba_cuda"]


# -- two readers of one folder


def kept(out: Path) -> list[tuple[str, str, str, str]]:
    """What a report says of each case: verdict, code, clause and who is accused."""
    left = check_folder.left(out)
    return [(r.verdict.word, r.code, r.clause, str(r.accused and r.accused.libraries)) for r in left.results]


def merged(out: Path) -> list[tuple[str, str, str, str]]:
    """The same of what is merged."""
    run = reader.load(out)
    wrong = {found.case: run.evidence[found.evidence] for found in run.found(run.cells[0])}
    found = [wrong.get(case) for case in run.cases(run.cells[0])]
    return [
        (e.verdict.word, e.code, e.clause, str(e.accused if e.side else None)) if e else ("conforms", "", "", "None")
        for e in found
    ]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of NumPy and a library that is wrong; nothing in it is changed."""
    path = install(tmp_path_factory.mktemp("site"), "copying", take="offer = type(offer)(offer._source.copied())")
    selection = ("--between", "numpy,copying", "--family", "pointer", "--device", "host", "--tier", "quick")
    return command_in(tmp_path_factory.mktemp("ran"))("check", *selection, path=path).out


@pytest.mark.parametrize("without", [(), ("journal.jsonl",), ("results.jsonl",)])
def test_a_report_and_a_merged_run_say_the_same_of_a_folder(
    without: tuple[str, ...], ran: Path, conformance: Command, tmp_path: Path
) -> None:
    """Whichever of its files is there: the one has the results of a run that came to its end, the other all that led to them."""
    whole = kept(ran)
    assert any(told[3] == "('copying',)" for told in whole)
    out = Path(shutil.copytree(ran, tmp_path / "conform-results", ignore=shutil.ignore_patterns(*without)))
    assert kept(out) == merged(out) == whole
    assert "without an outcome" not in conformance("report", "conform-results").stdout


def test_a_report_and_a_merged_run_say_the_same_of_half_a_run(ran: Path, tmp_path: Path) -> None:
    """Killed while it ran: what the journal has, with who is accused, and the rest is lost."""
    out = Path(shutil.copytree(ran, tmp_path / "conform-results", ignore=shutil.ignore_patterns("results.jsonl")))
    lines = (out / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (out / "journal.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]))
    assert kept(out) == merged(out)
    assert {told[0] for told in kept(out)} >= {"lost", "violates", "conforms"}
