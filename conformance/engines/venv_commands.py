"""Commands of uv that create the environment of a cell, as pure functions."""

from __future__ import annotations

import os
from pathlib import Path

from conformance.images.commands import Command

from .model import Cell


def version(uv: str) -> Command:
    """Return the command that prints the version of uv."""
    return (uv, "--version")


def make(uv: str, cell: Cell, folder: Path, build: Path) -> tuple[Command, ...]:
    """Return the commands that create an environment and install every wheel of the lock file, with its hash."""
    return (
        (uv, "venv", "-q", "--no-project", "--no-config", "--clear", "--python", cell.python, os.fspath(folder)),
        _install(
            uv, folder, "--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", os.fspath(build / "wheels.txt")
        ),
    )


def pycuda(uv: str, cell: Cell, folder: Path, build: Path, recipe: Path) -> tuple[Command, ...]:
    """Return the commands that build PyCUDA's wheel as for images (docker/pycuda), in a separate environment, and install it in the cell."""
    tools, wheels = build / "tools", build / "wheels"
    return (
        (uv, "venv", "-q", "--no-project", "--no-config", "--python", os.fspath(folder / "bin" / "python"), os.fspath(tools)),
        _install(uv, tools, "--require-hashes", "-r", os.fspath(recipe / f"cu{cell.cuda}.txt")),
        (
            "sh", os.fspath(recipe / "wheel"), os.fspath(tools / "bin" / "python"),
            os.fspath(build / "pycuda.txt"), os.fspath(build / "link"), os.fspath(wheels),
        ),
        _install(uv, folder, "--no-deps", "--offline", "--no-index", "--find-links", os.fspath(wheels), "pycuda"),
    )  # fmt: skip


def _install(uv: str, folder: Path, *arguments: str) -> Command:
    return (uv, "pip", "install", "-q", "--no-config", "--python", os.fspath(folder / "bin" / "python"), *arguments)
