"""Commands of uv that find a candidate and unpack it, as pure functions."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from conformance.images.commands import Command
from conformance.matrix.uv import PLATFORM


def resolve(uv: str, python: str) -> Command:
    """Return the command that resolves the requirement on standard input. Its output names each wheel with its digest. It builds nothing."""
    return (
        uv, "pip", "compile", "-", "--no-config", "--no-deps", "--only-binary", ":all:", *_for(python),
        "--prerelease", "if-necessary-or-explicit", "--format", "pylock.toml",
        "--no-header", "--no-python-downloads", "--color", "never",
    )  # fmt: skip


def unpack(uv: str, python: str, folder: Path, what: Iterable[str]) -> Command:
    """Return the command that unpacks one wheel, without its dependencies, into a folder."""
    return (
        uv, "pip", "install", "-q", "--no-config", "--target", os.fspath(folder), "--no-deps", "--only-binary", ":all:",
        *_for(python), "--color", "never", *what,
    )  # fmt: skip


def a_wheel(path: Path) -> Command:
    """Return the arguments of ``unpack`` for a file. uv contacts no package index."""
    return ("--offline", "--no-index", os.fspath(path))


def by_digest(requirements: Path) -> Command:
    """Return the arguments of ``unpack`` for one version with one digest."""
    return ("--require-hashes", "-r", os.fspath(requirements))


def _for(python: str) -> Command:
    """Return the options for the cell's Python, which need not be installed, or for this Python if the cell names none."""
    return (
        "--python",
        sys.executable,
        *(("--python-version", python, "--python-platform", PLATFORM) if python else ()),
    )
