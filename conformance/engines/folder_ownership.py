"""Checks that no other user can replace the code in the folder of a run.

The folder contains candidates, the copy of a package's own tests, and ``run.json``, which names what a resumed run executes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from conformance import links, private
from conformance.exits import UserError

from . import package_tests, records


def check(option: str, out: Path, advice: str, cells: Iterable[str] = (), *, contained: int | None = None) -> None:
    """Check the folder of a run whose code is about to be run, and in it the folders of these cells.

    ``contained`` is the user id of the containers. This user may own the folders of cells.

    Raises:
        UserError: another user could replace the code, or a folder of a cell is a link. ``advice`` is the next step,
            as a clause.
    """
    folders = [(records.CANDIDATES, None), *((cell, contained) for cell in cells)]
    troubles = (_open(records.folder_of(out, name), other) for name, other in folders if os.path.lexists(out / name))
    _refuse(option, links.exchange(out) or next(filter(None, troubles), None), advice)


def check_tests(option: str, out: Path, advice: str) -> None:
    """Check the copy of a package's own tests that an earlier command has made. Raises as :func:`check`."""
    tests = out / package_tests.FOLDER
    _refuse(option, private.exchange_within(tests) if os.path.lexists(tests) else None, advice)


def _refuse(option: str, trouble: str | None, advice: str) -> None:
    if trouble:
        raise UserError(
            f"{option}: {trouble}, and another user could replace the code that this run executes; {advice}"
        )


def _open(folder: Path, other: int | None) -> str | None:
    found = os.lstat(folder)
    if private.is_closed(found) or found.st_uid == other:
        return None
    return f"{folder} {private.trouble(found) or 'can be written to by every user'}"
