"""Some nights of .github/workflows/nightly.yml: the commands of its last job, with a GitHub made of folders."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from lines import line
from lines import planned as planned_case

from conformance.engines import digests
from conformance.engines.cells import planned
from conformance.runs import history, run_file

ROOT = Path(__file__).parent.parent
CELLS = (
    "cu12.9-py3.12-numpy1.26-cupy13.6-cvcuda0.17-pycuda2026.1-cudapy12.9",
    "cu13.2-py3.12-numpy2.5-torch2.15-cupy14.2-cvcuda0.19-pycuda2026.1-cudapy13.4",
)
A, B = ("dtype.exchange/numpy-reference/dlpack/host/bool", "dtype.exchange/numpy-reference/dlpack/host/int8")
GOOD, KNOWN, WORSE = {A: "pass", B: "pass"}, {A: "fail", B: "pass"}, {A: "fail", B: "fail"}
NEW_VIOLATION, REGRESSION, NOT_TESTED = 22, 23, 25

GH = """\
#!{python}
import json, pathlib, shutil, sys
hub, asked = pathlib.Path({hub!r}), sys.argv[1:]
option = lambda name: asked[asked.index(name) + 1]
if (hub / "away").exists():
    sys.exit("error connecting to api.github.com")
if asked[:2] == ["run", "list"]:
    assert (option("--workflow"), option("--branch"), option("--status")) == ("nightly.yml", "main", "completed"), asked
    runs = [json.loads((run / "run.json").read_text()) for run in sorted(hub.glob("[0-9]*"), reverse=True)]
    print(json.dumps(runs[: int(option("--limit"))]))
elif asked[0] == "api":
    path, name = asked[1].split("?name=")
    owner, run = path.removeprefix("repos/").removesuffix("/artifacts").split("/actions/runs/")
    found = hub / run / name
    print(json.dumps({{"artifacts": [{{"expired": (found / "expired").exists()}}] if found.exists() else []}}))
elif asked[:2] == ["run", "download"]:
    shutil.copytree(hub / asked[2] / option("--name"), option("--dir"), dirs_exist_ok=True)
else:
    sys.exit(f"gh: {{asked}}")
"""
"""What the job asks of the GitHub CLI. Nights are folders named by number, with ``run.json`` and their artifacts."""


@dataclass(frozen=True)
class Night:
    """What became of one: its folder, the exit codes of its steps, and all that they said."""

    folder: Path
    codes: dict[str, int]
    told: str


class Hub:
    """A repository with its nights."""

    def __init__(self, folder: Path) -> None:
        """Empty."""
        self.folder, self._under = folder / "hub", folder
        (folder / "bin").mkdir()
        gh = folder / "bin" / "gh"
        gh.write_text(GH.format(python=sys.executable, hub=str(self.folder)))
        gh.chmod(0o755)
        self._path = f"{gh.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._nights = 0

    def night(self, outcomes: dict[str, str], accept: bool = False, brought: int = 2) -> Night:
        """Run the steps of the job, as long as none fails, and keep what it would upload."""
        folder = self._under / f"night-{self._nights + 1}"
        for name in CELLS[:brought]:
            _cell(folder / "results" / name, outcomes, began=1795353758.5 + 86400 * self._nights)
        codes, told, failed = {}, "", False
        for step in _steps():
            if not _is_run(step.get("if", ""), folder, failed):
                continue
            done = self.run(step["run"], folder)
            codes[step["name"]], told = done.returncode, told + done.stdout + done.stderr
            failed = failed or (done.returncode != 0 and not (accept and "continue-on-error" in step))
        self.keep(folder / "run", "failure" if failed else "success")
        return Night(folder, codes, told)

    def keep(self, run: Path, conclusion: str = "success", event: str = "schedule") -> Path:
        """What a night leaves behind: its folder ``run`` as artifacts. Gives the folder that has them."""
        self._nights += 1
        kept = self.folder / f"{self._nights:03}"
        shutil.copytree(run, kept / "run-smoke")
        if (run / "history.jsonl").exists():
            (kept / "history-smoke").mkdir()
            shutil.copy(run / "history.jsonl", kept / "history-smoke")
        (kept / "run.json").write_text(json.dumps({"databaseId": kept.name, "event": event, "conclusion": conclusion}))
        return kept

    def run(self, script: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """A step of the job."""
        folder.mkdir(exist_ok=True)
        for name in ("matrix.yaml", "locks", ".github"):
            if not (folder / name).exists():
                (folder / name).symlink_to(ROOT / name)
        variables = {
            "PATH": self._path, "TIER": "smoke", "GITHUB_REPOSITORY": "us/ours", "GITHUB_REF_NAME": "main",
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        }  # fmt: skip
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=folder, env=variables, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def fetched(self) -> list[str]:
        """What the step that asks for earlier nights says, line by line."""
        done = self.run(
            next(step["run"] for step in _steps() if "earlier_nights" in step["run"]), self._under / "asking"
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


def _steps() -> list[dict[str, Any]]:
    """Those of the last job that have a name and run a command."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "nightly.yml").read_text())
    return [step for step in workflow["jobs"]["merge"]["steps"] if "run" in step and "name" in step]


def _is_run(condition: str, folder: Path, failed: bool) -> bool:
    files = re.findall(r"hashFiles\('([^']+)'\) != ''", condition)
    return (not failed or "always()" in condition) and all((folder / file).exists() for file in files)


def _cell(folder: Path, outcomes: dict[str, str], began: float) -> None:
    """What a machine brings: the cell as it was planned, and a result for each of its cases."""
    cell = next(cell for cell in planned(ROOT / "matrix.yaml", "smoke", ()) if cell.name == folder.name)
    folder.mkdir(parents=True)
    (folder / "plan.jsonl").write_text("".join(json.dumps(planned_case(case)) + "\n" for case in outcomes))
    lines = [_result(case, outcome) for case, outcome in outcomes.items()]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "journal.jsonl").write_text(json.dumps({"event": "begin", "at": began}) + "\n")
    of = {
        "suite": digests.of_suite(),
        "lock": digests.of_file(ROOT / "locks" / f"{folder.name}.txt"),
        "results": digests.of_file(folder / "results.jsonl"),
    }
    record = {
        "lifecycle": "done", "reason": "", "starts": [{"at": str(began)}], "digests": of,
        "axes": dict(cell.axes), "holds": dict(cell.holds),
    }  # fmt: skip
    (folder / "cell.json").write_text(json.dumps(record))


def _result(case: str, outcome: str) -> dict[str, Any]:
    if outcome == "pass":
        return line(case)
    accused = {"side": "producer", "libraries": ["numpy"], "why": "the other side is the reference"}
    return line(
        case, outcome, "violates", code="dtype-changed", clause="DLP-59", role="producer", reason="the type changed",
        expected="bool", seen="int8", accused=accused,
    )  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    """A repository without a night."""
    return Hub(tmp_path)


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """What a night leaves behind, as far as it matters who left it."""
    folder = tmp_path / "left"
    folder.mkdir()
    (folder / "history.jsonl").touch()
    return folder


def test_what_got_worse_stays_red_until_it_is_mended_or_accepted(hub: Hub) -> None:
    """The baseline is the last green night's run, not the last one's, or a regression would be known after one night."""
    nights = (
        hub.night(KNOWN, accept=True),
        hub.night(KNOWN),
        hub.night(WORSE),
        hub.night(WORSE),
        hub.night(WORSE, accept=True),
        hub.night(WORSE),
    )
    codes = [night.codes["run the gate"] for night in nights]
    assert codes == [NEW_VIOLATION, 0, REGRESSION, REGRESSION, REGRESSION, 0]


def test_every_night_is_in_the_history_also_one_that_is_red(hub: Hub) -> None:
    """And the reports of each are of its own run, with what changed."""
    hub.night(GOOD)
    last = hub.night(WORSE)
    runs = history.read(last.folder / "run" / "history.jsonl").entries
    assert [len(run.cases) for run in runs] == [0, 2]
    assert runs[-1].digest == run_file.digest(run_file.read(last.folder / "run" / "run.json.gz"))
    assert (last.codes["run the gate"], last.codes["write the reports"]) == (REGRESSION, 0)
    assert "regression" in (last.folder / "summary.md").read_text()
    assert "NumPy exports a plain array as another element type, by DLPack." in last.told


@pytest.mark.parametrize(("brought", "states"), [(1, ["cc", ""]), (0, ["", ""])])
def test_a_cell_that_nobody_brought_is_red_and_in_the_run(brought: int, states: list[str], hub: Hub) -> None:
    """The night is told to its end, also if no machine has answered."""
    night = hub.night(GOOD, brought=brought)
    assert (night.codes["run the gate"], night.codes["write the reports"]) == (NOT_TESTED, 0)
    run = run_file.read(night.folder / "run" / "run.json.gz")
    assert [cell.states for cell in run.cells] == states


def test_the_history_is_the_last_nights_and_the_baseline_the_last_green_ones(hub: Hub, left: Path) -> None:
    """Whatever became of the last one."""
    for conclusion in ("success", "failure", "cancelled"):
        hub.keep(left, conclusion)
    assert hub.fetched() == ["history-smoke: downloaded from run 003", "run-smoke: downloaded from run 001"]


def test_what_the_tests_of_a_change_leave_out_runs_every_night() -> None:
    """A test with the mark ``again`` would otherwise run nowhere."""
    options = re.search(r'^addopts = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert options is not None
    assert "-m 'not again'" in options[1]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "nightly.yml").read_text())
    steps = workflow["jobs"]["again"]["steps"]
    assert "python3 -m nox -s tests -- -m again" in [step.get("run") for step in steps]


def test_nothing_is_taken_from_a_forks_pull_request(hub: Hub, left: Path) -> None:
    """It can have a workflow of this name on a branch of that name, and leave whatever it likes."""
    hub.keep(left, event="workflow_dispatch")
    hub.keep(left, event="pull_request")
    assert hub.fetched() == ["history-smoke: downloaded from run 001", "run-smoke: downloaded from run 001"]


def test_what_has_expired_is_passed_over(hub: Hub, left: Path) -> None:
    """Artifacts are kept for some time only."""
    hub.keep(left)
    (hub.keep(left) / "run-smoke" / "expired").touch()
    assert hub.fetched() == ["history-smoke: downloaded from run 002", "run-smoke: downloaded from run 001"]


def test_a_night_that_cannot_ask_what_earlier_ones_left_begins_no_history_anew(hub: Hub, left: Path) -> None:
    """It is red, has no history to keep, and the next one goes on where the last one was."""
    hub.keep(left)
    (hub.folder / "away").touch()
    lost = hub.night(GOOD)
    assert lost.codes == {"merge the results of all planned cells": 0, "download the history and the baseline": 1}
    assert "earlier_nights: gh run list exited with 1; run the job again" in lost.told
    (hub.folder / "away").unlink()
    assert hub.fetched() == ["history-smoke: downloaded from run 001", "run-smoke: downloaded from run 001"]
