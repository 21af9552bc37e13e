"""File access of every command: a reader that never blocks, an atomic writer, and tests of a path.

The reader accepts regular files up to a size limit. It also reads ``/dev/stdin`` and ``/dev/fd/N``, which the process
inherited.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from conformance import links, private
from conformance.exits import UserError

MOST = 256 << 20
"""Limit of a file that is read, also after unpacking, in bytes. The suite's largest files have tens of MiB."""
_NAME = 80
"""Number of characters of a file's name that the name of its temporary copy contains."""
_GIVEN = re.compile(r"/dev/(?:fd/(?P<number>\d{1,4})|(?P<name>stdin|stdout|stderr))|/proc/self/fd/(?P<same>\d{1,4})")
_STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}
_KINDS = (
    (stat.S_ISDIR, "is a folder, not a file"),
    (stat.S_ISFIFO, "is a FIFO, not a file"),
    (stat.S_ISSOCK, "is a socket, not a file"),
    (stat.S_ISCHR, "is a device, not a file"),
    (stat.S_ISBLK, "is a device, not a file"),
)


class Unreadable(UserError):
    """A file that cannot be used: its path, the line (0 for the whole file), and the reason as the end of a sentence."""

    def __init__(self, path: Path, why: str, line: int = 0) -> None:
        super().__init__(path, why, line)
        self.path, self.why, self.line = path, why, line

    def __str__(self) -> str:
        return self._message(str(self.path))

    @property
    def brief(self) -> str:
        """Message without the folder, for a sentence that already names the folder."""
        return self._message(self.path.name)

    def _message(self, name: str) -> str:
        return f"line {self.line} of {name} {self.why}" if self.line else f"{name} {self.why}"


class Missing(Unreadable):
    """A file that does not exist."""


class NotOwn(Unreadable):
    """A file that another user could have written, or a link in its place."""


@contextmanager
def opened(path: Path, *, follow: bool = True, own: bool = False) -> Iterator[int]:
    """Open a regular file for reading and yield its descriptor. Without ``follow`` the path must not be a link.

    With ``own`` it must not be a link either, and only this user and root may be able to write to the open file.

    Never waits. Raises Unreadable, or Missing if there is no file, or NotOwn.
    """
    try:
        file = _opened(path, follow=follow and not own, own=own)
    except FileNotFoundError:
        raise Missing(path, "is not there") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise Unreadable(path, f"cannot be read: {_strerror(error)}") from error
    try:
        yield file
    except OSError as error:
        raise Unreadable(path, f"cannot be read: {_strerror(error)}") from error
    finally:
        os.close(file)


def is_there(path: Path) -> bool:
    """Return whether a path leads to anything. A link without a target does not. Raises Unreadable as :func:`is_folder`."""
    return _mode(path) is not None


def is_file(path: Path) -> bool:
    """Return whether a path leads to a regular file. Raises Unreadable as :func:`is_folder`."""
    return stat.S_ISREG(_mode(path) or 0)


def is_folder(path: Path) -> bool:
    """Return whether a path leads to a folder.

    Raises Unreadable if the system cannot tell: the name is too long or has a NUL, or a folder may not be entered.
    """
    return stat.S_ISDIR(_mode(path) or 0)


def is_same(one: Path, other: Path) -> bool:
    """Return whether two paths lead to one entry, which may be missing. Raises Unreadable as :func:`is_folder`."""
    if is_there(one) and is_there(other):
        return os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)


def _mode(path: Path) -> int | None:
    try:
        return os.stat(path).st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EBADF):
            return None
        raise Unreadable(path, f"cannot be used: {_strerror(error)}") from error
    except ValueError as error:  # a NUL in the path
        raise Unreadable(path, f"cannot be used: {error}") from error


def _opened(path: Path, *, follow: bool, own: bool) -> int:
    given = _given(path)
    if given is not None:
        return os.dup(given)
    _check_kind(path, os.stat(path, follow_symlinks=follow).st_mode)  # opening a device can have side effects
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW))
    try:
        found = os.fstat(file)
        _check_kind(path, found.st_mode)
        if own and not private.is_closed(found):
            raise NotOwn(path, _not_own(found))
    except BaseException:
        os.close(file)
        raise
    return file


def _not_own(found: os.stat_result) -> str:
    if private.is_ours(found):
        return "can be written to by other users"
    return f"belongs to another user (uid {found.st_uid})"


def _check_kind(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise Unreadable(path, next((kind for is_one, kind in _KINDS if is_one(mode)), "is a link, not a file"))


def read(path: Path, most: int = MOST, *, own: bool = False) -> bytes:
    """Return the content of a file. ``own`` is that of :func:`opened`.

    Raises Unreadable, also for more than ``most`` bytes, and Missing if there is no file.
    """
    parts: list[bytes] = []
    size = 0
    with opened(path, own=own) as file:
        while part := os.read(file, 1 << 20):
            parts.append(part)
            size += len(part)
            if size > most:
                raise Unreadable(path, f"is larger than {too_large(most)}")
    return b"".join(parts)


def too_large(most: int) -> str:
    """Describe a size limit; ``most`` in bytes."""
    return f"{most >> 20} MiB, which is the limit" if most >= 1 << 20 else f"{most} bytes, which is the limit"


def text(path: Path, most: int = MOST) -> str:
    """Return the content of a UTF-8 file. Raises as :func:`read`; for invalid UTF-8 the error has the line."""
    data = read(path, most)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Unreadable(path, "is not valid UTF-8; save the file as UTF-8", line) from error


def write(path: Path, content: str | bytes) -> None:
    """Write to a path that the user named. Text is UTF-8; characters that UTF-8 cannot encode are escaped.

    A regular file is replaced atomically, flushed to the disk, and keeps its mode and owner. A link is followed to its
    file. A device, a pipe or a descriptor of this process (``/dev/stdout``) is written to. Raises OSError if the write
    fails, and then leaves no temporary file.
    """
    with _naming(path):
        _write(path, _encoded(content))


def _write(path: Path, data: bytes) -> None:
    given = _given(path)
    if given is not None:
        _into_given(given, data)
        return
    with links.entry(path, follow=True) as (folder, name):
        try:
            there = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            there = None
        if there is None or stat.S_ISREG(there.st_mode):
            _replace(folder, name, data, there)
        elif stat.S_ISDIR(there.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        else:
            _into_stream(folder, name, there, data)


def write_own(path: Path, content: str | bytes) -> None:
    """Write a file of the suite in a folder of results, as :func:`write` does.

    A link at the path is replaced and never followed, because another user may have created it.
    """
    with _naming(path), links.entry(path, follow=False) as (folder, name):
        try:
            there = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            there = None
        if there and stat.S_ISDIR(there.st_mode):
            raise _no_file(path)
        _replace(folder, name, _encoded(content), there if there and stat.S_ISREG(there.st_mode) else None)


def remove(path: Path) -> None:
    """Remove a file of the suite in a folder of results, if it is there. Raises OSError for a folder in its place."""
    with _naming(path), suppress(FileNotFoundError), links.entry(path, follow=False) as (folder, name):
        try:
            os.unlink(name, dir_fd=folder)
        except IsADirectoryError as error:
            raise _no_file(path) from error


def make_folder(path: Path, *, tried: bool = False) -> None:
    """Create a folder for output, with those above it. ``tried`` also checks that a file can be created in it.

    Raises OSError, also if another user may have put the folder, or a link to it, in this place (:mod:`.links`).
    """
    with _naming(path), links.folder(path) as folder:
        if tried:
            tempfile.TemporaryFile(dir=f"/proc/self/fd/{folder}").close()


def make_above(path: Path) -> None:
    """Create the folders above a file that the user named. Raises OSError as :func:`make_folder`."""
    if _given(path) is None:
        with _naming(path), links.entry(path, follow=False, make=True):
            return


def is_kept(path: Path) -> bool:
    """Return whether writing would replace something: a file or a folder, but not a device or a pipe."""
    return _given(path) is None and (is_file(path) or is_folder(path))


def is_regular(path: Path) -> bool:
    """Return whether writing creates or replaces a regular file. A descriptor of the process (``/dev/stdout``) is none."""
    return _given(path) is None and (is_file(path) or not is_there(path))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Set the path of every OSError inside the context."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def own(path: Path, flags: int) -> int:
    """Open a file of the suite and return its descriptor; the file is created if missing.

    Raises OSError for a link, for a folder, and for anything that an open could wait for.
    """
    with links.entry(path, follow=False) as (folder, name):
        return _regular(path, folder, name, flags)


def appendable(path: Path) -> int:
    """Open a file that the user named for reading and appending and return its descriptor; it is created if missing.

    A link is followed as :func:`write` does. Raises OSError for anything but a regular file.
    """
    with links.entry(path, follow=True) as (folder, name):
        return _regular(path, folder, name, os.O_RDWR | os.O_APPEND)


def _regular(path: Path, folder: int, name: str, flags: int) -> int:
    flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        file = os.open(name, flags, 0o644, dir_fd=folder)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            error.filename = str(path)
            raise
        raise _no_file(path) from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _no_file(path)
    return file


def _no_file(path: Path) -> OSError:
    return OSError(errno.EINVAL, "a folder, a link, a pipe or a device is in the place of this file", str(path))


def _encoded(content: str | bytes) -> bytes:
    return content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content


def _replace(folder: int, name: str, data: bytes, there: os.stat_result | None) -> None:
    """Replace a file in a folder by a copy beside it, whose name is unpredictable."""
    partial = f".{name[:_NAME]}.{secrets.token_hex(8)}.partial"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(partial, flags, 0o666 if there is None else 0o600, dir_fd=folder)
    try:
        try:
            if there is not None:
                _be_like(file, there)
            _write_all(file, data)
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial, dir_fd=folder)
        raise


def _be_like(file: int, there: os.stat_result) -> None:
    """Copy the mode of the replaced file and, where permitted, its owner."""
    with suppress(PermissionError):
        os.fchown(file, there.st_uid, there.st_gid)
    os.fchmod(file, stat.S_IMODE(there.st_mode) & 0o777)


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _into_stream(folder: int, name: str, there: os.stat_result, data: bytes) -> None:
    """Write to a device, to a pipe, or to an open file of a process, which is the one kind of link that comes here."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        file = os.open(name, flags | (0 if stat.S_ISLNK(there.st_mode) else os.O_NOFOLLOW), dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ENXIO or stat.S_ISCHR(there.st_mode):
            raise
        raise OSError(errno.ENXIO, "no process reads from it") from error
    try:
        os.set_blocking(file, True)
        _write_all(file, data)
    finally:
        os.close(file)


def _given(path: Path) -> int | None:
    """Return the descriptor of this process that a path names by its text. A link to one does not count."""
    found = _GIVEN.fullmatch(os.fspath(path))
    if found is None:
        return None
    return _STANDARD[found["name"]] if found["name"] else int(found["number"] or found["same"])


def _into_given(number: int, data: bytes) -> None:
    """Write after all earlier output. Opening the path again would start at offset 0, and a socket cannot be opened."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    _write_all(number, data)


def _strerror(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
