"""Digests of a library's files, which distinguish two builds with the same version.

The files belong to every top-level module that a process has loaded since :func:`loaded`: from wheels, editable
installations and folders in ``PYTHONPATH``, including the folders that wheels put beside a package (``numpy.libs``). A
file of up to ``BY_CONTENT`` bytes counts by its content. A larger file counts by its size and modification time, so
that a library of several GB takes seconds. Compiled caches, hidden folders and the standard library do not count.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

BY_CONTENT = 8 << 20
"""Size up to which a file is read, in bytes."""
MOST_FILES = 50_000
"""Limit of the number of files, in order of their names; the rest is not checked."""
_MARK = 16
Contents = Mapping[str, str]
"""Digest of each file, by its path relative to the folder that contains the module."""


def loaded() -> frozenset[str]:
    """Return the modules that this process has loaded so far."""
    return frozenset(sys.modules)


def since(before: frozenset[str]) -> dict[str, str]:
    """Return the contents of all modules loaded since then, except this package, which has its own digest."""
    names = {name.partition(".")[0] for name in sys.modules.keys() - before}
    wanted = sorted(names - sys.stdlib_module_names - {__package__.partition(".")[0]})
    modules = [module for name in wanted if isinstance(module := sys.modules.get(name), ModuleType)]
    return of_trees(root for module in modules for root in _roots(module))


def of_trees(roots: Iterable[Path]) -> dict[str, str]:
    """Return the contents of folders and of single files."""
    found: dict[str, str] = {}
    for root in dict.fromkeys(roots):
        for path in _files(root):
            if len(found) >= MOST_FILES:
                return found
            found[path.relative_to(root.parent).as_posix()] = _mark(path)
    return found


def digest(contents: Contents) -> str:
    """Return the SHA-256 of all names and digests."""
    lines = "".join(f"{name}\0{mark}\n" for name, mark in sorted(contents.items()))
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


def first_difference(before: Contents, now: Contents) -> str:
    """Describe the first file that differs; empty if there is none."""
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            return f"{name} {'is new' if name not in before else 'is gone' if name not in now else 'has changed'}"
    return ""


def _roots(module: ModuleType) -> Iterator[Path]:
    """Return the locations of a top-level module: the folders of a package and its companions, or its file."""
    try:
        folders = [Path(folder) for folder in getattr(module, "__path__", ())]
        file = getattr(module, "__file__", None)
    except Exception:  # a third-party module can be any object
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
    """Return a digest of the content, or the size and time. A file that cannot be read also gets a value."""
    try:
        facts = path.stat()
        if not path.is_file():
            return "no regular file"
        if facts.st_size > BY_CONTENT:
            return f"{facts.st_size} bytes at {facts.st_mtime_ns}"
        return hashlib.sha256(path.read_bytes()).hexdigest()[:_MARK]
    except OSError as error:
        return type(error).__name__
