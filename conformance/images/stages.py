"""Stages of a cell's image. Each stage is an image on top of another one, with a key of its own.

The key is a digest of every input that determines the content: the recipe's files, the arguments, the requirements, and the keys or
digests of the images below. The suite, the cell's name and the network settings of a build are not part of the key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path

from conformance import private
from conformance.exits import UserError
from conformance.matrix.lockfile import Pin

from .groups import WORDS, Group, parted, requirements
from .model import Recipe

FOLDER = Path("docker")
KEY_FORMAT = 1
"""Version of the key. A higher version makes all images stale."""
TAG_LENGTH = 20
REPOSITORY = "cuda-interop"
LAYERS = (Group.CUDA_LIBRARIES, Group.TORCH, Group.CUPY, Group.CVCUDA)
"""Layers from the bottom. Large packages that many cells share come first."""


class Target(Enum):
    """Stages of the Dockerfile that become images. The value is the name of the stage."""

    TOOLS = "tools"
    ENVIRONMENT = "environment"
    PYCUDA = "pycuda"
    LAYER = "layer"
    CELL = "cell"


_FILES = {
    Target.TOOLS: ("uv.txt", "settings", "environment", "install"),
    Target.PYCUDA: ("pycuda/",),
    Target.CELL: ("inside/",),
}
"""Files in ``docker`` that a stage reads, beside the Dockerfile."""


@dataclass(frozen=True, eq=False)
class Stage:
    """An image to build. Cells share the stages with the same key."""

    target: Target
    what: str
    """Description of its content."""
    arguments: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]
    """Files of the build context, by path."""
    needs: tuple[Stage, ...] = ()
    bases: tuple[tuple[str, str], ...] = ()
    """Digests of its external base images, by name."""
    labels: tuple[tuple[str, str], ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    @cached_property
    def key(self) -> str:
        """Digest of all inputs, which identifies the image."""
        parts = [
            KEY_FORMAT, self.target.value, self.arguments, self.files, self.bases, self.labels,
            [stage.key for stage in self.needs],
        ]  # fmt: skip
        return digest(json.dumps(parts))

    @property
    def name(self) -> str:
        """Repository and tag of the image."""
        return f"{REPOSITORY}-{self.target.value}:{self.key[:TAG_LENGTH]}"


def chain(recipe: Recipe, pins: tuple[Pin, ...], files: Mapping[str, str], digests: Mapping[str, str]) -> Stage:
    """Return the stage of the cell's own image. Its ``needs`` lead to all other stages."""
    groups = parted(pins)
    tools = _stage(
        Target.TOOLS, "tools", files, {"FETCHER": recipe.tools_image}, bases=_only(digests, recipe.tools_image)
    )
    environment = _stage(
        Target.ENVIRONMENT, f"Python {recipe.python}", files,
        {"BASE": recipe.base_image, "PYTHON": recipe.python}, tools, bases=_only(digests, recipe.base_image),
    )  # fmt: skip
    below = environment
    for group in LAYERS:
        if groups[group]:
            arguments = {"BELOW": below.name, "GROUP": group.value}
            below = _stage(Target.LAYER, WORDS[group], files, arguments, tools, below, given=_given(groups[group]))
    return _cell(recipe, pins, files, tools, below, _pycuda(recipe, groups[Group.PYCUDA], files, tools, environment))


def _pycuda(
    recipe: Recipe, pins: tuple[Pin, ...], files: Mapping[str, str], tools: Stage, environment: Stage
) -> Stage | None:
    if not pins:
        return None
    what = f"PyCUDA {pins[0].version} for CUDA {recipe.cuda}, Python {recipe.python}"
    arguments = {"BELOW": environment.name, "CUDA": recipe.cuda}
    return _stage(Target.PYCUDA, what, files, arguments, tools, environment, given=_given(pins))


def _cell(
    recipe: Recipe, pins: tuple[Pin, ...], files: Mapping[str, str], tools: Stage, below: Stage, wheel: Stage | None
) -> Stage:
    lock = requirements(pins)
    given = {**_given(parted(pins)[Group.REST]), "inside/lock.txt": lock}
    # Without PyCUDA there is no wheel, but the Dockerfile still needs an image for WHEELS.
    arguments = {"BELOW": below.name, "GROUP": Group.REST.value, "WHEELS": (wheel or below).name}
    needs = (tools, below, *((wheel,) if wheel else ()))
    labels = {"conformance.image.lock": digest(lock)}
    return _stage(
        Target.CELL, "the rest, and the check against the lock", files, arguments, *needs, given=given, labels=labels
    )


def _stage(
    target: Target,
    what: str,
    files: Mapping[str, str],
    arguments: Mapping[str, str],
    *needs: Stage,
    given: Mapping[str, str] | None = None,
    bases: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Stage:
    tools = [("TOOLS", stage.name) for stage in needs if stage.target is Target.TOOLS]
    own = {name: text for name, text in files.items() if name.startswith(("Dockerfile", *_FILES.get(target, ())))}
    return Stage(
        target, what, _sorted({**dict(tools), **arguments}), _sorted({**own, **(given or {})}), needs,
        _sorted(bases or {}), _sorted(labels or {}),
    )  # fmt: skip


def _sorted(pairs: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(pairs.items()))


def _only(digests: Mapping[str, str], name: str) -> dict[str, str]:
    return {name: digests[name]}


def _given(pins: tuple[Pin, ...]) -> dict[str, str]:
    return {"group/requirements.txt": requirements(pins)}


def all_of(stage: Stage) -> Iterator[Stage]:
    """Yield the stage after all stages that it needs. Some stages appear more than once."""
    for needed in stage.needs:
        yield from all_of(needed)
    yield stage


def recipe_files(folder: Path = FOLDER) -> dict[str, str]:
    """Return the files of the recipe by their path below the folder, without compiled Python files."""
    if private.planted(folder):
        raise UserError(
            f"{folder} belongs to another user, in a folder to which every user can write; run this in a checkout of your own"
        )
    if not (folder / "Dockerfile").is_file():
        raise UserError(f"{folder}/Dockerfile is missing; run this in a checkout of the suite")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}


def digest(text: str) -> str:
    """Return the SHA-256 of a text as hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()
