"""Links and folders that other users may have put in the way of output."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import pytest
from conftest import Command

from conformance import files, links

OTHER = 12345
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can change the owner of a link")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a folder to which every user can write, as ``/tmp``."""
    made = tmp_path / "shared"
    made.mkdir()
    made.chmod(0o1777)
    return made


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """Return a folder of this user with a file that a run would replace."""
    made = tmp_path / "precious"
    made.mkdir()
    (made / "plan.jsonl").write_text("ours\n")
    return made


def theirs(link: Path, target: Path) -> Path:
    """Create a link of another user."""
    link.symlink_to(target)
    os.chown(link, OTHER, OTHER, follow_symlinks=False)
    return link


@as_root
@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o1775])
@pytest.mark.parametrize("name", ["link", "link/plan.jsonl"])
def test_a_link_of_another_user_is_not_followed(mode: int, name: str, shared: Path, precious: Path) -> None:
    """It may be the entry itself, or lie above it. A group that this user is not in can be as open as everybody."""
    shared.chmod(mode)
    os.chown(shared, 0, OTHER)
    theirs(shared / "link", precious if "/" in name else precious / "plan.jsonl")
    with pytest.raises(links.Foreign, match=r"the link link belongs to another user \(uid 12345\)"):
        files.write(shared / name, "theirs\n")
    assert (precious / "plan.jsonl").read_text() == "ours\n"


@as_root
def test_a_link_in_a_closed_folder_is_followed(tmp_path: Path, precious: Path) -> None:
    """Only this user can have moved it there."""
    files.write(theirs(tmp_path / "link", precious) / "plan.jsonl", "new\n")
    assert (precious / "plan.jsonl").read_text() == "new\n"


def test_an_own_link_is_followed_in_a_shared_folder(shared: Path, precious: Path) -> None:
    """Other users cannot replace it there. Both an absolute and a relative target count from the link."""
    (shared / "link").symlink_to(precious)
    (shared / "near").symlink_to("link/../precious/plan.jsonl")
    files.write(shared / "link" / "plan.jsonl", "new\n")
    assert (precious / "plan.jsonl").read_text() == "new\n"
    files.write(shared / "near", "newer\n")
    assert (precious / "plan.jsonl").read_text() == "newer\n"


def test_a_link_that_is_exchanged_after_the_check_is_not_followed(
    tmp_path: Path, precious: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer keeps the folder open that it has checked."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    make = files.secrets.token_hex

    def exchanged(size: int) -> str:
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to(precious)
        return make(size)

    monkeypatch.setattr(files.secrets, "token_hex", exchanged)
    files.write(tmp_path / "link" / "plan.jsonl", "new\n")
    assert ((precious / "plan.jsonl").read_text(), (tmp_path / "real" / "plan.jsonl").read_text()) == (
        "ours\n",
        "new\n",
    )


def test_a_link_to_an_open_file_of_the_process_is_written_to(tmp_path: Path) -> None:
    """Its target in ``/proc`` is the number of a pipe and no path."""
    reader, writer = os.pipe()
    (tmp_path / "link").symlink_to(f"/proc/{os.getpid()}/fd/{writer}")
    files.write(tmp_path / "link", "text\n")
    assert os.read(reader, 99) == b"text\n"
    os.close(reader)
    os.close(writer)


def test_a_folder_is_made_where_a_link_leads(tmp_path: Path) -> None:
    """Its mode lets no other user write, whatever the umask is."""
    (tmp_path / "link").symlink_to("far/folder")
    before = os.umask(0)
    try:
        files.make_folder(tmp_path / "link" / "below")
    finally:
        os.umask(before)
    made = tmp_path / "far" / "folder" / "below"
    assert [path.stat().st_mode & 0o7777 for path in (made, *list(made.parents)[:2])] == [0o775] * 3


def test_what_is_no_folder_is_told(tmp_path: Path) -> None:
    """The reason names what is needed."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    for path in (tmp_path / "file", tmp_path / "link", Path("/dev/null")):
        with pytest.raises(NotADirectoryError, match="a folder is needed, and this is not a folder"):
            files.make_folder(path)


@as_root
@pytest.mark.parametrize(("mode", "is_used"), [(0o1777, False), (0o777, False), (0o755, True)])
def test_a_folder_of_another_user_is_used_only_where_that_user_cannot_have_chosen_its_place(
    mode: int, is_used: bool, shared: Path
) -> None:
    """A container's mount and a checkout of another user lie in folders to which not every user can write."""
    (shared / "results").mkdir(mode=0o777)
    os.chown(shared / "results", OTHER, OTHER)
    shared.chmod(mode)
    with nullcontext() if is_used else pytest.raises(links.Foreign, match="in a folder to which every user can write"):
        files.make_folder(shared / "results", tried=True)


@as_root
def test_a_run_destroys_nothing_through_a_link_of_another_user(
    conformance: Command, shared: Path, precious: Path
) -> None:
    """The default folder of results lies in the working folder, and the message has the remedy."""
    theirs(shared / "conform-results", precious)
    done = conformance(
        "check",
        "--between",
        "numpy",
        "--family",
        "pointer",
        "--tier",
        "quick",
        "--out",
        str(shared / "conform-results"),
    )
    assert (done.code, "and is not followed; name its target" in done.stderr) == (2, True)
    assert [(path.name, path.read_text()) for path in precious.iterdir()] == [("plan.jsonl", "ours\n")]


@as_root
def test_a_run_does_not_use_a_folder_that_another_user_has_prepared(conformance: Command, shared: Path) -> None:
    """That user could exchange the results."""
    (shared / "results").mkdir(mode=0o777)
    os.chown(shared / "results", OTHER, OTHER)
    done = conformance("check", "--between", "numpy", "--family", "pointer", "--out", str(shared / "results"))
    assert (done.code, "belongs to another user (uid 12345)" in done.stderr) == (2, True)
    assert list((shared / "results").iterdir()) == []
