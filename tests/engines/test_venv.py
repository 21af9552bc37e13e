"""Environments that are kept: their interpreter runs as this user."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from conformance import kept
from conformance.engines import venv
from conformance.engines.model import Cell, Ending, Prepared
from conformance.engines.venv import Venv
from conformance.images import groups
from conformance.images.process import Shell
from conformance.images.stages import digest
from conformance.matrix import lockfile

LOCK = min((Path(__file__).parents[2] / "locks").glob("*.txt"))
OTHER = 12345


@pytest.fixture
def cell() -> Cell:
    """Return a cell with a lock."""
    return Cell("one", python="3.12", cuda="13", lock=str(LOCK))


@pytest.fixture
def made(tmp_path: Path, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the cell's environment, which looks whole."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(kept.CACHE, str(tmp_path / "cache"))
    name = f"one-{digest(groups.requirements(lockfile.read(Path(cell.lock))))[:12]}"
    folder = tmp_path / "build" / "venvs" / name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch(0o755)
    (folder / venv.READY).touch()
    return folder


def prepared(cell: Cell) -> Prepared | Ending:
    """Prepare the cell without making anything."""
    engine = Venv("none", Shell(io.StringIO(), os.environ, dry_run=True))
    assert engine.available() is None
    return engine.prepare([cell])[cell.name]


def test_an_environment_that_is_whole_is_used_again(cell: Cell, made: Path) -> None:
    """Its interpreter is what runs."""
    found = prepared(cell)
    assert isinstance(found, Prepared)
    assert found.what == str(made / "bin" / "python")


@pytest.mark.parametrize("name", [".", "bin"])
def test_an_environment_that_every_user_can_change_is_not_run(name: str, cell: Cell, made: Path) -> None:
    """Its name comes from the lock, which is public."""
    (made / name).chmod(0o777)
    found = prepared(cell)
    assert isinstance(found, Ending)
    assert "so it is not run; remove" in found.reason


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("name", ["", "bin"])
def test_an_environment_of_another_user_is_not_run(name: str, cell: Cell, made: Path) -> None:
    """Nor one whose interpreter is in a folder of another user."""
    os.chown(made / name, OTHER, OTHER)
    found = prepared(cell)
    assert isinstance(found, Ending)
    assert "belongs to another user (uid 12345)" in found.reason


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_the_environments_of_another_user_in_the_working_folder_are_not_used(cell: Cell, made: Path) -> None:
    """The user's own are kept in the cache."""
    os.chown(made.parents[1], OTHER, OTHER)
    found = prepared(cell)
    assert isinstance(found, Prepared)
    assert "/cache/cuda-interop-conformance/venvs/" in found.what


def test_the_recipe_of_pycuda_is_that_of_the_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of this name in the working folder decides nothing."""
    (tmp_path / "docker" / "pycuda").mkdir(parents=True)
    (tmp_path / "docker" / "pycuda" / "wheel").write_text("exit 1\n")
    monkeypatch.chdir(tmp_path)
    assert venv.recipe().is_absolute()
    assert not venv.recipe().is_relative_to(tmp_path)
    assert (venv.recipe() / "wheel").is_file()
