"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from conformance import files


@pytest.mark.parametrize("content", ["nächste\n", b"\x00\xff"])
def test_what_is_written_is_there_to_the_byte(content: str | bytes, tmp_path: Path) -> None:
    """Text as UTF-8; nothing lies beside it."""
    files.write(tmp_path / "some.txt", content)
    assert (tmp_path / "some.txt").read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [path.name for path in tmp_path.iterdir()] == ["some.txt"]


@pytest.mark.parametrize("end", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_file_that_cannot_be_written_whole_leaves_the_old_one(
    end: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the new one stays behind, and whoever asked is told."""
    path = tmp_path / "results.jsonl"
    path.write_text("old\n")

    def full(descriptor: int) -> None:
        assert (tmp_path / "results.jsonl.partial").read_text() == "new\n", "not all of it had been given to the disk"
        raise end

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(type(end)):
        files.write(path, "new\n")
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("path", [".", "", "/", ".."])
def test_what_can_only_be_a_folder_is_told_as_that(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the file like any other, and nothing is left."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError) as caught:
        files.write(Path(path), "new\n")
    if path != "..":
        assert (type(caught.value), caught.value.errno) == (IsADirectoryError, errno.EISDIR)
        assert (caught.value.strerror, caught.value.filename) == (os.strerror(errno.EISDIR), str(Path(path)))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """By the error of the file, not of the clean-up after it."""
    with pytest.raises(FileNotFoundError) as caught:
        files.write(tmp_path / "none" / "results.jsonl", "new\n")
    assert caught.value.__context__ is None
