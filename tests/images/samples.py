"""Recipes and pins for these tests."""

from __future__ import annotations

from pathlib import Path

from conformance.images.lockfile import Pin
from conformance.images.model import Image, Recipe


def pins(*wanted: str) -> tuple[Pin, ...]:
    """Pins of ``name==version``, each with a hash that follows from it."""
    return tuple(Pin(*text.split("=="), (f"sha256:{text}",)) for text in sorted(wanted))  # type: ignore[call-arg]


def recipe(cell: str = "cu13-a", **other: str) -> Recipe:
    """A cell on Python 3.12 and CUDA 13."""
    return Recipe(**{"cell": cell, "python": "3.12", "cuda": "13", "lock": Path(f"{cell}.txt"), **other})  # type: ignore[arg-type]


def image(key: str = "0123456789abcdef0123456789abcdef") -> Image:
    """An image of that cell."""
    return Image(recipe(), key)


def lock(*wanted: str) -> str:
    """A lock's text."""
    return "".join(f"{pin}\n" for pin in pins(*wanted))
