"""The commands by which uv finds a candidate and unpacks it, as pure functions."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from conformance.images.commands import Command
from conformance.matrix.uv import PLATFORM


def resolve(uv: str, python: str) -> Command:
    """Resolve the requirement on standard input, alone; the answer names each wheel with its digest. No build, no cell's lock."""
    return (
        uv, "pip", "compile", "-", "--no-config", "--no-deps", "--only-binary", ":all:", *_for(python),
        "--prerelease", "if-necessary-or-explicit", "--format", "pylock.toml",
        "--no-header", "--no-python-downloads", "--color", "never",
    )  # fmt: skip


def unpack(uv: str, python: str, folder: Path, what: Iterable[str]) -> Command:
    """Unpack one wheel, without what it needs, into a folder of its own."""
    return (
        uv, "pip", "install", "-q", "--no-config", "--target", os.fspath(folder), "--no-deps", "--only-binary", ":all:",
        *_for(python), "--color", "never", *what,
    )  # fmt: skip


def a_wheel(path: Path) -> Command:
    """The part of ``unpack`` for a file: no index is asked."""
    return ("--offline", "--no-index", os.fspath(path))


def by_digest(requirements: Path) -> Command:
    """The part of ``unpack`` for one version with one digest."""
    return ("--require-hashes", "-r", os.fspath(requirements))


def _for(python: str) -> Command:
    """For a cell's Python, without having it; for this one, where a cell names none."""
    return (
        "--python",
        sys.executable,
        *(("--python-version", python, "--python-platform", PLATFORM) if python else ()),
    )
