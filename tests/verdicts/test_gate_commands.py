"""``gate``, ``waivers`` and ``history`` as a user runs them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
from conftest import Command
from lines import line, planned

import conformance as package
from conformance.engines import digests, records
from conformance.engines.model import Bounds, Cell, Ending, Lifecycle
from conformance.engines.records import Record, Run
from conformance.exits import Exit
from conformance.gate import waiver_file
from conformance.gate.proposals import TO_FILL_IN
from conformance.runs import history, run_file
from conformance.runs.model import Candidate

from .gates import TODAY, A, B, candidate, run

NOW = {"digests": {"suite": digests.of_suite()}, "versions": {"suite": package.__version__, "torch": "2.12.1"}}
INVARIANTS = ("dtype.exchange",)
WAIVER = f"""\
waivers:
- id: w
  owner: somebody
  reason: it is being mended
  link: https://example.org/1
  opened: 2026-11-01
  expires: 2026-12-01
  where: {{torch: "2.12"}}
  cases: {B}
  outcome: fail
  code: dtype-changed
"""
DAY = ("--today", TODAY.isoformat())


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the run files ``good.json`` and ``bad.json``, and nothing else."""
    run_file.write(run({"one": {A: "c", B: "c"}}, id="good", **NOW), tmp_path / "good.json")
    run_file.write(run({"one": {A: "c", B: "v"}}, id="bad", **NOW), tmp_path / "bad.json")
    return tmp_path


def test_a_run_that_is_as_good_as_its_baseline_is_green(conformance: Command, files: Path) -> None:
    """One line says so, with the exit code."""
    done = conformance("gate", "--run", "good.json", "--baseline", "good.json")
    assert done.code == Exit.OK
    assert done.stdout.splitlines()[-1] == "PASS: no new findings; exit code 0"


@pytest.mark.parametrize("listener", ["| head -c 1", "| true", ">&-", "2>&1 >/dev/null | true"])
def test_a_gate_is_red_whoever_listens(files: Path, listener: str) -> None:
    """A pipe that is closed before all is said, or no output at all, makes nothing green."""
    gate = f"{sys.executable} -m conformance gate --run bad.json --baseline good.json"
    done = subprocess.run(["bash", "-c", f"{gate} {listener}; exit ${{PIPESTATUS[0]}}"], cwd=files, check=False)
    assert done.returncode == Exit.REGRESSION


def test_what_cannot_be_said_is_trouble(files: Path) -> None:
    """A full disk under the output makes no run green, and red stays red."""
    for judged, code in (("good.json", Exit.NO_ROOM), ("bad.json", Exit.REGRESSION)):
        gate = [sys.executable, "-m", "conformance", "gate", "--run", judged, "--baseline", "good.json"]
        with open("/dev/full", "w") as full:
            done = subprocess.run(gate, cwd=files, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1)
        assert "standard output cannot be written (No space left on device)" in done.stderr


def test_a_regression_is_red_and_in_the_document(conformance: Command, files: Path) -> None:
    """The table has counts first, then what was found, then the verdict."""
    done = conformance("gate", "--run", "bad.json", "--baseline", "good.json", "--json", "gate.json")
    assert done.code == Exit.REGRESSION
    lines = done.stdout.splitlines()
    assert lines[0] == "1 cell of run bad compared with good"
    assert lines[1].split() == ["regression", "1", "exit", "code", "23"]
    at = lines.index("  ✗ PyTorch imports a plain array as another element type, by DLPack.")
    assert lines[at + 1 : at + 3] == ["      torch/consumer/dtype-changed/dlpack", "      new"]
    assert lines[-1] == "FAIL: regression; 1 remark against this run; exit code 23"
    document = json.loads((files / "gate.json").read_text())
    schema = json.loads(resources.files("conformance.gate").joinpath("schemas", "gate.schema.json").read_text())
    jsonschema.validate(document, schema)
    assert (document["exit"], document["run"]["id"], document["baseline"]["id"]) == (23, "bad", "good")
    assert [finding["id"] for finding in document["findings"]] == ["torch/consumer/dtype-changed/dlpack"]


def test_a_run_file_of_an_older_suite_is_one_sentence(conformance: Command, files: Path) -> None:
    """As run, as baseline, and wherever else one is read; it says what to do."""
    older = {**json.loads((files / "good.json").read_text()), "format": "conformance-run/1"}
    (files / "old.json").write_text(json.dumps(older))
    told = (
        "conformance: old.json was written by an older version of this suite (conformance-run/1, not conformance-run/2); "
        "run its cells again, then write it again with `merge`"
    )
    for arguments in (
        ("gate", "--run", "old.json"),
        ("gate", "--run", "good.json", "--baseline", "old.json"),
        ("merge", "old.json"),
        ("publish", "--run", "old.json"),
        ("waivers", "--propose", "--run", "old.json"),
    ):
        done = conformance(*arguments)
        assert (done.code, done.stderr.splitlines(), done.stdout) == (Exit.USAGE, [told], "")


def test_waivers_of_an_older_suite_are_one_sentence_each(conformance: Command, files: Path) -> None:
    """Nothing is judged by them."""
    (files / "waivers.yaml").write_text(WAIVER.replace("code: dtype-changed", "message: the element type changed"))
    done = conformance("gate", "--run", "bad.json", "--baseline", "good.json", *DAY)
    assert (done.code, done.stdout) == (Exit.USAGE, "")
    assert done.stderr.splitlines() == [
        "conformance: waivers.yaml has a mistake; nothing was done",
        "  waivers.yaml:11: waiver w uses `message`, which is no longer supported; replace it by the `finding` that `gate` prints, or "
        "by the `code` of the failure",
    ]


def test_waivers_that_lie_beside_are_taken(conformance: Command, files: Path) -> None:
    """And may lie elsewhere, where they are named."""
    (files / "waivers.yaml").write_text(WAIVER)
    done = conformance("gate", "--run", "bad.json", "--baseline", "good.json", *DAY)
    assert (done.code, "waived: w" in done.stdout) == (Exit.OK, True)
    (files / "waivers.yaml").rename(files / "elsewhere.yaml")
    assert conformance("gate", "--run", "bad.json", "--baseline", "good.json", *DAY).code == Exit.REGRESSION
    done = conformance("gate", "--run", "bad.json", "--baseline", "good.json", "--waivers", "elsewhere.yaml", *DAY)
    assert done.code == Exit.OK
    late = ("--today", "2026-12-02")
    done = conformance("gate", "--run", "bad.json", "--baseline", "bad.json", "--waivers", "elsewhere.yaml", *late)
    assert (done.code, "expired on 2026-12-01, 1 day ago" in done.stdout) == (Exit.WAIVER, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("gate",), "--run"),
        (("gate", "--run", "none.json"), "none.json holds nothing"),
        (("gate", "--run", "good.json", "--baseline", "none.json"), "none.json holds nothing"),
        (("gate", "--run", "good.json", "--today", "tomorrow"), "--today: 'tomorrow' is not a date"),
        (("gate", "--run", "good.json", "--waivers", "none.yaml"), "name another file with --waivers"),
        (("gate", "--run", "good.json", "--candidate", "torch"), "--candidate: 'torch' is not NAME=FILE"),
        (("gate", "--run", "good.json", "--candidate", "torch=none.whl"), "--candidate: none.whl is not a file"),
        (("gate", "--run", "good.json", "--locks", "none"), "--locks: none is not a folder"),
        (("gate", "--run", "good.json", "--json", "none/gate.json"), "--json: none/gate.json cannot be written"),
        (("gate", "--run", "good.json", "--json", "."), "--json: . cannot be written: it is a folder"),
        (("gate", "--run", "good.json", "--json", "/"), "--json: / cannot be written: it is a folder"),
        (("gate", "--run", "good.json", "--history", "."), "--history: . cannot be written: it is a folder"),
        (("merge", "good.json", "--out", "."), "--out: . cannot be written: Is a directory"),
        (("merge", "good.json", "--out", ""), "--out: . cannot be written: Is a directory"),
        (("gate", "--run", "good.json", "--history", "none/h.jsonl"), "--history: none/h.jsonl cannot be written"),
        (("waivers",), "waivers.yaml does not exist"),
        (("waivers", "--propose"), "--propose needs --run"),
        (("waivers", "--propose", "--run", "bad.json", "--today", "9999-12-31"), "--today: a waiver opened on 9999"),
        (("waivers", "--out", "x.yaml"), "--out needs --propose"),
        (("waivers", "--propose", "--run", "good.json", "--out", "bad.json"), "bad.json exists"),
        (("waivers", "--propose", "--run", "good.json", "--out", "none/w.yaml"), "--out: none/w.yaml cannot be written"),
        (("history",), "FILE"),
        (("history", "none.jsonl"), "none.jsonl does not exist"),
        (("history", "."), "is a folder, not a file"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_a_sentence(
    conformance: Command, files: Path, arguments: tuple[str, ...], told: str
) -> None:
    """With exit code 2, and nothing is judged."""
    done = conformance(*arguments)
    assert (done.code, told in done.stderr, "Traceback" in done.stderr) == (Exit.USAGE, True, False)
    assert "PASS" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--json", "good.json"), "--json: good.json is what --run names"),
        (("--json", "./link.json"), "--json: link.json is what --run names"),
        (("--json", "bad.json"), "--json: bad.json is what --baseline names"),
        (("--json", "waivers.yaml"), "--json: waivers.yaml is what --waivers names"),
        (("--json", "a.whl", "--candidate", "torch=a.whl", "--candidate", "torch=good.json"), "--json: a.whl is what --candidate names"),
        (("--json", "h.jsonl", "--history", "h.jsonl"), "--json: h.jsonl is also the file of --history"),
        (("--json", "n.jsonl", "--history", "./n.jsonl"), "--json: n.jsonl is also the file of --history"),
        (("--history", "good.json"), "--history: good.json is what --run names"),
        (("--history", "/dev/stdout"), "--history: /dev/stdout is not a regular file"),
        (("--history", "other.json"), "--history: other.json is not a history file; refusing to append"),
        (("--history", "a.whl"), "--history: a.whl is not a history file; refusing to append"),
        (("--run", "ran", "--json", "ran/one/results.jsonl"), "--json: ran/one/results.jsonl is what --run names"),
        (("--run", "ran", "--history", "ran/run.json"), "--history: ran/run.json is what --run names"),
    ],
)  # fmt: skip
def test_nothing_that_a_run_is_judged_by_is_written_to(
    conformance: Command, files: Path, arguments: tuple[str, ...], told: str
) -> None:
    """By whatever name; before anything is judged, and every file is as it was."""
    brought(files / "ran", files / "none.txt")
    (files / "link.json").symlink_to("good.json")
    (files / "other.json").write_bytes((files / "bad.json").read_bytes() + b"\n")
    (files / "waivers.yaml").write_text("waivers: []\n")
    (files / "a.whl").write_text("a wheel")
    history.append(files / "h.jsonl", run({"one": {A: "c"}}), {})
    before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    done = conformance("gate", "--run", "good.json", "--baseline", "bad.json", *arguments)
    assert (done.code, told in done.stderr, done.stdout) == (Exit.USAGE, True, ""), done.stderr
    assert {path: path.read_bytes() for path in files.rglob("*") if path.is_file()} == before


RAN = (
    "run.json",
    "one/cell.json",
    "one/plan.jsonl",
    "one/results.jsonl",
    "one/journal.jsonl",
    "one/contents.json",
    "one/.lock",
    "with-tests/a.py",
)
"""Files of a run over cells, some of which are missing in the one of these tests."""


@pytest.mark.parametrize("out", ["good.json", "link.json", *(f"ran/{name}" for name in RAN), "linked/one/plan.jsonl"])
def test_a_run_is_not_merged_into_a_part_of_itself(conformance: Command, files: Path, out: str) -> None:
    """By whatever name, and every file is as it was."""
    brought(files / "ran", files / "none.txt")
    (files / "link.json").symlink_to("good.json")
    (files / "linked").symlink_to("ran")
    before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    done = conformance("merge", "good.json" if "json" in out.partition("/")[0] else "ran", "--out", out)
    assert (done.code, "is what RUN names" in done.stderr or "is inside the run named by" in done.stderr, done.stdout) == (
        Exit.USAGE, True, "",
    ), done.stderr  # fmt: skip
    assert {path: path.read_bytes() for path in files.rglob("*") if path.is_file()} == before


def test_a_run_may_be_merged_into_another_file_in_its_folder(conformance: Command, files: Path) -> None:
    """No file of the run has this name."""
    brought(files / "ran", files / "none.txt")
    conformance("merge", "ran", "--out", "ran/run.json.gz")
    assert (files / "ran" / "run.json.gz").is_file()


def test_mistakes_of_the_waivers_are_told_at_once(conformance: Command, files: Path) -> None:
    """With exit code 2."""
    (files / "waivers.yaml").write_text(WAIVER.replace("fail", "lost").replace("2026-11-01", "2026-01-01"))
    done = conformance("gate", "--run", "bad.json", *DAY)
    assert done.code == Exit.USAGE
    assert "waivers.yaml has 2 mistakes" in done.stderr


def test_a_run_file_that_was_changed_is_a_finding(conformance: Command, files: Path) -> None:
    """Nothing in it counts, of a baseline neither."""
    for name in ("bad", "good"):
        (files / f"{name}.json").write_text((files / f"{name}.json").read_text().replace('"smoke"', '"other"'))
    done = conformance("gate", "--run", "good.json", "--baseline", "bad.json", "--history", "h.jsonl")
    assert done.code == Exit.INTEGRITY
    assert done.stdout.count("its digest does not match") == 2
    assert not (files / "h.jsonl").exists()


def test_what_libraries_say_does_not_act_on_the_terminal(conformance: Command, files: Path) -> None:
    """In none of the commands that show it."""
    said = "bad\x1b[8m\x1b]0;title\x07\u202e"
    cells = {"one": {A: "c", B: "v"}, "two": "killed"}
    run_file.write(run(cells, message=said, reason=said, absent={said: said}, **NOW), files / "run.json")
    for arguments in (
        ("gate", "--run", "run.json", "--verbose", "--history", "h.jsonl"),
        ("merge", "run.json"),
        ("waivers", "--propose", "--run", "run.json"),
        ("history", "h.jsonl"),
    ):
        done = conformance(*arguments)
        assert {"\x1b", "\x07", "\u202e"}.isdisjoint(done.stdout + done.stderr), arguments


def test_outputs_go_where_somebody_has_asked_for_them(conformance: Command, files: Path) -> None:
    """A device stays a device, printed text stays in order, and a link is followed."""
    done = conformance("gate", "--run", "good.json", "--json", "/dev/stdout")
    document, end = json.JSONDecoder().raw_decode(done.stdout)
    assert (document["exit"], "PASS" in done.stdout[end:]) == (done.code, True)
    (files / "link.json").symlink_to("far.json")
    for out in ("/dev/null", "link.json"):
        assert conformance("merge", "good.json", "--out", out).code == Exit.OK
    assert Path("/dev/null").is_char_device()
    assert ((files / "link.json").is_symlink(), (files / "far.json").is_file()) == (True, True)
    os.mkfifo(files / "pipe")
    done = conformance("merge", "good.json", "--out", "pipe")
    assert (done.code, done.stderr.count("\n"), "no process reads from it" in done.stderr) == (Exit.USAGE, 1, True)


def test_a_loop_of_links_is_a_sentence(conformance: Command, files: Path) -> None:
    """The loop replaces the file of a run."""
    (files / "loop.json").symlink_to("loop.json")
    done = conformance("gate", "--run", "loop.json", "--json", "gate.json")
    assert (done.code, done.stderr.count("\n"), done.stderr.startswith("conformance: loop.json holds")) == (
        Exit.USAGE,
        1,
        True,
    )


def brought(folder: Path, lock: Path) -> Path:
    """A run over one cell, as ``conform`` leaves it."""
    cell = Cell("one", lock=str(lock))
    place = folder / cell.name
    place.mkdir(parents=True)
    plan = Run("id", "smoke", "venv", "because", "none", Bounds(), (), (cell,))
    records.write(folder / records.RUN, plan.to_json())
    (place / records.PLAN).write_text(json.dumps(planned(A)) + "\n")
    (place / records.RESULTS).write_text(json.dumps(line(A)) + "\n")
    found = {
        "suite": digests.of_suite(), "lock": digests.of_file(lock), "results": digests.of_file(place / records.RESULTS)
    }  # fmt: skip
    start = {"at": "2026-11-20T10:00:00+00:00", "seconds": 1.0, "lifecycle": "done", "reason": "complete"}
    record = Record(cell, Ending(Lifecycle.DONE, "complete", 0), {}, 1.0, (start,), digests=found)
    records.write(place / records.CELL, record.to_json())
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with the locks beside it."""
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "one.txt").write_text("torch==2.12.1\n")
    return brought(tmp_path / "ran", tmp_path / "locks" / "one.txt")


def test_results_are_compared_with_what_they_were_when_their_cell_ended(conformance: Command, folder: Path) -> None:
    """Those of the run, of the baseline and of a cell's own folder; and before they are merged or published, which hides the files."""
    shutil.copytree(folder, folder.parent / "before")
    assert conformance("gate", "--run", "ran", "--baseline", "before").code == Exit.OK
    results = folder / "one" / records.RESULTS
    results.write_text(results.read_text().replace(": ", ":"))
    for altered in ("ran", "ran/one"):
        done = conformance("gate", "--run", altered, "--baseline", "before")
        assert (done.code, "its results.jsonl has changed" in done.stdout) == (Exit.INTEGRITY, True)
        done = conformance("gate", "--run", "before", "--baseline", altered)
        assert (done.code, "changed after the cell ended, in one" in done.stdout) == (Exit.INTEGRITY, True)
        for command in ("merge", altered), ("publish", "--run", altered), ("waivers", "--propose", "--run", altered):
            done = conformance(*command)
            assert (done.code, "changed after the cell ended, in one" in done.stderr) == (Exit.USAGE, True)


def test_by_what_is_not_as_it_was_written_nothing_is_judged(conformance: Command, files: Path) -> None:
    """One remark, and not a dozen about a run of no cells."""
    whole = (files / "good.json").read_text()
    (files / "good.json").write_text(whole.replace('"good"', '"well"'))
    for options in (("--run", "good.json"), ("--run", "bad.json", "--baseline", "good.json")):
        done = conformance("gate", *options, "--json", "gate.json")
        assert done.code == Exit.INTEGRITY
        (only,) = json.loads((files / "gate.json").read_text())["remarks"]
        assert "good.json was changed or damaged" in only["sentence"]


def test_a_changed_lock_makes_results_stale(conformance: Command, folder: Path) -> None:
    """Whether it lies in locks/ or elsewhere; without locks nobody can tell."""
    locks = folder.parent / "locks"
    (locks / "one.txt").write_text("torch==2.13.0\n")
    assert conformance("gate", "--run", "ran", "--baseline", "ran").code == Exit.STALE
    locks.rename(folder.parent / "other")
    assert conformance("gate", "--run", "ran", "--baseline", "ran", "--locks", "other").code == Exit.STALE
    done = conformance("gate", "--run", "ran", "--baseline", "ran")
    assert (done.code, "--locks: locks is not a folder" in done.stderr) == (Exit.USAGE, True)


def test_a_candidate_is_known_by_its_file(conformance: Command, files: Path) -> None:
    """What is to be released is what was run."""
    (files / "torch.whl").write_bytes(b"a wheel")
    (files / "other.whl").write_bytes(b"another wheel")
    digest = hashlib.sha256(b"a wheel").hexdigest()
    run_file.write(run({"one": {A: "c"}}, candidates=candidate(digest), **NOW), files / "run.json")
    judged = ("gate", "--run", "run.json", "--baseline", "run.json")
    assert conformance(*judged, "--candidate", "torch=torch.whl").code == Exit.OK
    assert conformance(*judged, "--candidate", "torch=other.whl").code == Exit.INTEGRITY
    both = conformance(*judged, "--candidate", "torch=other.whl", "--candidate", "torch=torch.whl")
    assert (both.code, "no cell of this run tested other.whl" in both.stdout) == (Exit.INTEGRITY, True)
    done = conformance(*judged)
    assert (done.code, "give its file with --candidate torch=FILE" in " ".join(done.stdout.split())) == (Exit.OK, True)


def test_a_wheel_says_itself_which_distribution_it_is_of(conformance: Command, files: Path) -> None:
    """As for `conform`: the CUDA line may be left out of the name, and another name is refused."""
    wheel = files / "cupy_cuda13x-14.3.0-cp312-cp312-manylinux2014_x86_64.whl"
    wheel.write_bytes(b"a wheel")
    digest = hashlib.sha256(b"a wheel").hexdigest()
    tried = {"candidates": (Candidate("cupy-cuda13x", "14.3.0", digest),)}
    run_file.write(run({"one": {A: "c"}}, **tried, **NOW), files / "run.json")
    judged = ("gate", "--run", "run.json", "--baseline", "run.json")
    for name in ("cupy", "cupy-cuda13x"):
        assert conformance(*judged, "--candidate", f"{name}={wheel.name}").code == Exit.OK
    done = conformance(*judged, "--candidate", f"torch={wheel.name}")
    assert (done.code, "is a wheel of cupy-cuda13x, not of torch" in done.stderr) == (Exit.USAGE, True)


def test_a_proposal_is_refused_until_it_is_filled_in_and_then_covers_what_it_was_made_for(
    conformance: Command, files: Path
) -> None:
    """Nobody uses what nobody has read."""
    done = conformance("waivers", "--propose", "--run", "bad.json", "--baseline", "good.json", "--out", "w.yaml", *DAY)
    assert done.code == Exit.OK
    done = conformance("gate", "--run", "bad.json", "--baseline", "good.json", "--waivers", "w.yaml", *DAY)
    assert (done.code, done.stderr.count("is not filled in")) == (Exit.USAGE, 3)
    text = (files / "w.yaml").read_text()
    for key, filled in (("owner", "me"), ("reason", "because"), ("link", "https://example.org")):
        (line,) = [line for line in text.splitlines() if f"{key}:" in line and TO_FILL_IN in line]
        text = text.replace(line, f"  {key}: {filled}")
    (files / "w.yaml").write_text(text)
    done = conformance("gate", "--run", "bad.json", "--baseline", "good.json", "--waivers", "w.yaml", *DAY)
    assert done.code == Exit.OK
    (found,) = waiver_file.read(files / "w.yaml", INVARIANTS, TODAY)
    assert ((found.expires - found.opened).days, found.opened) == (90, TODAY)
    done = conformance("waivers", "--run", "bad.json", "--waivers", "w.yaml", *DAY)
    assert (done.code, "90 days left" in done.stdout, "covers 1 case in 1 cell: one" in done.stdout) == (
        Exit.OK,
        True,
        True,
    )


def test_what_is_green_needs_no_waivers(conformance: Command, files: Path) -> None:
    """The proposal is empty, and can be read."""
    done = conformance("waivers", "--propose", "--run", "good.json", *DAY)
    assert done.code == Exit.OK
    (files / "w.yaml").write_text(done.stdout)
    assert waiver_file.read(files / "w.yaml", INVARIANTS, TODAY) == ()


def test_waivers_are_listed_with_what_is_wrong_with_them(conformance: Command, files: Path) -> None:
    """With exit code 20 where something is."""
    (files / "waivers.yaml").write_text(WAIVER)
    done = conformance("waivers", *DAY)
    assert (done.code, "9 days left" in done.stdout) == (Exit.OK, True)
    done = conformance("waivers", "--run", "good.json", *DAY)
    assert (done.code, "covers nothing" in done.stdout, "remove it" in done.stdout) == (Exit.WAIVER, True, True)
    done = conformance("waivers", "--today", "2026-12-31")
    assert (done.code, "expired 30 days ago" in done.stdout) == (Exit.WAIVER, True)


def test_the_history_is_added_to_and_shown(conformance: Command, files: Path) -> None:
    """A run that is there already is not added again, and that is no mistake."""
    for name in ("good", "bad"):
        conformance("gate", "--run", f"{name}.json", "--history", "h.jsonl")
    done = conformance("gate", "--run", "good.json", "--baseline", "good.json", "--history", "h.jsonl")
    assert (done.code, "already has this run" in done.stderr) == (Exit.OK, True)
    assert len((files / "h.jsonl").read_text().splitlines()) == 2
    done = conformance("history", "h.jsonl")
    assert (done.code, "2 runs" in done.stdout, "failing: 1 case" in done.stdout) == (Exit.OK, True, True)
