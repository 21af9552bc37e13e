"""A mistake of the user's gets one clear sentence and exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Command

from conformance.cli import main
from conformance.exits import Exit


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("chekc",), "chekc"),
        (("check", "--family", "pointr"), "did you mean pointer?"),
        (("check", "--between", "numpi"), "did you mean numpy?"),
        (
            ("check", "--between", "numpy", "--case", "pointer.values/numpy-reference/dlpack/host/c-order/float23"),
            "did you mean",
        ),
        (("check", "-n", "0"), "not a number of processes"),
        (("check", "--tier", "huge"), "huge"),
        (("check", "--deadline", "-1"), "more than 0"),
        (("check", "--device", "gpu"), "gpu"),
        (("list", "--family", "nothing"), "no family"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(conformance: Command, arguments: tuple[str, ...], told: str) -> None:
    """No traceback, no usage dump, what was meant."""
    done = conformance(*arguments)
    assert done.code == 2
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


LONG = "x" * 300
as_user = pytest.mark.skipif(os.getuid() == 0, reason="root may enter every folder")


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "--between", "numpy", "--out", LONG),
        ("check", "--resume", LONG),
        ("report", LONG),
        ("history", LONG),
        ("gate", "--run", LONG),
        ("gate", "--run", ".", "--json", LONG),
        ("gate", "--run", ".", "--json", f"{LONG}/x"),
        ("gate", "--run", ".", "--history", LONG),
        ("gate", "--run", ".", "--locks", LONG),
        ("gate", "--run", ".", "--baseline", LONG),
        ("gate", "--run", ".", "--candidate", f"numpy={LONG}"),
        ("publish", "--run", ".", "--history", LONG),
        ("publish", "--run", ".", "--out", LONG),
        ("waivers", "--propose", "--run", LONG),
        ("waivers", "--propose", "--run", ".", "--out", LONG),
        ("merge", LONG),
        ("merge", ".", "--out", f"{LONG}/x"),
        ("finding", "--results", LONG),
        ("finding", "--new", "--out", LONG),
        ("repro", "pointer.values/numpy-reference/dlpack/host/c-order/float32", "--results", LONG, "--out", LONG),
        ("images", "--ca", LONG),
        ("matrix", "--matrix", LONG),
        ("conform", "--candidate", f"numpy={LONG}"),
        ("conform", "--candidate", f"numpy={LONG}.whl"),
        ("conform", "--with-tests", LONG),
        ("conform", "--on", "here", "--resume", LONG),
        ("conform", "--on", "here", "--dry-run", "--out", LONG),
        ("conform", "--on", "here", "--out", LONG),
    ],
)
@pytest.mark.parametrize("is_closed", [False, pytest.param(True, marks=as_user)])
def test_a_path_that_cannot_be_used_is_told(
    arguments: tuple[str, ...],
    is_closed: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name is too long for the file system, or its folder may not be entered."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "closed").mkdir(0o000)
    given = tuple(word.replace(LONG, "closed/x") if is_closed else word for word in arguments)
    assert main(given) == Exit.USAGE
    assert capsys.readouterr().err.count("conformance: ") == 1


def test_an_output_folder_that_cannot_be_written_is_a_mistake_of_the_users(
    conformance: Command, tmp_path: Path
) -> None:
    """Found before anything runs."""
    (tmp_path / "file").write_text("")
    done = conformance("check", "--between", "numpy", "--out", str(tmp_path / "file" / "results"))
    assert (done.code, done.stderr.startswith("conformance: --out: results cannot be written")) == (2, True)


QUICK = ("check", "--between", "numpy", "--family", "pointer", "--tier", "quick", "-n", "1")


@pytest.mark.parametrize(("name", "code"), [("plan.jsonl", 6), ("contents.json", 6), (".lock", 2)])
def test_a_folder_in_the_place_of_a_file_is_told(conformance: Command, name: str, code: int, tmp_path: Path) -> None:
    """More room would not help."""
    (tmp_path / "conform-results" / name).mkdir(parents=True)
    done = conformance(*QUICK)
    assert (done.code, "a folder, a link, a pipe or a device is in the place of this file" in done.stderr) == (
        code,
        True,
    )
    assert (f"conform-results/{name}" in done.stderr, "remove it" in done.stderr, "make room" in done.stderr) == (
        True, True, False,
    )  # fmt: skip


def test_results_can_be_read_by_their_user_under_any_umask(tmp_path: Path) -> None:
    """The umask takes away the rights of other users alone."""
    done = subprocess.run(
        [sys.executable, "-m", "conformance", *QUICK], cwd=tmp_path, umask=0o777, capture_output=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    made = [tmp_path / "conform-results", *(tmp_path / "conform-results").iterdir()]
    assert {path.stat().st_mode & 0o777 for path in made} <= {0o700, 0o600}


def test_a_selection_without_a_case_is_not_a_success(conformance: Command) -> None:
    """Green by omission is the worst kind of green."""
    done = conformance("check", "--between", "numpy", "--family", "pointer", "--device", "cuda")
    assert (done.code, "--device cuda" in done.stderr or "nothing to run" in done.stderr) == (2, True)


def test_the_catalogue_is_printed_for_machines(conformance: Command) -> None:
    """Ids, statements, clauses with the side that each is held against, levels and the number of cases here."""
    done = conformance("list", "--between", "numpy", "--json")
    entries = {e["id"]: e for e in json.loads(done.stdout)}
    entry = entries["pointer.same-address"]
    assert entry["statement"].startswith("A consumer must share the memory")
    assert entry["duties"]["consumer"][0] == "DLP-43"
    assert "CAI-05" in entry["duties"]["producer"]
    assert entry["clauses"] == [*entry["duties"]["producer"], *entry["duties"]["consumer"]]
    assert (entry["level"], entry["cases"] > 0) == ("must", True)


def test_listed_case_ids_are_those_that_would_run(conformance: Command) -> None:
    """``list --cases`` and ``check`` agree."""
    listed = conformance("list", "--between", "numpy", "--family", "pointer", "--tier", "quick", "--cases")
    run = conformance("check", "--between", "numpy", "--family", "pointer", "--tier", "quick")
    assert listed.stdout.split() == [r["id"] for r in run.plan]
