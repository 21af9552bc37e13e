"""Startup module that hides the metadata of distributions that candidates replace.

A candidate is a folder at the front of the path, so Python imports it instead of the released version. ``importlib.metadata`` would still list
both. This folder is in ``PYTHONPATH`` only in cells with candidates, and each interpreter of such a cell imports this file.
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
    """Return the normalized name of a distribution, as package indexes compare it."""
    import re  # imported here to keep the start of interpreters fast that read no metadata

    return re.sub(r"[-_.]+", "-", name).lower()


def names() -> set[str]:
    """Return the names of the distributions that candidates replace."""
    entries = (entry for folder in FOLDERS for entry in os.listdir(folder))
    return {canonical(entry.partition("-")[0]) for entry in entries if entry.endswith(".dist-info")}


class Finder(PathFinder):
    """The path finder of Python, without the metadata of replaced distributions."""

    @staticmethod
    def find_distributions(*arguments: Any, **keywords: Any) -> Iterator[PathDistribution]:
        """Yield the distributions that ``importlib.metadata`` lists."""
        known = names()
        for found in PathFinder.find_distributions(*arguments, **keywords):
            name = found.metadata["Name"]
            if str(found.locate_file("")) in FOLDERS or not name or canonical(name) not in known:
                yield found


def another() -> None:
    """Run the ``sitecustomize`` that this file shadows, if there is one."""
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec("sitecustomize", [path for path in sys.path if os.path.abspath(path) != HERE])
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


if FOLDERS:
    sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
another()
