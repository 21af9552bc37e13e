"""Digests of a library's files, which distinguish two builds with the same version.

The files belong to every top-level module that a process has loaded: from wheels, editable installations and folders
in ``PYTHONPATH``, including the folders that wheels put beside a package (``numpy.libs``). Modules that a
``sitecustomize`` or a ``.pth`` file has imported count too. A file of up to ``BY_CONTENT`` bytes counts by its content.
A larger file counts by its size and modification time, so that a library of several GB takes seconds. Symbolic links
are followed. Compiled caches, the folders of version control and tools, and the standard library do not count.
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
_IGNORED = frozenset(
    {
        "__pycache__", ".git", ".hg", ".svn", ".venv", ".nox", ".tox", ".mypy_cache", ".pytest_cache", ".ruff_cache",
        ".hypothesis",
    }
)  # fmt: skip
Contents = Mapping[str, str]
"""Digest of each file, by its path relative to the folder that contains the module."""


def loaded() -> dict[str, str]:
    """Return the contents of all modules that this process has loaded, except this package, which has its own digest."""
    names = {name.partition(".")[0] for name in sys.modules}
    wanted = sorted(names - sys.stdlib_module_names - {__package__.partition(".")[0]})
    modules = [module for name in wanted if isinstance(module := sys.modules.get(name), ModuleType)]
    return of_trees(root for module in modules for root in _roots(module))


def of_trees(roots: Iterable[Path]) -> dict[str, str]:
    """Return the digest of each file in these folders, and of these single files."""
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
            return f"{name} {'is new' if name not in before else 'is missing' if name not in now else 'has changed'}"
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
    seen: set[tuple[int, int]] = set()
    _is_new(str(root), seen)  # a link back to the root adds no file
    for folder, inside, names in os.walk(root, followlinks=True):
        inside[:] = sorted(
            name for name in inside if name not in _IGNORED and _is_new(os.path.join(folder, name), seen)
        )
        sources = {name.removesuffix(".py") for name in names if name.endswith(".py")}
        yield from (
            Path(folder, name) for name in sorted(names) if not (name.endswith(".pyc") and name[:-4] in sources)
        )


def _is_new(folder: str, seen: set[tuple[int, int]]) -> bool:
    """Return whether a folder was not visited before. A link can lead back to a parent folder."""
    try:
        facts = os.stat(folder)
    except OSError:
        return False
    key = facts.st_dev, facts.st_ino
    is_new = key not in seen
    seen.add(key)
    return is_new


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
