"""A folder that only this user can enter: made afresh, with a name that nobody can know before, and looked at before it is used."""

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
"""Environment variable: a folder of this user alone, where the machine has such folders."""
PLACES = ("/tmp", "/var/tmp", "/dev/shm")
"""Taken where the folder for temporary files cannot be trusted."""
_PREFIX = "conformance-"
_NOBODY = 65534
"""The owner that the kernel shows in a container for users that the container does not have."""
_ALL_USERS = ["0", "0", "4294967295"]
"""How the kernel tells, in ``uid_map``, that it shows users as they are: this is no container with users of its own."""


@contextmanager
def folder() -> Iterator[Path]:
    """An empty folder of mode 0700 that is this user's. It goes away in the end, with all that is in it.

    Raises:
        UserError: there is no place on this machine where one can be made.
    """
    made = _made(places())
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def places() -> tuple[str, ...]:
    """Where such a folder may be made, best first."""
    return tuple(dict.fromkeys(filter(None, (tempfile.gettempdir(), os.environ.get(RUNTIME, ""), *PLACES))))


def _made(where: Iterable[str]) -> Path:
    troubles = []
    for place in where:
        trouble = distrust(place)
        if trouble is None:
            try:
                made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
            except OSError as error:
                trouble = f"no folder can be made in {place} ({error.strerror})"
            else:
                if _is_ours_alone(made):
                    return made
                made.rmdir()
                trouble = f"the file system of {place} lets other users into every folder"
        troubles.append(trouble)
    raise UserError(
        f"no private folder can be made for the processes of a run: {'; '.join(troubles)}; set TMPDIR to a folder that only you can write to"
    )


def distrust(place: str) -> str | None:
    """Why nothing of a run can lie there, or ``None``: another user could exchange it, in this folder or in one above it.

    Folders whose names are no UTF-8 are not used either: pytest's workers are told the path in UTF-8.
    """
    if not _is_utf8(place):
        return f"the name of {place!a} is not UTF-8"
    try:
        real = os.path.realpath(place)
        for path in (real, *map(str, Path(real).parents)):
            found = os.stat(path)
            trouble = _trouble(found)
            if trouble:
                return f"{path} {trouble}"
    except OSError as error:
        return f"{place} cannot be looked at ({error.strerror})"
    return None if stat.S_ISDIR(os.stat(real).st_mode) else f"{place} is no folder"


def _trouble(found: os.stat_result) -> str | None:
    """In a sticky folder only the owner of an entry may rename it, the owner of the folder and root aside."""
    if found.st_uid not in (0, os.geteuid()) and not (found.st_uid == _NOBODY and _has_users_of_its_own()):
        return f"belongs to another user (uid {found.st_uid})"
    if found.st_mode & stat.S_ISVTX:
        return None
    if found.st_mode & stat.S_IWOTH:
        return "can be written to by everybody and is not sticky"
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
