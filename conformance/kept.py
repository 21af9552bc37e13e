"""Folders that are kept between commands, with code that the suite runs again: environments and build contexts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from conformance import files, links
from conformance.exits import UserError

BUILD = Path("build")
"""The first choice, in the working folder."""
CACHE = "XDG_CACHE_HOME"
"""Environment variable with the user's folder for caches."""
_OURS = "cuda-interop-conformance"


def place(name: str, tell: Callable[[str], None], given: Path | None = None) -> Path:
    """Return a folder that no other user can exchange: ``build/NAME`` here, else one in the user's cache.

    A folder that the user has given has no alternative. Nothing is created. ``tell`` takes the reason for a second choice.

    Raises:
        UserError: there is no such folder.
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
        f"{'; '.join(troubles)}, and code that is kept there could be exchanged; go to a folder that only you can change, or set {CACHE} to one"
    )


def make(folder: Path) -> None:
    """Create the folder that :func:`place` has returned.

    Raises:
        UserError: another user has been faster.
        OSError: it cannot be created.
    """
    files.make_folder(folder)
    trouble = links.exchange(folder)
    if trouble:
        raise UserError(f"{trouble}, and code that is kept there could be exchanged; remove it")


def _cache() -> Path:
    given = Path(os.environ.get(CACHE, ""))
    return (given if given.is_absolute() else Path(os.path.expanduser("~"), ".cache")) / _OURS
