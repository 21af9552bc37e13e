"""What a build is given: the recipe's own files, and the lock in groups. Nothing of the suite."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from conformance.exits import UserError

from .groups import parted, requirements
from .lockfile import Pin
from .model import Recipe

FOLDER = Path("docker")
KEY_FORMAT = 1
"""Raised when the same inputs shall count as another image."""


def recipe_files(folder: Path = FOLDER) -> dict[str, str]:
    """The files of the recipe, by path below the folder."""
    if not (folder / "Dockerfile").is_file():
        raise UserError(f"{folder}/Dockerfile is not here; run this in a checkout of the suite")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}


def group_files(pins: tuple[Pin, ...]) -> dict[str, str]:
    """The lock as the recipe wants it: a folder for each group, and the whole."""
    groups = {g.file: requirements(found) for g, found in parted(pins).items()}
    return {**groups, "inside/lock.txt": requirements(pins)}


def arguments(recipe: Recipe, pins: tuple[Pin, ...]) -> dict[str, str]:
    """The build's arguments, less the key. The digests of the groups decide which layers are made again."""
    digests = {g.value.upper(): digest(requirements(found)) for g, found in parted(pins).items()}
    return {
        "BASE": recipe.base_image,
        "TOOLS": recipe.tools_image,
        "PYTHON": recipe.python,
        "CUDA": recipe.cuda,
        **digests,
        "LOCK": digest(requirements(pins)),
    }


def key(files: Mapping[str, str], arguments: Mapping[str, str], digests: Mapping[str, str]) -> str:
    """The identity of an image: the recipe's files, the arguments, and the digests of the images it starts from."""
    parts = {"format": KEY_FORMAT, "files": dict(files), "arguments": dict(arguments), "images": dict(digests)}
    return digest(json.dumps(parts, sort_keys=True))


def digest(text: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the context anew."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
