"""Tests whether another user could replace a path, and private folders that only this user can enter.

Private folders have an unpredictable name and are checked before use.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from conformance.exits import UserError

RUNTIME = "XDG_RUNTIME_DIR"
"""Environment variable with a folder that only this user can access, on machines that have one."""
PLACES = ("/tmp", "/var/tmp", "/dev/shm")
"""Alternatives to a folder for temporary files that cannot be trusted."""
_PREFIX = "conformance-"
_NOBODY = 65534
"""Owner that the kernel shows in a container for users that the container does not map."""
_ALL_USERS = ["0", "0", "4294967295"]
"""Content of ``uid_map`` outside a user namespace."""


@contextmanager
def folder() -> Iterator[Path]:
    """Yield an empty folder of mode 0700 that this user owns. It is removed at the end, with its content.

    Raises:
        UserError: no place on this machine is suitable.
    """
    made = _made(places())
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def places() -> tuple[str, ...]:
    """Return the places for private folders, best first."""
    return tuple(dict.fromkeys(filter(None, (tempfile.gettempdir(), os.environ.get(RUNTIME, ""), *PLACES))))


def _made(where: Iterable[str]) -> Path:
    troubles = []
    for place in where:
        trouble = distrust(place)
        if trouble is None:
            try:
                made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
            except OSError as error:
                trouble = f"no folder can be created in {place} ({error.strerror})"
            else:
                if _is_ours_alone(made):
                    return made
                made.rmdir()
                trouble = f"the file system of {place} gives other users access to every folder"
        troubles.append(trouble)
    raise UserError(
        f"no private folder can be created for the processes of a run: {'; '.join(troubles)}; set TMPDIR to a folder that only you can write to"
    )


def distrust(place: str) -> str | None:
    """Return why no private folder may be created in a place, or ``None``.

    The reason is that another user could replace an entry there, or in a folder above it. A name that is not UTF-8 is
    also refused, because pytest's workers receive the path as UTF-8.
    """
    if not _is_utf8(place):
        return f"the name of {place!a} is not UTF-8"
    try:
        real = os.path.realpath(place)
        for path in (real, *map(str, Path(real).parents)):
            found = trouble(os.stat(path))
            if found:
                return f"{path} {found}"
    except OSError as error:
        return f"{place} cannot be checked ({error.strerror})"
    return None if stat.S_ISDIR(os.stat(real).st_mode) else f"{place} is not a folder"


def exchange_within(folder: Path) -> str | None:
    """Return why another user could change a file in a folder or below it, or ``None``. Links are not followed."""
    found = os.lstat(folder)
    if not is_ours(found):
        return f"{folder} belongs to another user (uid {found.st_uid})"
    if stat.S_ISLNK(found.st_mode):
        return None
    if not is_closed(found):
        return f"{folder} can be written to by other users"
    if not stat.S_ISDIR(found.st_mode):
        return None
    return next(filter(None, (exchange_within(Path(one.path)) for one in os.scandir(folder))), None)


def is_ours(found: os.stat_result) -> bool:
    """Return whether an entry belongs to this user or to root.

    In a user namespace the owner can also be one that the namespace does not map.
    """
    return found.st_uid in (0, os.geteuid()) or (found.st_uid == _NOBODY and _has_users_of_its_own())


def is_closed(found: os.stat_result) -> bool:
    """Return whether only this user and root can write to a file, or can create and replace entries of a folder."""
    return is_ours(found) and not _open_to(found)


def is_planted(found: os.stat_result, above: os.stat_result) -> bool:
    """Return whether another user may have chosen the name of an entry: that user owns it, in a folder to which every user can write.

    In other folders, this user has chosen to use the entry: for example a folder that a container mounts, or a checkout
    that belongs to another user.
    """
    return not is_ours(found) and bool(above.st_mode & stat.S_IWOTH)


def planted(path: Path) -> bool:
    """Return whether another user may have put an entry in this place, as :func:`is_planted`; never for a missing one."""
    try:
        return is_planted(os.lstat(path), os.stat(path.absolute().parent))
    except OSError:
        return False


def trouble(found: os.stat_result) -> str | None:
    """Return why a folder is unsafe. In a sticky folder only root and the owners of entry and folder may rename an entry."""
    if not is_ours(found):
        return f"belongs to another user (uid {found.st_uid})"
    return None if found.st_mode & stat.S_ISVTX else _open_to(found)


def _open_to(found: os.stat_result) -> str | None:
    """Return which other users can write to an entry of this user or of root."""
    if found.st_mode & stat.S_IWOTH:
        return "can be written to by every user and is not sticky"
    if found.st_mode & stat.S_IWGRP and found.st_gid not in (0, os.getegid()):
        return f"can be written to by another group (gid {found.st_gid})"
    return None


def _is_utf8(place: str) -> bool:
    try:
        place.encode()
    except UnicodeEncodeError:
        return False
    return True


def _has_users_of_its_own() -> bool:
    try:
        return Path("/proc/self/uid_map").read_text(encoding="ascii").split() != _ALL_USERS
    except OSError:
        return False


def _is_ours_alone(made: Path) -> bool:
    found = os.lstat(made)
    others = stat.S_IRWXG | stat.S_IRWXO
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & others
