"""Recipes and pins for these tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from conformance.images.model import Recipe
from conformance.images.stages import Stage, all_of, chain
from conformance.matrix.lockfile import Pin


def pins(*wanted: str) -> tuple[Pin, ...]:
    """Pins of ``name==version``, each with a hash that follows from it."""
    return tuple(Pin(*text.split("=="), (f"sha256:{text}",)) for text in sorted(wanted))  # type: ignore[call-arg]


def recipe(cell: str = "cu13-a", **other: str) -> Recipe:
    """A cell on Python 3.12 and CUDA 13."""
    return Recipe(**{"cell": cell, "python": "3.12", "cuda": "13", "lock": Path(f"{cell}.txt"), **other})  # type: ignore[arg-type]


FILES = {
    "Dockerfile": "FROM x", "uv.txt": "uv", "settings": "", "environment": "", "install": "",
    "pycuda/build": "", "pycuda/cu13.txt": "numpy", "inside/check.py": "",
}  # fmt: skip
"""A recipe."""
DIGESTS = {"python:3.12-slim-bookworm": "sha256:1", "python:3.13-slim-bookworm": "sha256:2"}
"""Bases."""


def cell(*wanted: str, files: Mapping[str, str] = FILES, digests: Mapping[str, str] = DIGESTS, **other: str) -> Stage:
    """The stage of a cell with these pins."""
    return chain(recipe(**other), pins(*wanted), files, digests)


def below(stage: Stage) -> list[str]:
    """What a stage is built from, in words and without its own."""
    return list(dict.fromkeys(found.what for found in all_of(stage)))[:-1]


def lock(*wanted: str) -> str:
    """A lock's text."""
    return "".join(f"{pin}\n" for pin in pins(*wanted))
