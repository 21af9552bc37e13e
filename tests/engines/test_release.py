"""Before a release: candidates in cells and a package's own tests beside ours, with an engine that is a script."""

from __future__ import annotations

import os
from pathlib import Path

import jsonschema
import pytest
from wheels import make

from conformance.engines.candidates import wheels

from .test_conform import Bench, bench, pytestmark, schema

__all__ = ["bench", "pytestmark"]
BOTH = ("--tier", "smoke")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A candidate for the cells of CUDA 12 alone."""
    return make(tmp_path / "dist", "cvcuda-cu12", "0.20.0", {"cvcuda_cu12/__init__.py": ""})


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    """A package's own tests."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "test_a.py").write_text("def test_passes(): pass\n")
    return folder


def test_a_candidate_stands_in_front_of_the_path_of_the_cells_that_hold_it(bench: Bench, wheel: Path) -> None:
    """Mounted read-only; the image is the same, and the others are run as they are."""
    done = bench.conform(*BOTH, "--candidate", f"cvcuda={wheel}")
    assert (done.code, done.lifecycles) == (0, {"smoke-12": "done", "smoke-13": "done"})
    with_it, without = (" ".join(call) for call in bench.engine.calls("run"))
    digest = wheels.digest(wheel)
    assert f"--volume {bench.out}/candidates/{digest}:/candidates/cvcuda-cu12:ro" in with_it
    assert "PYTHONPATH=/suite/conformance/checks/startup:/candidates/cvcuda-cu12:/suite " in with_it
    assert "CONFORMANCE_CANDIDATES=/candidates/cvcuda-cu12" in with_it
    assert ("candidates" in without, "PYTHONPATH=/suite " in without) == (False, True)
    assert "candidate ·: the cell contains no distribution that a candidate replaces" in done.stdout


def test_the_plan_and_each_cell_name_the_candidate_with_its_digest(bench: Bench, wheel: Path) -> None:
    """So that a gate knows which file was tested, and instead of what."""
    done = bench.conform(*BOTH, "--candidate", f"cvcuda={wheel}")
    facts = {"name": "cvcuda-cu12", "version": "0.20.0", "file": wheel.name, "sha256": wheels.digest(wheel)}
    assert done.plan["candidates"] == [{**facts, "source": str(wheel)}]
    assert done.plan["asked"] == [f"cvcuda={wheel}"]
    (told,) = done.records["smoke-12"]["candidates"]
    assert told == {**facts, "instead_of": told["instead_of"]}
    assert told["instead_of"].startswith("0.17")
    assert done.records["smoke-13"]["candidates"] == []
    jsonschema.validate(done.plan, schema("run"))
    for record in done.records.values():
        jsonschema.validate(record, schema("cell"))


def test_only_the_cells_that_a_candidate_goes_into(bench: Bench, wheel: Path) -> None:
    """Where that is asked for."""
    assert set(bench.conform(*BOTH, "--candidate", f"cvcuda={wheel}", "--only-candidate").lifecycles) == {"smoke-12"}


def test_a_candidate_that_is_not_in_effect_is_an_outcome_and_begins_anew(bench: Bench, wheel: Path) -> None:
    """What was tested is not what was asked for, whatever it conforms to; nothing of it is gone on with."""
    bench.engine.released.touch()
    done = bench.conform("--cells", "smoke-12", "--candidate", f"cvcuda={wheel}")
    assert (done.code, done.lifecycles) == (4, {"smoke-12": "candidate not in effect"})
    assert "importlib.metadata finds 0.20.0" in done.records["smoke-12"]["reason"]
    jsonschema.validate(done.records["smoke-12"], schema("cell"))
    bench.engine.released.unlink()
    done = bench.conform("--resume", str(bench.out))
    assert (done.code, done.lifecycles) == (0, {"smoke-12": "done"})
    second = bench.engine.calls("run")[1]
    assert "--out" in second[second.index("check") :]


def test_a_candidate_that_does_not_fit_is_an_outcome_and_nothing_is_run(bench: Bench, tmp_path: Path) -> None:
    """By its Python in one cell, by what it requires in the other; neither needs an image."""
    other = make(tmp_path, "numpy", "2.6.0", {"numpy.py": ""}, requires=["scipy"])
    for path, word in (
        (other, "requires scipy, which the cell does not contain"),
        (
            make(tmp_path, "numpy", "2.6.0", {"numpy.py": ""}, tag="cp313-cp313-linux_x86_64"),
            "the cell has Python 3.12",
        ),
    ):
        done = bench.conform("--cells", "smoke-12", "--candidate", f"numpy={path}")
        assert (done.code, done.lifecycles) == (4, {"smoke-12": "candidate does not fit"})
        assert word in done.records["smoke-12"]["reason"]
        jsonschema.validate(done.records["smoke-12"], schema("cell"))
    assert (bench.engine.store / "calls").read_text().count('["run"') == 0
    assert bench.engine.calls("build") == []


def test_a_package_has_its_own_tests_run_beside_ours(bench: Bench, wheel: Path, tests: Path) -> None:
    """After ours, in a container of their own that is shut off as ours is, with the same candidate."""
    bench.engine.behave("else=violations")
    done = bench.conform("--cells", "smoke-12", "--candidate", f"cvcuda={wheel}", "--with-tests", str(tests))
    assert done.code == 1
    ours, theirs = bench.engine.calls("run")
    assert theirs[theirs.index("-m") :][:2] == ["-m", "pytest"]
    assert f"{bench.out}/with-tests:/with-tests:ro" in theirs
    shared = [
        word for word in ours[3 : ours.index("--workdir")] if "conformance-" not in word and ":/results" not in word
    ]
    assert set(shared) <= set(theirs)
    found = done.records["smoke-12"]["with_tests"]
    assert (found["ended"], found["exit"], found["passed"], found["skipped"], found["failed"]) == ("done", 0, 1, 1, 0)
    assert "✓1 ∅1" in done.stdout
    assert done.plan["with_tests"] == {"folder": str(tests), "seconds": 3600.0}
    jsonschema.validate(done.plan, schema("run"))
    jsonschema.validate(done.records["smoke-12"], schema("cell"))


@pytest.mark.parametrize(
    ("way", "code", "ended", "word"),
    [
        ("fail", 1, "done", "✓1 ✗1 !1 ∅1"),
        ("crash", 4, "crash", "SIGSEGV, in test_a.py::test_dies"),
        ("killed", 4, "killed", "SIGKILL"),
        ("none", 4, "no tests", "found no test"),
        ("hang", 4, "hang", "longer than 1 s"),
    ],
)
def test_what_becomes_of_a_packages_own_tests_counts(
    bench: Bench, tests: Path, way: str, code: int, ended: str, word: str
) -> None:
    """In the exit code and in the table, though our own check is complete."""
    bench.engine.tests(way)
    done = bench.conform(
        "--cells", "smoke-12", "--with-tests", str(tests), "--with-tests-limit", "1" if way == "hang" else "60"
    )
    record = done.records["smoke-12"]
    assert (done.code, record["lifecycle"], record["exit"]) == (code, "done", 0)
    assert record["with_tests"]["ended"] == ended
    assert word in " ".join(done.stdout.split())
    jsonschema.validate(record, schema("cell"))
    assert bench.engine.containers == []


def test_resume_runs_the_tests_that_did_not_come_to_their_end_and_ours_no_more(bench: Bench, tests: Path) -> None:
    """As they were when the run was planned."""
    bench.engine.tests("killed")
    assert bench.conform("--cells", "smoke-12", "--with-tests", str(tests)).code == 4
    (tests / "test_a.py").unlink()
    bench.engine.tests("pass")
    done = bench.conform("--resume", str(bench.out))
    assert (done.code, done.records["smoke-12"]["with_tests"]["passed"]) == (0, 1)
    assert ["pytest" in call for call in bench.engine.calls("run")] == [False, True, True]
    assert (bench.out / "with-tests" / "test_a.py").is_file()


def test_tests_are_not_run_in_a_cell_that_did_not_come_to_its_end(bench: Bench, tests: Path) -> None:
    """It says so, and a run that goes on does both."""
    bench.engine.behave("else=killed")
    done = bench.conform("--cells", "smoke-12", "--with-tests", str(tests))
    assert done.records["smoke-12"]["with_tests"]["reason"] == "the cell is: killed"
    assert done.code == 4


def test_a_dry_run_shows_the_unpacking_and_both_containers(bench: Bench, wheel: Path, tests: Path) -> None:
    """And does nothing of it."""
    done = bench.conform(
        "--cells", "smoke-12", "--candidate", f"cvcuda={wheel}", "--with-tests", str(tests), "--dry-run"
    )
    assert done.code == 0
    for part in (
        " pip install -q --no-config --target ",
        ":/candidates/cvcuda-cu12:ro",
        "-tests --label",
        "-m pytest -v",
    ):
        assert part in done.stderr
    assert not bench.out.exists()


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        (["--candidate", "numpy=./no.whl", "--candidate", "nompy==1"], ["no such file", "did you mean numpy?"]),
        (["--candidate", "cuda_python=cuda-core==1", "--candidate", "x y"], ["asks for cuda-core", "neither a wheel"]),
        (["--only-candidate"], ["give one by --candidate"]),
        (["--with-tests", "no/such/folder"], ["is not a folder"]),
        (["--with-tests-limit", "3"], ["give both"]),
        (["--with-tests", ".", "--with-tests-limit", "0"], ["more than 0"]),
    ],
)  # fmt: skip
def test_what_cannot_be_done_as_given_is_said_at_once(bench: Bench, arguments: list[str], sentences: list[str]) -> None:
    """A sentence each, exit code 2, and nothing is run."""
    done = bench.conform("--cells", "smoke-12", *arguments)
    assert done.code == 2
    assert [sentence for sentence in sentences if sentence not in done.stderr] == []
    assert "Traceback" not in done.stderr
    assert not bench.out.exists()


def test_a_run_that_goes_on_takes_no_other_candidate(bench: Bench, wheel: Path) -> None:
    """It has been planned."""
    bench.conform("--cells", "smoke-13")
    done = bench.conform("--resume", str(bench.out), "--candidate", f"cvcuda={wheel}")
    assert (done.code, "cannot be given with --resume" in done.stderr) == (2, True)


@pytest.mark.parametrize(("mode", "is_used"), [(0o777, False), (0o1777, False), (0o755, True)])
def test_code_is_not_put_where_other_users_can_exchange_it(bench: Bench, tests: Path, mode: int, is_used: bool) -> None:
    """Nothing is written there. A run without code of the user's own may use the folder."""
    bench.out.mkdir()
    bench.out.chmod(mode)
    done = bench.conform("--cells", "smoke-12", "--with-tests", str(tests))
    assert (done.code == 0, "choose a folder that only you can change" in done.stderr) == (is_used, not is_used)
    assert any(bench.out.iterdir()) == is_used
    assert bench.conform("--cells", "smoke-12").code == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("name", ["out", "out/candidates"])
def test_code_is_not_put_into_a_folder_of_another_user(bench: Bench, wheel: Path, name: str) -> None:
    """That user could exchange a candidate before it runs."""
    (bench.folder / name).mkdir(parents=True)
    os.chown(bench.folder / name, 12345, 12345)
    done = bench.conform("--cells", "smoke-12", "--candidate", f"cvcuda={wheel}")
    assert (done.code, "belongs to another user (uid 12345)" in done.stderr) == (2, True)
