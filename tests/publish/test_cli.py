"""``python -m conformance publish`` as a user runs it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Command

from conformance.reports import scripts
from conformance.reports.coverage import believable, counts, untested
from conformance.runs import history, run_file
from conformance.runs.merge import canonical
from conformance.runs.model import RunFile
from conformance.runs.trust import UNBELIEVABLE
from conformance.verdict import Verdict

from .samples import BOOL, CASES, CLEAN, CRASH, SMALL, VIOLATION, Told, made


def kept(run: RunFile, path: Path) -> str:
    """A run file."""
    run_file.write(canonical(run), path)
    return str(path)


def test_a_run_becomes_a_page_a_summary_and_a_file_for_viewers(conformance: Command, tmp_path: Path) -> None:
    """And the terminal says where the page is."""
    done = conformance("publish", "--run", kept(SMALL, tmp_path / "run.json.gz"), "--out", "there")
    assert (done.code, done.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["index.html", "junit.xml", "summary.md"]
    told = " ".join(done.stdout.split())  # however wide the terminal is
    assert told.startswith("2 findings in 2 libraries: 2 new; 1 about robustness; 1 deviation; 2 of 5 cells not tested")
    assert "full report: there/index.html" in done.stdout


def test_the_page_is_the_same_in_every_process(conformance: Command, tmp_path: Path) -> None:
    """However its texts are hashed."""
    run = kept(SMALL, tmp_path / "run.json")
    for seed in ("1", "2"):
        assert conformance("publish", "--run", run, "--out", seed, PYTHONHASHSEED=seed).code == 0
    for name in ("index.html", "junit.xml", "summary.md"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_with_a_baseline_the_gate_is_told(conformance: Command, tmp_path: Path) -> None:
    """With the verdict that ``gate`` itself has; publishing succeeds all the same."""
    given = ("--run", kept(SMALL, tmp_path / "now.json"), "--baseline", kept(CLEAN, tmp_path / "before.json"))
    gate, done = conformance("gate", *given), conformance("publish", *given)
    assert done.code == 0
    assert f"(exit {gate.code})" in done.stdout
    assert f"(exit {gate.code})" in (tmp_path / "conform-report" / "summary.md").read_text().replace("&#40;", "(").replace("&#41;", ")")  # fmt: skip


def test_a_history_is_read_and_not_written(conformance: Command, tmp_path: Path) -> None:
    """The run that is shown is its newest, whether it is in it or not."""
    history.append(
        tmp_path / "history.jsonl", canonical(replace(SMALL, id="r0", began="2026-11-01T00:00:00+00:00")), {}
    )
    before = (tmp_path / "history.jsonl").read_bytes()
    done = conformance("publish", "--run", kept(SMALL, tmp_path / "run.json"), "--history", "history.jsonl")
    assert (done.code, done.stderr) == (0, "")
    assert (tmp_path / "history.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--run"),
        (("--run", "nowhere"), "nowhere holds nothing"),
        (("--run", "run.json", "--history", "nothing.jsonl"), "nothing.jsonl does not exist"),
        (("--run", "run.json", "--out", "run.json/there"), "cannot be written"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(
    conformance: Command, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    """No traceback."""
    kept(SMALL, tmp_path / "run.json")
    done = conformance("publish", *arguments)
    assert (done.code, told in done.stderr, len(done.stderr.splitlines())) == (2, True, 1), done.stderr


def test_an_altered_run_is_not_published(conformance: Command, tmp_path: Path) -> None:
    """Its digest has to fit."""
    path = tmp_path / "run.json"
    kept(SMALL, path)
    document = json.loads(path.read_text())
    document["cells"][0]["title"] = "another"
    path.write_text(json.dumps(document))
    done = conformance("publish", "--run", "run.json")
    assert (done.code, "was changed or damaged" in done.stderr) == (2, True)


def test_what_check_wrote_can_be_published(conformance: Command, tmp_path: Path) -> None:
    """A folder of one environment is a run of one cell."""
    conformance("check", "--between", "reference", "--family", "dtype", "--device", "host", "--tier", "quick")
    done = conformance("publish", "--run", "conform-results")
    assert (done.code, done.stderr) == (0, "")
    assert "in 1 cell:" in done.stdout


# -- scripts


def test_a_case_that_has_a_readable_script_brings_it() -> None:
    """Known by its id alone; others have none, and so has what this version does not know."""
    assert "import cvcuda" in scripts.readable("cai.empty-address/cvcuda-reference/cai/cuda/empty")
    assert scripts.readable("cai.mask/reference-torch/cai/cuda") == ""
    assert scripts.readable("gone.gone/torch-cupy/dlpack/cuda") == ""


# -- what can be believed

ABORT = "canary.aborts/reference-reference/none/host"
CRASHED = CRASH._replace(clause="", step="check", accused=(), side="not known")


def test_canaries_that_sang_as_built_are_no_violations() -> None:
    """They test the run and no library."""
    run = believable(made({"cu13-torch2.11": Told({ABORT: CRASHED}, cases=(*CASES, ABORT))}))
    assert counts(run)[Verdict.VIOLATES] == 0
    assert counts(run)[Verdict.CONFORMS] == len(CASES)


def test_a_cell_whose_canaries_did_not_is_not_tested() -> None:
    """Neither its passes nor its failures count, and the reports say why."""
    run = believable(made({"cu13-torch2.11": Told({BOOL: VIOLATION}, cases=(*CASES, ABORT))}))
    assert sum(counts(run).values()) == 0
    assert [(reason.what, reason.why) for reason in untested(run).cells] == [("no results", UNBELIEVABLE)]


def test_a_cell_without_its_candidate_says_that_and_accuses_nobody() -> None:
    """Its results are of something else; no limit has done it."""
    run = made({"cu13-torch2.11": Told({BOOL: VIOLATION})})
    (cell,) = run.cells
    run = believable(
        replace(run, cells=(replace(cell, lifecycle="candidate not in effect", reason="torch 2.12 was not found"),))
    )
    assert counts(run)[Verdict.VIOLATES] == 0
    assert (
        untested(run).cells[0].why
        == "torch 2.12 was not found; the cell did not test the candidate, so its results do not count"
    )


def test_a_cell_at_its_memory_limit_accuses_nobody() -> None:
    """The limit may have done it."""
    (cell,) = made({"cu13-torch2.11": Told({BOOL: VIOLATION})}).cells
    run = made({"cu13-torch2.11": Told({BOOL: VIOLATION})})
    run = believable(replace(run, cells=(replace(cell, lifecycle="out of memory", reason="at its limit of 8g"),)))
    assert counts(run)[Verdict.VIOLATES] == 0
    assert "at its limit of 8g" in untested(run).cells[0].why


def test_a_report_does_not_replace_the_run_that_it_was_made_from(conformance: Command, tmp_path: Path) -> None:
    """The file of the run has the name of a report."""
    run = kept(SMALL, tmp_path / "index.html")
    before = (tmp_path / "index.html").read_bytes()
    done = conformance("publish", "--run", run, "--out", ".")
    assert (done.code, "is what --run names, and would be lost" in done.stderr) == (2, True)
    assert ((tmp_path / "index.html").read_bytes(), [path.name for path in tmp_path.iterdir()]) == (
        before,
        ["index.html"],
    )
