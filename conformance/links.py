"""Resolve paths safely in folders that other users can write to: follow only links that no other user could have created.

The kernel does the same in sticky folders if ``fs.protected_symlinks`` is set. Not every machine sets it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from conformance import private
from conformance.exits import why

_MOST = 40
"""Number of links that one path may lead through, as in the kernel."""
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_OBJECT = re.compile(r"[a-z_]+:\[\d+\]|anon_inode:.*")
"""Target of a link in ``/proc`` that names no path, such as ``pipe:[123]``."""
_FOLDER_MODE = 0o775
"""Mode of new folders before the umask applies. Other users never get the right to write, whatever the umask is."""


class Foreign(PermissionError):
    """A link or a folder of another user that the suite does not use. ``strerror`` is the reason as a clause."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EPERM, why)


@contextmanager
def entry(path: Path, *, follow: bool, make: bool = False) -> Iterator[tuple[int, str]]:
    """Yield the target of a path: the descriptor of a folder, and the name of an entry in it, which may be missing.

    Each link on the way is opened, checked and read through its descriptor, so that no process can replace it in between.
    With ``follow`` this also holds for the last part of the path; without, a link there is the entry itself. With
    ``make`` missing folders above the entry are created. The name is ``.`` if the path leads to the folder itself. An
    entry that is still a link with ``follow`` names an open file of a process and is in ``/proc``.

    Raises:
        Foreign: another user may have created a link on the way.
        OSError: a folder above the entry cannot be entered or created.
    """
    with _Way(path) as way:
        name = way.end(follow=follow, make=make)
        yield way.folder, name


class _Way:
    """A walk along a path, which keeps the current folder open."""

    def __init__(self, path: Path) -> None:
        text = os.fspath(path)
        self._path = text
        self._left = deque(_parts(text))
        self._links = 0
        self.folder = os.open("/" if text.startswith("/") else ".", _LOOK | os.O_DIRECTORY)
        self.troubles = [self.trouble]
        """For each folder on the way, the reason why another user could replace an entry in it, or ``None``."""

    def __enter__(self) -> _Way:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.folder)

    @property
    def trouble(self) -> str | None:
        """Reason why another user could replace an entry of the current folder, or ``None``."""
        found = private.trouble(os.fstat(self.folder))
        return found and f"{os.readlink(f'/proc/self/fd/{self.folder}')} {found}"

    def end(self, *, follow: bool, make: bool) -> str:
        """Walk to the folder of the last entry and return the entry's name."""
        while self._left:
            name = self._left.popleft()
            if name == "..":
                self._enter(os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=self.folder))
                continue
            is_last = not self._left
            if is_last and not follow:
                return name
            try:
                found = os.open(name, _LOOK, dir_fd=self.folder)
            except FileNotFoundError:
                found = -1
            if found < 0:
                if is_last:
                    return name
                self._make(name, make=make)
            elif self._is_entered(found, name, is_last=is_last):
                return name
        return "."

    def _make(self, name: str, *, make: bool) -> None:
        if not make:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._path)
        make_in(self.folder, name)
        self._left.appendleft(name)

    def _is_entered(self, found: int, name: str, *, is_last: bool) -> bool:
        """Enter a folder or follow a link. Return whether the walk ends at this entry instead."""
        try:
            facts = os.fstat(found)
            if stat.S_ISLNK(facts.st_mode):
                return self._is_followed(found, facts, name)
            if is_last:
                return True
            if not stat.S_ISDIR(facts.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._path)
            self._enter(os.dup(found))
            return False
        finally:
            os.close(found)

    def _is_followed(self, link: int, facts: os.stat_result, name: str) -> bool:
        self._links += 1
        if self._links > _MOST:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self._path)
        target = os.readlink("", dir_fd=link)
        if not (private.is_ours(facts) or private.is_closed(os.fstat(self.folder))):
            raise Foreign(
                f"the link {name} belongs to another user (uid {facts.st_uid}) and is not followed; name its target {target}"
            )
        if _OBJECT.fullmatch(target) and _is_in_proc(self.folder):
            return True
        if target.startswith("/"):
            self._enter(os.open("/", _LOOK | os.O_DIRECTORY))
        self._left.extendleft(reversed(_parts(target)))
        return False

    def _enter(self, folder: int) -> None:
        os.close(self.folder)
        self.folder = folder
        self.troubles.append(self.trouble)


def _parts(text: str) -> list[str]:
    """Return the names in a path. A slash at its end is dropped, as ``pathlib`` does."""
    return [part for part in text.split("/") if part not in ("", ".")]


def _is_in_proc(folder: int) -> bool:
    return os.fstat(folder).st_dev == os.stat("/proc/self/fd").st_dev


def make_in(folder: int, name: str) -> None:
    """Create a folder in a folder. An existing entry of any kind stays as it is."""
    try:
        os.mkdir(name, _FOLDER_MODE, dir_fd=folder)
    except FileExistsError:
        return


@contextmanager
def folder(path: Path) -> Iterator[int]:
    """Create a folder and those above it where they are missing, and yield its descriptor (``O_PATH``).

    Raises:
        Foreign: another user may have put it in this place, or a link on the way.
        OSError: it cannot be created, or the entry is not a folder.
    """
    with entry(path, follow=True, make=True) as (above, name):
        if name != ".":
            make_in(above, name)
        try:
            found = os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=above)
        except NotADirectoryError as error:
            raise NotADirectoryError(
                errno.ENOTDIR, "a folder is needed, and this is not a folder", str(path)
            ) from error
        try:
            if name != "." and private.is_planted(os.fstat(found), os.fstat(above)):
                raise Foreign(
                    f"the folder belongs to another user (uid {os.fstat(found).st_uid}) and is in a folder to which every user can write"
                )
            yield found
        finally:
            os.close(found)


def exchange(path: Path) -> str | None:
    """Return the reason why another user could replace a folder, an entry in it, or a part of its path, or ``None``.

    Run code from a folder only if there is no such reason. Sticky folders are safe on the way to the folder. The folder
    itself must not be sticky, because other users could create its missing entries. If the folder is missing, the
    folder above it decides.
    """
    try:
        with _Way(path.absolute()) as way:
            with suppress(FileNotFoundError):
                name = way.end(follow=True, make=False)
                facts = os.stat(name, dir_fd=way.folder, follow_symlinks=False)
                if not private.is_closed(facts):
                    way.troubles.append(f"{path} {private.trouble(facts) or 'can be written to by every user'}")
            return next(filter(None, way.troubles), None)
    except OSError as error:
        return f"{path} cannot be checked ({why(error)})"
