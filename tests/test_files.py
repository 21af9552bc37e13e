"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
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
        (partial,) = tmp_path.glob(".results.jsonl.*.partial")
        assert partial.read_text() == "new\n", "not all of it had been given to the disk"
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


# -- write to a path of the user


@pytest.mark.parametrize("name", ["/dev/null", "/dev/zero"])
def test_a_device_is_written_to_and_stays_one(name: str) -> None:
    """The rule also holds for root, who could replace the device."""
    before = os.stat(name)
    files.write(Path(name), "text\n")
    assert (os.stat(name).st_ino, stat.S_ISCHR(os.stat(name).st_mode)) == (before.st_ino, True)


def test_a_terminal_that_is_not_there_is_told_as_a_device() -> None:
    """A terminal has no reader to wait for."""
    code = "from pathlib import Path; from conformance import files; files.write(Path('/dev/tty'), 'text')"
    done = subprocess.run(
        [sys.executable, "-c", code], start_new_session=True, capture_output=True, text=True, check=False
    )
    assert "OSError: [Errno 6] No such device or address: '/dev/tty'" in done.stderr


def test_a_full_device_is_told() -> None:
    """The error is that of a full disk."""
    with pytest.raises(OSError, match="No space left"):
        files.write(Path("/dev/full"), "text\n")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_is_followed_to_its_file(is_there: bool, tmp_path: Path) -> None:
    """The target is replaced atomically, in its own folder."""
    (tmp_path / "far").mkdir()
    if is_there:
        (tmp_path / "far" / "file").write_text("old\n")
    (tmp_path / "link").symlink_to("far/file")
    files.write(tmp_path / "link", "new\n")
    assert ((tmp_path / "link").is_symlink(), (tmp_path / "far" / "file").read_text()) == (True, "new\n")
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["file"]


def test_a_link_in_a_folder_of_results_is_not_followed(tmp_path: Path) -> None:
    """Another user may have created the link."""
    (tmp_path / "theirs").write_text("theirs\n")
    (tmp_path / "link").symlink_to("theirs")
    files.write_own(tmp_path / "link", "ours\n")
    assert ((tmp_path / "theirs").read_text(), (tmp_path / "link").read_text()) == ("theirs\n", "ours\n")
    assert not (tmp_path / "link").is_symlink()


def test_a_loop_of_links_is_told(tmp_path: Path) -> None:
    """The error names the file."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        files.write(tmp_path / "loop", "x")


def test_mode_and_owner_of_a_file_stay(tmp_path: Path) -> None:
    """The umask of the process does not apply."""
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o640)
    if os.getuid() == 0:
        os.chown(path, 12345, 12345)
    before = path.stat()
    files.write(path, "new")
    now = path.stat()
    assert (now.st_mode, now.st_uid, now.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_a_new_file_has_the_mode_that_any_has(tmp_path: Path) -> None:
    """The umask of the process applies."""
    (tmp_path / "other").touch()
    files.write(tmp_path / "file", "new")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_pipe_is_written_to_where_somebody_reads(tmp_path: Path) -> None:
    """The content exceeds the pipe's buffer. Without a reader the write fails at once."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="no process reads from it"):
        files.write(path, "x")
    content = b"x" * (1 << 20)
    code = f"import sys; sys.exit(len(open({str(path)!r}, 'rb').read()) != {len(content)})"
    reader = subprocess.Popen([sys.executable, "-c", code])
    end = os.open(path, os.O_WRONLY)  # waits for the reader
    files.write(path, content)
    os.close(end)
    assert (reader.wait(), stat.S_ISFIFO(path.stat().st_mode)) == (0, True)


def test_a_socket_is_told(tmp_path: Path) -> None:
    """The socket stays."""
    path = Path(os.path.relpath(tmp_path / "s"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(path))
        with pytest.raises(OSError, match="no process reads from it"):
            files.write(path, "x")
    assert stat.S_ISSOCK(path.stat().st_mode)


WRITES = "from pathlib import Path; from conformance import files; print('first'); files.write(Path({!r}), 'second\\n'); print('third')"


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("to", ["a pipe", "a file", "a socket"])
def test_standard_output_is_written_to_in_its_order(name: str, to: str, tmp_path: Path) -> None:
    """Standard output can be a pipe, a file or a socket."""
    ours, theirs = socket.socketpair()
    file = (tmp_path / "out").open("w+b")
    out = {"a pipe": subprocess.PIPE, "a file": file, "a socket": theirs}[to]
    done = subprocess.run([sys.executable, "-c", WRITES.format(name)], stdout=out, check=True)
    theirs.close()
    file.seek(0)
    said = {"a pipe": lambda: done.stdout, "a file": file.read, "a socket": lambda: ours.recv(99)}[to]()
    assert said == b"first\nsecond\nthird\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    file.close()
    ours.close()


def test_half_a_surrogate_pair_is_written_as_an_escape(tmp_path: Path) -> None:
    """The name of a folder that is not UTF-8 contains such characters."""
    files.write(tmp_path / "file", "a\udcffb")
    assert (tmp_path / "file").read_bytes() == b"a\\udcffb"


def test_an_unfinished_copy_that_somebody_has_laid_is_not_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule holds even for a predicted name."""
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "0")
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / ".file.0.partial").symlink_to("theirs")
    with pytest.raises(FileExistsError):
        files.write(tmp_path / "file", "ours")
    assert (tmp_path / "theirs").read_text() == "theirs"


# -- read


def test_a_file_is_read_to_the_byte(tmp_path: Path) -> None:
    """The file is read directly and through a link."""
    (tmp_path / "file").write_bytes(b"a\x00\xff")
    (tmp_path / "link").symlink_to("file")
    assert files.read(tmp_path / "link", 3) == files.read(tmp_path / "file") == b"a\x00\xff"


def test_what_is_too_large_is_told(tmp_path: Path) -> None:
    """The check precedes reading the whole file."""
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(files.Unreadable, match="file is larger than 4 MiB"):
        files.read(tmp_path / "file", 4 << 20)


def make(kind: str, path: Path) -> None:
    """Create an entry that is not a regular file."""
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path = Path(os.path.relpath(path))
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.fspath(path))


@pytest.mark.parametrize("kind", ["FIFO", "folder", "device", "socket"])
def test_what_is_no_file_is_told_and_not_waited_for(kind: str, tmp_path: Path) -> None:
    """The reader and the writer of results both refuse it."""
    path = tmp_path / "x"
    make(kind, path)
    with pytest.raises(files.Unreadable, match=f"x is a {kind}, not a file"):
        files.read(path)
    with pytest.raises(OSError, match=r"in the place of this file|Is a directory"):
        os.close(files.own(path, os.O_RDWR))


def test_what_is_not_there_is_told_apart(tmp_path: Path) -> None:
    """An invalid path is another error."""
    with pytest.raises(files.Missing, match="none is not there"):
        files.read(tmp_path / "none")
    for path in (tmp_path / ("x" * 300), tmp_path / "a\0b"):
        with pytest.raises(files.Unreadable, match="cannot be read: "):
            files.read(path)


def test_standard_input_is_read_where_it_is_named() -> None:
    """A pipe has no size, and a link to a descriptor is not followed."""
    code = "from pathlib import Path; from conformance import files; print(files.read(Path('/dev/stdin')))"
    done = subprocess.run([sys.executable, "-c", code], input=b"text", capture_output=True, check=True)
    assert done.stdout == b"b'text'\n"


def test_a_line_that_is_no_utf_8_is_told(tmp_path: Path) -> None:
    """The error has the line number."""
    (tmp_path / "file").write_bytes(b"a\n\xff\n")
    with pytest.raises(files.Unreadable, match=r"line 2 of .*file is not valid UTF-8"):
        files.text(tmp_path / "file")
