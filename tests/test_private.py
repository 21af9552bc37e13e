"""Folders that only their owner can enter."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from conformance import private
from conformance.exits import UserError

OTHER = 12345
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can change the owner of a folder")


@pytest.fixture(autouse=True)
def one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only place in which folders may be created."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr(private.tempfile, "tempdir", str(place))
    monkeypatch.delenv(private.RUNTIME, raising=False)
    monkeypatch.setattr(private, "PLACES", ())
    return place


def test_a_folder_is_made_afresh_for_its_maker_alone(one_place: Path) -> None:
    """The umask does not apply, and the folder is removed at the end."""
    before = os.umask(0)
    try:
        with private.folder() as made, private.folder() as other:
            assert made != other
            assert (stat.S_IMODE(made.stat().st_mode), made.stat().st_uid) == (0o700, os.geteuid())
            (made / "file").touch()
    finally:
        os.umask(before)
    assert list(one_place.iterdir()) == []


@pytest.mark.parametrize(("mode", "is_trusted"), [(0o777, False), (0o1777, True), (0o700, True), (0o755, True)])
def test_where_everybody_may_write_the_folder_has_to_be_sticky(one_place: Path, mode: int, *, is_trusted: bool) -> None:
    """Otherwise another user may replace its entries. The rule also holds for the folders above it."""
    below = one_place / "below"
    below.mkdir()
    one_place.chmod(mode)
    assert (private.distrust(str(one_place)) is None, private.distrust(str(below)) is None) == (is_trusted, is_trusted)


@as_root
def test_a_folder_of_another_users_is_not_trusted(one_place: Path) -> None:
    """That user may rename the entries, even in a sticky folder."""
    os.chown(one_place, OTHER, OTHER)
    one_place.chmod(0o1777)
    assert str(private.distrust(str(one_place))).endswith(f"belongs to another user (uid {OTHER})")


@as_root
def test_a_folder_of_another_group_is_not_trusted(one_place: Path) -> None:
    """The members of the group may rename the entries."""
    os.chown(one_place, 0, OTHER)
    one_place.chmod(0o770)
    assert private.distrust(str(one_place)) is not None


def test_where_no_place_can_be_trusted_nothing_is_started(one_place: Path) -> None:
    """One sentence gives the reason and the remedy."""
    one_place.chmod(0o777)
    with pytest.raises(UserError) as told, private.folder():
        pass
    assert str(told.value) == (
        f"no private folder can be created for the processes of a run: {one_place} can be written to by every user and is not sticky; "
        "set TMPDIR to a folder that only you can write to"
    )


def test_another_place_is_taken_where_the_first_cannot_be_trusted(
    one_place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's runtime folder is used on machines that have one."""
    one_place.chmod(0o777)
    own = tmp_path / "own"
    own.mkdir(0o700)
    monkeypatch.setenv(private.RUNTIME, str(own))
    with private.folder() as made:
        assert made.parent == own


def test_a_file_system_that_lets_everybody_in_is_not_used(one_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems have no owners, so the folder is checked after its creation."""
    make = private.tempfile.mkdtemp

    def open_to_all(*, prefix: str, dir: str) -> str:
        made = make(prefix=prefix, dir=dir)
        os.chmod(made, 0o777)
        return made

    monkeypatch.setattr(private.tempfile, "mkdtemp", open_to_all)
    with pytest.raises(UserError, match="gives other users access to every folder"), private.folder():
        pass
    assert list(one_place.iterdir()) == []
