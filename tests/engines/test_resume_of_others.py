"""Resuming a run executes what its folder says: the folder must not redirect output or choose a program."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from conformance.cli import main
from conformance.engines import folder_ownership, records
from conformance.engines.cli import ENGINE
from conformance.engines.containers import PLAIN_USER
from conformance.engines.model import Bounds, Cell
from conformance.engines.records import Run
from conformance.exits import Exit, UserError

PLANNED: dict[str, object] = {"axes": {}, "holds": {}}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return a run over one cell that has not begun."""
    (tmp_path / "out").mkdir()
    run = Run("1", "smoke", "here", "it was asked for", "none", Bounds(), (), (Cell("one", problem="it cannot run"),))
    records.write(tmp_path / "out" / records.RUN, run.to_json())
    return tmp_path / "out"


def say(out: Path, **changes: object) -> None:
    """Change ``run.json``."""
    written = json.loads((out / records.RUN).read_text())
    (out / records.RUN).write_text(json.dumps({**written, **changes}))


def test_a_run_is_gone_on_with(out: Path) -> None:
    """The run resumes as planned."""
    assert main(["conform", "--resume", str(out)]) == Exit.INCOMPLETE
    assert json.loads((out / "one" / "cell.json").read_text())["reason"] == "it cannot run"


@pytest.mark.parametrize("name", ["../written", "x/../../written", "{}/written"])
def test_a_cell_is_written_to_its_run_alone(name: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cell's name could otherwise point anywhere."""
    name = name.format(out.parent)
    say(out, cells=[{"name": name, "problem": "it cannot run", **PLANNED}])
    assert main(["conform", "--resume", str(out)]) == Exit.USAGE
    assert "has invalid cells" in capsys.readouterr().err
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["one", "candidates", "with-tests"])
def test_a_link_out_of_a_run_is_not_written_through(name: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The link replaces the folder of a cell, or of another part of the run."""
    (out.parent / "theirs").mkdir()
    (out / name).symlink_to(out.parent / "theirs")
    assert main(["conform", "--resume", str(out)]) == Exit.USAGE
    assert f"{name} is a link" in capsys.readouterr().err
    assert list((out.parent / "theirs").iterdir()) == []


@pytest.mark.parametrize("name", [".lock", "one/cell.json"])
def test_a_link_in_the_place_of_a_file_is_not_written_through(name: str, out: Path) -> None:
    """Another user may have created the link."""
    (out / "one").mkdir()
    (out.parent / "theirs").write_text("theirs")
    (out / name).symlink_to(out.parent / "theirs")
    main(["conform", "--resume", str(out)])
    assert (out.parent / "theirs").read_text() == "theirs"


def test_a_lock_that_is_a_pipe_is_told_and_not_waited_for(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message contains the remedy."""
    os.mkfifo(out / ".lock")
    assert main(["conform", "--resume", str(out)]) == Exit.USAGE
    assert "remove it, or choose another folder" in capsys.readouterr().err


def program(folder: Path) -> Path:
    """Write a program that leaves a trace when it runs."""
    path = folder / "engine"
    path.write_text(f"#!/bin/sh\ntouch {folder}/ran\n")
    path.chmod(0o755)
    return path


def test_no_program_is_taken_from_a_folder_of_results(
    out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user must name the program again."""
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
    """The rule holds for resumed and new runs, and for abbreviated options."""
    say(out, arguments=[argument, "/x"])
    assert main(["conform", "--resume", str(out)]) == Exit.USAGE
    assert main(["conform", "--on", "here", "--out", str(out / "new"), "--", argument]) == Exit.USAGE


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_the_run_of_another_user_is_not_gone_on_with(
    out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run file of another user could make this user run arbitrary commands."""
    os.chown(out / records.RUN, 12345, 12345)
    assert main(["conform", "--resume", str(out)]) == Exit.USAGE
    assert "belongs to another user (uid 12345)" in capsys.readouterr().err


PARTS = ("", "..", "one", "candidates", "with-tests", "with-tests/conftest.py")
"""Places from which code of a run could be exchanged, relative to its folder."""


def fill(out: Path) -> None:
    """Create the folders of a run that hold code."""
    for folder in ("one", "candidates", "with-tests"):
        (out / folder).mkdir()
    (out / "with-tests" / "conftest.py").touch()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("name", PARTS)
def test_a_run_in_a_folder_of_another_user_is_not_gone_on_with(
    name: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That user could exchange ``run.json``, or code, after it has been checked."""
    fill(out)
    os.chown(out / name, 12345, 12345)
    assert main(["conform", "--resume", str(out)]) == Exit.USAGE
    told = capsys.readouterr().err
    assert "belongs to another user (uid 12345)" in told
    assert "copy the folder to a place that only you can change" in told


@pytest.mark.parametrize("name", [*PARTS, "run.json"])
def test_a_run_that_other_users_can_change_is_not_gone_on_with(
    name: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mode of a folder or of a file lets them in."""
    fill(out)
    (out / name).chmod(0o777)
    assert main(["conform", "--resume", str(out)]) == Exit.USAGE
    assert "can be written to by" in capsys.readouterr().err


def test_a_run_file_that_is_a_link_is_not_followed(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is opened once, and its owner is read from the open file."""
    (out / records.RUN).rename(out / "real.json")
    (out / records.RUN).symlink_to("real.json")
    assert main(["conform", "--resume", str(out)]) == Exit.USAGE
    assert "run.json is a link, not a file" in capsys.readouterr().err


def test_a_run_below_a_sticky_folder_is_gone_on_with(out: Path) -> None:
    """Other users cannot rename an entry of this user there."""
    out.parent.chmod(0o1777)
    assert main(["conform", "--resume", str(out)]) == Exit.INCOMPLETE


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts containers as another user")
def test_folders_that_containers_have_written_to_are_gone_on_with(out: Path) -> None:
    """When root starts containers, their user owns the folders of the cells, but nothing else of a run."""
    (out / "one").mkdir()
    os.chown(out / "one", PLAIN_USER, PLAIN_USER)
    folder_ownership.check("--resume", out, "", ["one"], contained=PLAIN_USER)
    with pytest.raises(UserError):
        folder_ownership.check("--resume", out, "", ["one"])
    os.chown(out, PLAIN_USER, PLAIN_USER)
    with pytest.raises(UserError):
        folder_ownership.check("--resume", out, "", ["one"], contained=PLAIN_USER)


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
    """The message names the first invalid part."""
    say(out, **changes)
    assert main(["conform", "--resume", str(out)]) == Exit.USAGE
    assert "run.json is not in the expected format" in capsys.readouterr().err
