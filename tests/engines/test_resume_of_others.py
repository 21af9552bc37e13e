"""Going on with a run is doing what its folder says: somebody else's folder writes nowhere else, and no program is taken from it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from conformance.cli import main
from conformance.engines import records
from conformance.engines.cli import ENGINE
from conformance.engines.model import Bounds, Cell
from conformance.engines.records import Run
from conformance.exits import Exit

PLANNED: dict[str, object] = {"axes": {}, "holds": {}}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A run over one cell that was not begun."""
    (tmp_path / "out").mkdir()
    run = Run("1", "smoke", "here", "it was asked for", "none", Bounds(), (), (Cell("one", problem="it cannot run"),))
    records.write(tmp_path / "out" / records.RUN, run.to_json())
    return tmp_path / "out"


def say(out: Path, **changes: object) -> None:
    """Let ``run.json`` say something else."""
    written = json.loads((out / records.RUN).read_text())
    (out / records.RUN).write_text(json.dumps({**written, **changes}))


def test_a_run_is_gone_on_with(out: Path) -> None:
    """As it was planned."""
    assert main(["conform", "--resume", str(out)]) == Exit.INCOMPLETE
    assert json.loads((out / "one" / "cell.json").read_text())["reason"] == "it cannot run"


@pytest.mark.parametrize("name", ["../written", "x/../../written", "{}/written"])
def test_a_cell_is_written_to_its_run_alone(name: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its name could lead anywhere."""
    name = name.format(out.parent)
    say(out, cells=[{"name": name, "problem": "it cannot run", **PLANNED}])
    assert main(["conform", "--resume", str(out)]) == Exit.USAGE
    assert "has invalid cells" in capsys.readouterr().err
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["one", "candidates", "with-tests"])
def test_a_link_out_of_a_run_is_not_written_through(name: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the folder of a cell, or of what lies beside them."""
    (out.parent / "theirs").mkdir()
    (out / name).symlink_to(out.parent / "theirs")
    assert main(["conform", "--resume", str(out)]) == Exit.USAGE
    assert f"{name} is a link" in capsys.readouterr().err
    assert list((out.parent / "theirs").iterdir()) == []


@pytest.mark.parametrize("name", [".lock", "one/cell.json"])
def test_a_link_in_the_place_of_a_file_is_not_written_through(name: str, out: Path) -> None:
    """Somebody else may have laid it there."""
    (out / "one").mkdir()
    (out.parent / "theirs").write_text("theirs")
    (out / name).symlink_to(out.parent / "theirs")
    main(["conform", "--resume", str(out)])
    assert (out.parent / "theirs").read_text() == "theirs"


def test_a_lock_that_is_a_pipe_is_told_and_not_waited_for(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what to do."""
    os.mkfifo(out / ".lock")
    assert main(["conform", "--resume", str(out)]) == Exit.USAGE
    assert "remove it, or choose another folder" in capsys.readouterr().err


def program(folder: Path) -> Path:
    """One that leaves a trace when it is run."""
    path = folder / "engine"
    path.write_text(f"#!/bin/sh\ntouch {folder}/ran\n")
    path.chmod(0o755)
    return path


def test_no_program_is_taken_from_a_folder_of_results(
    out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it is named again."""
    theirs = program(out.parent)
    say(out, on=str(theirs))
    monkeypatch.delenv(ENGINE, raising=False)
    assert main(["conform", "--resume", str(out)]) == Exit.USAGE
    assert "no program is taken from a folder of results" in capsys.readouterr().err
    assert not (out.parent / "ran").exists()
    monkeypatch.setenv(ENGINE, str(theirs))
    main(["conform", "--resume", str(out)])
    assert (out.parent / "ran").exists()


@pytest.mark.parametrize("argument", ["--out=/x", "--out", "--ou=/x", "--o", "--resume", "--res=x"])
def test_no_argument_of_a_run_says_where_results_go(argument: str, out: Path) -> None:
    """Neither of one that is gone on with nor of one that is begun, however short it is cut."""
    say(out, arguments=[argument, "/x"])
    assert main(["conform", "--resume", str(out)]) == Exit.USAGE
    assert main(["conform", "--on", "here", "--out", str(out / "new"), "--", argument]) == Exit.USAGE


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_the_run_of_another_user_is_not_gone_on_with(
    out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To do what somebody else's file says is to run as yourself what he wants."""
    os.chown(out / records.RUN, 12345, 12345)
    assert main(["conform", "--resume", str(out)]) == Exit.USAGE
    assert "belongs to another user (number 12345)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        {"bounds": {"memory": 5, "pids": 1, "seconds": 1}},
        {"bounds": {"memory": "8g", "pids": 1, "seconds": 1, "more": 1}},
        {"arguments": "--out"},
        {"gpus": None},
        {"with_tests": {"folder": 5, "seconds": 1}},
        {"cells": [{"name": "one", "candidates": [{}], **PLANNED}]},
        {"cells": [{"name": "one", "wings": 2, **PLANNED}]},
    ],
)
def test_a_run_of_another_kind_is_told(
    changes: dict[str, object], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its first part that is not as it was written."""
    say(out, **changes)
    assert main(["conform", "--resume", str(out)]) == Exit.USAGE
    assert "run.json is not as it was written" in capsys.readouterr().err
