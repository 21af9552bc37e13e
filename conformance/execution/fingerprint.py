"""What a library consists of, by its files: two builds of one version differ here, though all that they say of themselves is alike.

The files are those of every top-level module that a process has loaded since :func:`loaded`: of wheels, editable installations and
folders in ``PYTHONPATH`` alike, with what wheels put beside a package (``numpy.libs``). A file of up to ``BY_CONTENT`` bytes counts by its
content, a larger one by its size and the time of its last change, so that a library of some GB takes seconds. Compiled caches and
hidden folders do not count. The standard library does not: it belongs to the version of Python.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

BY_CONTENT = 8 << 20
"""Bytes: what is larger is not read."""
MOST_FILES = 50_000
"""What lies behind so many files in the order of names is not looked at."""
_MARK = 16
Contents = Mapping[str, str]
"""A mark for each file, by its path from the folder in which the module was found."""


def loaded() -> frozenset[str]:
    """The modules that this process has loaded so far."""
    return frozenset(sys.modules)


def since(before: frozenset[str]) -> dict[str, str]:
    """The contents of all that was loaded since then; this package, which has its own, is left out."""
    names = {name.partition(".")[0] for name in sys.modules.keys() - before}
    wanted = sorted(names - sys.stdlib_module_names - {__package__.partition(".")[0]})
    modules = [module for name in wanted if isinstance(module := sys.modules.get(name), ModuleType)]
    return of_trees(root for module in modules for root in _roots(module))


def of_trees(roots: Iterable[Path]) -> dict[str, str]:
    """The contents of folders and of single files."""
    found: dict[str, str] = {}
    for root in dict.fromkeys(roots):
        for path in _files(root):
            if len(found) >= MOST_FILES:
                return found
            found[path.relative_to(root.parent).as_posix()] = _mark(path)
    return found


def digest(contents: Contents) -> str:
    """SHA-256 of all names and marks."""
    lines = "".join(f"{name}\0{mark}\n" for name, mark in sorted(contents.items()))
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


def first_difference(before: Contents, now: Contents) -> str:
    """The first file that is not what it was, in a few words; empty where there is none."""
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            return f"{name} {'is new' if name not in before else 'is gone' if name not in now else 'has changed'}"
    return ""


def _roots(module: ModuleType) -> Iterator[Path]:
    """Where a top-level module lies: the folders of a package with their companions, or its file."""
    try:
        folders = [Path(folder) for folder in getattr(module, "__path__", ())]
        file = getattr(module, "__file__", None)
    except Exception:  # a module of somebody else's can be any object
        return
    for folder in folders:
        yield folder
        yield folder.with_name(f"{folder.name}.libs")
    if not folders and isinstance(file, str):
        yield Path(file)


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
    for folder, inside, names in os.walk(root):
        inside[:] = sorted(name for name in inside if name != "__pycache__" and not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(names) if not name.endswith(".pyc"))


def _mark(path: Path) -> str:
    """By content, or by size and time; a file that cannot be read has a mark, too."""
    try:
        facts = path.stat()
        if not path.is_file():
            return "no regular file"
        if facts.st_size > BY_CONTENT:
            return f"{facts.st_size} bytes at {facts.st_mtime_ns}"
        return hashlib.sha256(path.read_bytes()).hexdigest()[:_MARK]
    except OSError as error:
        return type(error).__name__
