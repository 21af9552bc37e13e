"""Read by every interpreter of a cell in which candidates stand: what they replace is not found beside them.

A candidate is a folder in front of the path, so it is imported instead of the released version. ``importlib.metadata`` would still list
both. The folder of this file is in ``PYTHONPATH`` in such cells only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import PathDistribution

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDERS = tuple(filter(None, os.environ.get("CONFORMANCE_CANDIDATES", "").split(os.pathsep)))


def canonical(name: str) -> str:
    """The name as the package index compares it."""
    import re  # here, so that an interpreter that asks for no metadata starts as fast as without us

    return re.sub(r"[-_.]+", "-", name).lower()


def names() -> set[str]:
    """The distributions that candidates stand in place of."""
    entries = (entry for folder in FOLDERS for entry in os.listdir(folder))
    return {canonical(entry.partition("-")[0]) for entry in entries if entry.endswith(".dist-info")}


class Finder(PathFinder):
    """The import system's own, without the metadata of what is replaced."""

    @staticmethod
    def find_distributions(*arguments: Any, **keywords: Any) -> Iterator[PathDistribution]:
        """What ``importlib.metadata`` is told."""
        known = names()
        for found in PathFinder.find_distributions(*arguments, **keywords):
            name = found.metadata["Name"]
            if str(found.locate_file("")) in FOLDERS or not name or canonical(name) not in known:
                yield found


def another() -> None:
    """Run the file of this name that this one hides, if there is one."""
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec("sitecustomize", [path for path in sys.path if os.path.abspath(path) != HERE])
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


if FOLDERS:
    sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
another()
