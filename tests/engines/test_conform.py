"""A run over cells, with an engine that is a script: a failure is its cell's outcome, and planned is reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import conformance

from .fake_engine import FakeEngine

ROOT = Path(conformance.__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not (ROOT / "matrix.yaml").is_file() and not Path("matrix.yaml").is_file(),
    reason="the matrix lies in a checkout only",
)
CHECKOUT = ROOT if (ROOT / "matrix.yaml").is_file() else Path.cwd()


@dataclass(frozen=True)
class Done:
    """A finished run, and what it left."""

    code: int
    stdout: str
    stderr: str
    out: Path

    @property
    def plan(self) -> dict[str, Any]:
        """``run.json``."""
        found: dict[str, Any] = json.loads((self.out / "run.json").read_text())
        return found

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        """``cell.json`` of each planned cell, by its name in matrix.yaml."""
        names = [(cell["alias"], cell["name"]) for cell in self.plan["cells"]]
        return {alias or name: json.loads((self.out / name / "cell.json").read_text()) for alias, name in names}

    @property
    def lifecycles(self) -> dict[str, str]:
        """Outcome by cell."""
        return {name: record["lifecycle"] for name, record in self.records.items()}


class Bench:
    """A runner on a fake engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = FakeEngine(folder)
        self.out = folder / "out"

    def command(self, *arguments: str) -> list[str]:
        """``python -m conformance conform``."""
        return [sys.executable, "-m", "conformance", "conform", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """With the engine, and with this suite."""
        return {**self.engine.environment, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}

    def conform(self, *arguments: str) -> Done:
        """Run it in the checkout, to its end."""
        told = arguments if "--resume" in arguments else ("--out", str(self.out), *arguments)
        done = subprocess.run(
            self.command(*told), cwd=CHECKOUT, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr, self.out)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it in a session of its own."""
        return subprocess.Popen(
            self.command("--out", str(self.out), *arguments), cwd=CHECKOUT, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def until(self, there: Callable[[], object]) -> None:
        """Wait for something to be so."""
        end = time.monotonic() + 60
        while not there():
            assert time.monotonic() < end, "it never came to be"
            time.sleep(0.05)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An engine of its own for each test."""
    return Bench(tmp_path)


QUICK = """
import subprocess, sys
from conformance.cli import main

class Quick(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        if options.get("start_new_session"):
            self.wait()

subprocess.Popen = Quick
sys.exit(main())
"""
"""A runner that is so slow, or has cells that are so quick, that they are over when it goes on."""


def test_a_cell_that_is_over_before_its_runner_looks_again_has_brought_its_results(bench: Bench) -> None:
    """What was there before is looked at before it starts."""
    command = [sys.executable, "-c", QUICK, "conform", "--out", str(bench.out), "--cells", "smoke-12"]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=bench.environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert Done(done.returncode, done.stdout, done.stderr, bench.out).lifecycles == {"smoke-12": "done"}, done.stderr
    assert done.returncode == 0


def test_every_planned_cell_is_reported_and_the_worst_of_them_is_the_exit_code(bench: Bench) -> None:
    """One conforms, one violates."""
    bench.engine.behave("torch=violations", "else=ok")
    done = bench.conform("--tier", "smoke")
    assert (done.code, done.lifecycles) == (1, {"smoke-12": "done", "smoke-13": "done"})
    assert [record["exit"] for record in done.records.values()] == [0, 1]
    assert "smoke-12  done" in done.stdout
    jsonschema.validate(done.plan, schema("run"))
    for record in done.records.values():
        jsonschema.validate(record, schema("cell"))


def schema(name: str) -> Any:
    """A schema that comes with the package."""
    return json.loads(resources.files("conformance.engines").joinpath("schemas", f"{name}.schema.json").read_text())


@pytest.mark.parametrize(
    ("how", "lifecycle", "code", "word"),
    [
        ("missing", "image missing", 4, "No such image"),
        ("usage", "not run", 4, "--case: there is no case x"),
        ("full", "no space", 6, "cannot be written"),
        ("killed", "killed", 4, "SIGKILL"),
        ("oom", "out of memory", 4, "memory limit of 8g"),
        ("nothing", "not run", 4, "wrote no results"),
        ("lost", "done", 4, "no outcome"),
        ("void", "done", 5, "canary"),
    ],
)
def test_a_failure_is_the_outcome_of_its_cell_and_the_other_goes_on(
    bench: Bench, how: str, lifecycle: str, code: int, word: str
) -> None:
    """With a reason that says what it was."""
    bench.engine.behave(f"cu12={how}", "else=ok")
    done = bench.conform("--tier", "smoke")
    assert done.lifecycles == {"smoke-12": lifecycle, "smoke-13": "done"}
    assert word in done.records["smoke-12"]["reason"]
    assert done.code == code
    jsonschema.validate(done.records["smoke-12"], schema("cell"))
    assert bench.engine.containers == []


def test_an_engine_that_goes_takes_the_rest_along_and_each_says_so(bench: Bench) -> None:
    """Nothing is lost of what was planned."""
    bench.engine.behave("cu12=gone", "else=ok")
    done = bench.conform("--tier", "smoke")
    assert (done.code, done.lifecycles) == (4, {"smoke-12": "engine gone", "smoke-13": "engine gone"})


def test_a_build_that_fails_is_the_outcome_of_the_cells_that_need_it(bench: Bench) -> None:
    """The cell without torch is run."""
    (bench.engine.store / "broken").touch()
    done = bench.conform("--tier", "smoke")
    assert (done.code, done.lifecycles) == (4, {"smoke-12": "done", "smoke-13": "build failed"})
    assert "no wheel of torch" in done.records["smoke-13"]["reason"]


def test_a_full_disk_in_a_build_is_told_apart(bench: Bench) -> None:
    """It has nothing to do with the cell."""
    (bench.engine.store / "full").touch()
    assert set(bench.conform("--tier", "smoke").lifecycles.values()) == {"no space"}


def test_resume_runs_what_is_not_done_and_nothing_else(bench: Bench) -> None:
    """In the same run, by the plan that was written."""
    bench.engine.behave("cu12=killed", "else=violations")
    assert bench.conform("--tier", "smoke").code == 4
    bench.engine.behave("else=ok")
    done = bench.conform("--resume", str(bench.out))
    assert (done.code, done.lifecycles) == (1, {"smoke-12": "done", "smoke-13": "done"})
    assert len(bench.engine.calls("run")) == 3
    assert [len(record["starts"]) for record in done.records.values()] == [2, 1]


def test_a_cell_that_was_interrupted_goes_on_where_it_was(bench: Bench) -> None:
    """By ``check --resume``, because it has left a plan and a journal."""
    bench.engine.behave("else=sleep")
    assert bench.conform("--cells", "smoke-12", "--limit", "2").lifecycles == {"smoke-12": "deadline"}
    bench.engine.behave("else=ok")
    assert bench.conform("--resume", str(bench.out)).code == 0
    first, second = bench.engine.calls("run")
    assert "--out" in first[first.index("check") :]
    assert second[second.index("check") + 1 : second.index("check") + 3] == ["--resume", "/results"]


def test_a_cell_without_memory_begins_anew_with_more(bench: Bench) -> None:
    """What it has found out may have been the limit's doing."""
    bench.engine.behave("else=oom")
    bench.conform("--cells", "smoke-12", "--memory", "1g")
    bench.engine.behave("else=ok")
    assert bench.conform("--resume", str(bench.out), "--memory", "2g").code == 0
    second = bench.engine.calls("run")[1]
    assert "--out" in second[second.index("check") :]
    assert second[second.index("--memory") + 1] == "2g"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_asked_to_stop_it_stops_the_containers_and_leaves_a_record_of_every_cell(
    bench: Bench, number: signal.Signals, code: int
) -> None:
    """The one that ran, and the one that was not begun."""
    bench.engine.behave("else=sleep")
    process = bench.start("--tier", "smoke")
    bench.until(lambda: list(bench.out.glob("*/plan.jsonl")))
    process.send_signal(number)
    process.communicate(timeout=60)
    done = Done(process.returncode, "", "", bench.out)
    assert (done.code, done.lifecycles) == (code, {"smoke-12": "stopped", "smoke-13": "not run"})
    assert bench.engine.containers == []
    assert bench.engine.calls("stop")


def test_asked_twice_it_kills_what_does_not_listen(bench: Bench) -> None:
    """Without waiting for it."""
    bench.engine.behave("else=deaf")
    process = bench.start("--cells", "smoke-12")
    bench.until(lambda: bench.engine.containers)
    time.sleep(0.5)  # until the script has put its fingers into its ears
    process.send_signal(signal.SIGINT)
    bench.until(lambda: bench.engine.calls("stop"))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)
    assert Done(process.returncode, "", "", bench.out).lifecycles == {"smoke-12": "stopped"}
    assert bench.engine.containers == []


def test_a_runner_that_is_killed_has_left_a_record_of_every_cell_and_resume_takes_its_containers_over(
    bench: Bench,
) -> None:
    """Nobody could have put anything down in order."""
    bench.engine.behave("else=sleep")
    process = bench.start("--tier", "smoke")
    bench.until(lambda: list(bench.out.glob("*/plan.jsonl")))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    left = Done(-9, "", "", bench.out)
    assert left.lifecycles == {"smoke-12": "not run", "smoke-13": "not run"}
    assert "runner ended" in left.records["smoke-12"]["reason"]
    assert len(bench.engine.containers) == 1
    bench.engine.behave("else=ok")
    done = bench.conform("--resume", str(bench.out))
    assert (done.code, done.lifecycles) == (0, {"smoke-12": "done", "smoke-13": "done"})
    assert bench.engine.containers == []


def test_cells_run_side_by_side_within_the_limit(bench: Bench) -> None:
    """Two containers at once with --jobs 2."""
    bench.engine.behave("else=sleep")
    process = bench.start("--tier", "smoke", "--jobs", "2")
    bench.until(lambda: len(bench.engine.containers) == 2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert Done(0, "", "", bench.out).lifecycles == {"smoke-12": "stopped", "smoke-13": "stopped"}


def test_a_dry_run_shows_every_command_and_runs_none(bench: Bench) -> None:
    """Neither a build nor a container, and nothing is written."""
    done = bench.conform("--tier", "smoke", "--dry-run")
    assert done.code == 0
    assert done.stderr.count(" run --name conformance-") == 2
    assert not {"run", "build", "rm"} & {
        call[0] for name in ("run", "build", "rm") for call in bench.engine.calls(name)
    }
    assert not bench.out.exists()


def test_one_case_in_one_cell(bench: Bench) -> None:
    """And whatever else is for ``check``."""
    bench.conform("--cells", "smoke-13", "--case", "layout.x/a", "--", "--seed", "word")
    (call,) = bench.engine.calls("run")
    assert call[-4:] == ["--case", "layout.x/a", "--seed", "word"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tier", "smoke", "--cells", "smoke-12"], "both select cells"),
        (["--cells", "smoke-14"], "did you mean smoke-1"),
        (["--tier", "smoke", "--gpus", "7777"], "there is no GPU 7777"),
        (["--tier", "smoke", "--gpus", "some"], "names no GPUs"),
        (["--tier", "smoke", "--memory", "much"], "is not a size"),
        (["--tier", "smoke", "--jobs", "0"], "is not a number of parallel cells"),
        (["--on", "here", "--tier", "smoke"], "one environment"),
        (["--cells", "smoke-12", "--", "--out", "x"], "must be given before"),
    ],
)
def test_a_mistake_is_one_sentence(bench: Bench, arguments: list[str], sentence: str) -> None:
    """Exit code 2, and nothing is run."""
    done = bench.conform(*arguments)
    assert (done.code, sentence in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr


def test_a_folder_without_a_run_cannot_be_resumed(bench: Bench) -> None:
    """One sentence says so."""
    done = bench.conform("--resume", str(bench.folder))
    assert (done.code, "holds no run over cells" in done.stderr) == (2, True)


def test_two_runners_do_not_write_to_one_folder(bench: Bench) -> None:
    """The second says so at once."""
    bench.engine.behave("else=sleep")
    process = bench.start("--cells", "smoke-12")
    bench.until(lambda: bench.engine.containers)
    assert bench.conform("--cells", "smoke-12").code == 2
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def test_what_a_cell_was_planned_with_is_written_down(bench: Bench) -> None:
    """By the names that matrix.yaml has, in the plan and in the cell's own record: its name tells people, and nobody else."""
    done = bench.conform("--cells", "smoke-12")
    axes = {
        "cuda": "12.9", "python": "3.12", "numpy": "1.26", "cupy": "13.6", "cvcuda": "0.17", "pycuda": "2026.1", "cuda_python": "12.9",
    }  # fmt: skip
    holds = {name: name for name in axes if name not in ("cuda", "python")}
    for told in (done.plan["cells"][0], done.records["smoke-12"]):
        assert (told["axes"], told["holds"]) == (axes, holds)


def test_a_run_that_an_older_suite_has_planned_is_not_gone_on_with(bench: Bench) -> None:
    """It knew the axes of a cell by its name alone."""
    done = bench.conform("--cells", "smoke-12")
    plan = done.plan
    del plan["cells"][0]["axes"], plan["cells"][0]["holds"]
    (bench.out / "run.json").write_text(json.dumps(plan))
    refused = bench.conform("--resume", str(bench.out))
    told = "the file lacks the planned versions of its cells, so an older version of this suite has written it; run it again"
    assert (refused.code, refused.stderr) == (2, f"conformance: {bench.out}/run.json: {told}\n")


def test_a_cell_that_cannot_be_resolved_is_an_outcome_with_the_resolvers_sentence(bench: Bench) -> None:
    """The others are run, and the run is complete."""
    without_solution(bench)
    done = subprocess.run(
        bench.command("--out", str(bench.out), "--tier", "smoke", "--matrix", str(bench.folder / "matrix.yaml")),
        cwd=CHECKOUT, env=bench.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = Done(done.returncode, done.stdout, done.stderr, bench.out)
    assert (found.code, found.lifecycles) == (0, {"smoke-12": "unresolvable", "smoke-13": "done"})
    assert found.records["smoke-12"]["reason"] == "because so it is"


def without_solution(bench: Bench) -> None:
    """A matrix whose first smoke cell has no solution."""
    (bench.folder / "locks").mkdir()
    (bench.folder / "matrix.yaml").write_text((CHECKOUT / "matrix.yaml").read_text())
    for lock in (CHECKOUT / "locks").iterdir():
        text, name = lock.read_text(), lock.name
        if name.startswith("cu12.9-py3.12-numpy1.26"):
            text, name = text.partition("\n\n")[0] + "\n\nbecause so it is\n", f"{lock.stem}.unresolvable"
        (bench.folder / "locks" / name).write_text(text)


def test_a_run_that_goes_on_has_the_bounds_that_it_had(bench: Bench) -> None:
    """Unless others are given."""
    bench.engine.behave("else=killed")
    bench.conform("--cells", "smoke-12", "--memory", "3g", "--limit", "77")
    bench.engine.behave("else=ok")
    assert bench.conform("--resume", str(bench.out)).code == 0
    for call in bench.engine.calls("run"):
        assert call[call.index("--memory") + 1] == "3g"
        assert call[call.index("--limit") + 1] == "69.3"
