"""Files as every command reads and writes them: one reader, which waits for nothing, and one writer.

Read are regular files alone, up to a size. ``/dev/stdin`` and ``/dev/fd/N`` are what the process was started with, and are read, too.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from conformance.exits import UserError

MOST = 256 << 20
"""Bytes of a file that are read, also of what it holds packed. The largest that the suite writes have a few tens of MiB."""
_NAME = 80
"""Characters of a file's name that the name of its unfinished copy has."""
_GIVEN = re.compile(r"/dev/(?:fd/(?P<number>\d{1,4})|(?P<name>stdin|stdout|stderr))|/proc/self/fd/(?P<same>\d{1,4})")
_STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}
_KINDS = (
    (stat.S_ISDIR, "is a folder and no file"),
    (stat.S_ISFIFO, "is a FIFO and no file"),
    (stat.S_ISSOCK, "is a socket and no file"),
    (stat.S_ISCHR, "is a device and no file"),
    (stat.S_ISBLK, "is a device and no file"),
)


class Unreadable(UserError):
    """A file that is not what it has to be: which one, in which line (0: none of them), and why, as the end of a sentence."""

    def __init__(self, path: Path, why: str, line: int = 0) -> None:
        super().__init__(path, why, line)
        self.path, self.why, self.line = path, why, line

    def __str__(self) -> str:
        return self._told(str(self.path))

    @property
    def brief(self) -> str:
        """The same without the folder, for a sentence that names it."""
        return self._told(self.path.name)

    def _told(self, name: str) -> str:
        return f"line {self.line} of {name} {self.why}" if self.line else f"{name} {self.why}"


class Missing(Unreadable):
    """There is no such file."""


@contextmanager
def opened(path: Path, *, follow: bool = True) -> Iterator[int]:
    """The descriptor of a regular file, to read from it; without ``follow`` the path itself is no link.

    Raises Unreadable, or Missing, and never waits.
    """
    try:
        file = _opened(path, follow=follow)
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


def _opened(path: Path, *, follow: bool) -> int:
    given = _given(path)
    if given is not None:
        return os.dup(given)
    _check_kind(path, os.stat(path, follow_symlinks=follow).st_mode)  # to open a device may already do something
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW))
    try:
        _check_kind(path, os.fstat(file).st_mode)
    except BaseException:
        os.close(file)
        raise
    return file


def _check_kind(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise Unreadable(path, next((told for is_one, told in _KINDS if is_one(mode)), "is a link and no file"))


def read(path: Path, most: int = MOST) -> bytes:
    """What a file holds. Raises Unreadable, also where that is more than ``most`` bytes, and Missing where there is none."""
    parts: list[bytes] = []
    size = 0
    with opened(path) as file:
        while part := os.read(file, 1 << 20):
            parts.append(part)
            size += len(part)
            if size > most:
                raise Unreadable(path, f"is larger than {too_large(most)}")
    return b"".join(parts)


def too_large(most: int) -> str:
    """A limit in words; ``most`` in bytes."""
    return f"{most >> 20} MiB, and no such file is" if most >= 1 << 20 else f"{most} bytes, and no such file is"


def text(path: Path, most: int = MOST) -> str:
    """What a file of UTF-8 holds. Raises as :func:`read`, with the line that is none."""
    data = read(path, most)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Unreadable(path, "is no UTF-8; save the file as UTF-8", line) from error


def write(path: Path, content: str | bytes) -> None:
    """Put this where somebody has asked for it, text as UTF-8, with what UTF-8 has no form for escaped.

    A file is replaced whole, and seen on the disk, or stays as it was, and keeps mode and owner; a link is followed to it. A device, a
    pipe or a descriptor of ours (``/dev/stdout``) is written to. Raises OSError where that cannot be; nothing is left beside it then.
    """
    with _told_by(path):
        _write(path, _encoded(content))


def _write(path: Path, data: bytes) -> None:
    given = _given(path)
    if given is not None:
        _into_given(given, data)
        return
    if not path.name:  # a folder whatever is there: "." or "/"
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        there = os.stat(path)
    except FileNotFoundError:
        there = None
    if there is None or stat.S_ISREG(there.st_mode):
        _replace(Path(os.path.realpath(path)), data, there)
    elif stat.S_ISDIR(there.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    else:
        _into_stream(path, data)


def write_own(path: Path, content: str | bytes) -> None:
    """Put this into a file of our own, in a folder of results, as :func:`write` does.

    A link that lies there is not followed: somebody else may have laid it.
    """
    with _told_by(path):
        try:
            there = os.lstat(path)
        except FileNotFoundError:
            there = None
        _replace(path, _encoded(content), there if there and stat.S_ISREG(there.st_mode) else None)


def is_kept(path: Path) -> bool:
    """Whether something lies there that writing would take the place of: a file or a folder, and neither a device nor a pipe."""
    return _given(path) is None and (path.is_file() or path.is_dir())


@contextmanager
def _told_by(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside is told of this path."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def own(path: Path, flags: int) -> int:
    """The descriptor of a file of our own, which is made where there is none: neither a link nor anything that could be waited for.

    Raises OSError.
    """
    try:
        file = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, 0o644)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        raise _no_file(path) from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _no_file(path)
    return file


def _no_file(path: Path) -> OSError:
    return OSError(errno.EINVAL, "a link, a pipe or a device is in the place of this file", str(path))


def _encoded(content: str | bytes) -> bytes:
    return content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content


def _replace(target: Path, data: bytes, there: os.stat_result | None) -> None:
    """By a copy beside it, whose name nobody can foresee."""
    partial = target.with_name(f".{target.name[:_NAME]}.{secrets.token_hex(8)}.partial")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(partial, flags, 0o666 if there is None else 0o600)
    try:
        try:
            if there is not None:
                _be_like(file, there)
            _write_all(file, data)
            os.fsync(file)
        finally:
            os.close(file)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _be_like(file: int, there: os.stat_result) -> None:
    """The mode of what it takes the place of, and the owner, where that is allowed."""
    with suppress(PermissionError):
        os.fchown(file, there.st_uid, there.st_gid)
    os.fchmod(file, stat.S_IMODE(there.st_mode) & 0o777)


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _into_stream(path: Path, data: bytes) -> None:
    try:
        file = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise OSError(errno.ENXIO, "no process reads from it", str(path)) from error
    try:
        os.set_blocking(file, True)
        _write_all(file, data)
    finally:
        os.close(file)


def _given(path: Path) -> int | None:
    """The descriptor of this process that a path names, by its text: a link to one is somebody else's word."""
    found = _GIVEN.fullmatch(os.fspath(path))
    if found is None:
        return None
    return _STANDARD[found["name"]] if found["name"] else int(found["number"] or found["same"])


def _into_given(number: int, data: bytes) -> None:
    """After what was printed so far. What is opened anew would begin at the start of a file, and a socket cannot be opened."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    _write_all(number, data)


def _strerror(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
