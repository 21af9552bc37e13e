"""Folders that are kept between commands: code in them runs as this user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conformance import kept
from conformance.exits import UserError

OTHER = 12345
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can change the owner of a folder")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, beside a cache of the user."""
    made = tmp_path / "here"
    made.mkdir()
    monkeypatch.chdir(made)
    monkeypatch.setenv(kept.CACHE, str(tmp_path / "cache"))
    return made


def chosen(told: list[str]) -> Path:
    """Return the place for environments."""
    return kept.place("venvs", told.append)


def test_the_working_folder_is_the_first_choice(here: Path) -> None:
    """Nothing is said and nothing is created. A sticky folder is one in which other users can replace no entry."""
    told: list[str] = []
    here.chmod(0o1777)
    assert (chosen(told), told, list(here.iterdir())) == (Path("build/venvs"), [], [])
    kept.make(chosen(told))
    assert (here / "build" / "venvs").is_dir()


@pytest.mark.parametrize("name", [".", "build", "build/venvs"])
def test_where_every_user_can_change_it_the_cache_is_used(name: str, here: Path, tmp_path: Path) -> None:
    """The reason is told."""
    (here / "build" / "venvs").mkdir(parents=True)
    (here / name).chmod(0o777)
    told: list[str] = []
    assert chosen(told) == tmp_path / "cache" / "cuda-interop-conformance" / "venvs"
    assert "can be written to by every user" in told[0]


@as_root
@pytest.mark.parametrize("name", [".", "build", "build/venvs"])
def test_a_folder_of_another_user_is_not_used(name: str, here: Path, tmp_path: Path) -> None:
    """Root in a checkout of another user keeps environments in a folder of its own."""
    (here / "build" / "venvs").mkdir(parents=True)
    os.chown(here / name, OTHER, OTHER)
    assert chosen([]) == tmp_path / "cache" / "cuda-interop-conformance" / "venvs"


@as_root
def test_a_link_of_another_user_is_not_followed(here: Path, tmp_path: Path) -> None:
    """It may lead to a folder of this user."""
    (tmp_path / "ours").mkdir()
    here.chmod(0o1777)
    (here / "build").symlink_to(tmp_path / "ours")
    os.chown(here / "build", OTHER, OTHER, follow_symlinks=False)
    told: list[str] = []
    assert (chosen(told).parent.name, "belongs to another user" in told[0]) == ("cuda-interop-conformance", True)


def test_where_no_folder_can_be_trusted_the_way_to_go_on_is_told(here: Path, tmp_path: Path) -> None:
    """A folder that the user has given has no alternative."""
    tmp_path.chmod(0o777)
    with pytest.raises(UserError, match=f"change to a folder that only you can write to, or set {kept.CACHE} to one"):
        chosen([])
    tmp_path.chmod(0o755)
    (tmp_path / "given").mkdir()
    (tmp_path / "given").chmod(0o777)
    with pytest.raises(UserError, match="given can be written to by every user"):
        kept.place("cells", [].append, tmp_path / "given")
