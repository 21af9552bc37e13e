"""SHA-256 digests of the inputs and results of a cell. With them a gate recognises results of another suite, lock or image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import conformance
from conformance import files

SUITE = Path(conformance.__file__).parent
DECIDES = (
    "adapters", "checks", "cuda", "execution", "faults", "launcher.py", "ordering", "programs", "protocols", "reference", "suite", "verdict.py",
)  # fmt: skip
"""Packages and modules that affect results. A change in any other module, such as a report or a gate, makes no result stale."""
PARTS = "+"
"""Separator of digests, if a cell was resumed with another suite, lock or image."""


def of_suite(package: Path = SUITE) -> str:
    """Return the digest of the source files that affect results: their names and contents."""
    digest = hashlib.sha256()
    for path in sorted(path for part in DECIDES for path in _files(package / part) if _is_source(path)):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(package).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def _files(part: Path) -> Iterable[Path]:
    return (part,) if part.is_file() else part.rglob("*")


def _is_source(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def of_file(path: Path) -> str:
    """Return the digest of a file's content; empty if the path is not a regular file."""
    found = hashlib.sha256()
    try:
        with files.opened(path) as file:
            while part := os.read(file, 1 << 20):
                found.update(part)
    except files.Unreadable:
        return ""
    return found.hexdigest()


def joined(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of a resumed cell. A digest that differs between its starts becomes the list of all its values."""
    found = {**before, **now}
    for name in before.keys() & now.keys():
        parts = (*before[name].split(PARTS), *now[name].split(PARTS))
        found[name] = PARTS.join(sorted(set(parts)))
    return found
