"""Folders that only their maker can enter."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from conformance import private
from conformance.exits import UserError

OTHER = 12345
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to somebody else")


@pytest.fixture(autouse=True)
def one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where folders may be made."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr(private.tempfile, "tempdir", str(place))
    monkeypatch.delenv(private.RUNTIME, raising=False)
    monkeypatch.setattr(private, "PLACES", ())
    return place


def test_a_folder_is_made_afresh_for_its_maker_alone(one_place: Path) -> None:
    """Whatever the mask of the user's files is, and it is gone in the end."""
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
    """Else another user may exchange what is in it. This goes for the folders above it, too."""
    below = one_place / "below"
    below.mkdir()
    one_place.chmod(mode)
    assert (private.distrust(str(one_place)) is None, private.distrust(str(below)) is None) == (is_trusted, is_trusted)


@as_root
def test_a_folder_of_another_users_is_not_trusted(one_place: Path) -> None:
    """That user may rename what is in it, sticky or not."""
    os.chown(one_place, OTHER, OTHER)
    one_place.chmod(0o1777)
    assert str(private.distrust(str(one_place))).endswith(f"belongs to another user (uid {OTHER})")


@as_root
def test_a_folder_of_another_group_is_not_trusted(one_place: Path) -> None:
    """Its members may rename what is in it."""
    os.chown(one_place, 0, OTHER)
    one_place.chmod(0o770)
    assert private.distrust(str(one_place)) is not None


def test_where_no_place_can_be_trusted_nothing_is_started(one_place: Path) -> None:
    """One sentence says why, and what to do."""
    one_place.chmod(0o777)
    with pytest.raises(UserError) as told, private.folder():
        pass
    assert str(told.value) == (
        f"no private folder can be made for the processes of a run: {one_place} can be written to by everybody and is not sticky; "
        "set TMPDIR to a folder that only you can write to"
    )


def test_another_place_is_taken_where_the_first_cannot_be_trusted(
    one_place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's own, where the machine has such folders."""
    one_place.chmod(0o777)
    own = tmp_path / "own"
    own.mkdir(0o700)
    monkeypatch.setenv(private.RUNTIME, str(own))
    with private.folder() as made:
        assert made.parent == own


def test_a_file_system_that_lets_everybody_in_is_not_used(one_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some know no owners: the folder is looked at after it was made."""
    make = private.tempfile.mkdtemp

    def open_to_all(*, prefix: str, dir: str) -> str:
        made = make(prefix=prefix, dir=dir)
        os.chmod(made, 0o777)
        return made

    monkeypatch.setattr(private.tempfile, "mkdtemp", open_to_all)
    with pytest.raises(UserError, match="lets other users into every folder"), private.folder():
        pass
    assert list(one_place.iterdir()) == []
