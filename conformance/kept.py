"""Folders that are kept between commands and contain code that the suite runs: virtual environments and build contexts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from conformance import files, links
from conformance.exits import UserError

BUILD = Path("build")
"""First choice: a folder in the working folder."""
CACHE = "XDG_CACHE_HOME"
"""Environment variable with the user's folder for caches."""
_OURS = "cuda-interop-conformance"


def place(name: str, tell: Callable[[str], None], given: Path | None = None) -> Path:
    """Return a folder that no other user can replace: ``build/NAME`` in the working folder, or else a folder in the user's cache.

    If the user has given a folder, there is no alternative. The function creates nothing. ``tell`` receives the reason if the second
    choice is used.

    Raises:
        UserError: another user could replace every choice.
    """
    choices = [given] if given else [BUILD / name, _cache() / name]
    troubles: list[str] = []
    for choice in choices:
        trouble = links.exchange(choice)
        if trouble is None:
            if troubles:
                tell(f"{BUILD / name} is not used, because {troubles[0]}; {choice} is used instead")
            return choice
        troubles.append(trouble)
    raise UserError(
        f"{'; '.join(troubles)}, and another user could replace the code in it; change to a folder that only you can write to, or set {CACHE} to one"
    )


def make(folder: Path) -> None:
    """Create the folder that :func:`place` has returned.

    Raises:
        UserError: another user has created the folder first.
        OSError: the folder cannot be created.
    """
    files.make_folder(folder)
    trouble = links.exchange(folder)
    if trouble:
        raise UserError(f"{trouble}, and another user could replace the code in it; remove the folder")


def _cache() -> Path:
    given = Path(os.environ.get(CACHE, ""))
    return (given if given.is_absolute() else Path(os.path.expanduser("~"), ".cache")) / _OURS
