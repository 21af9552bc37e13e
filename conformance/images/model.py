"""Data of image builds: recipes, settings and outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

LINES = ("12", "13")
"""Major versions of CUDA for which PyCUDA can be built (docker/pycuda)."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Inputs that determine the content of a cell's image."""

    cell: str
    """Name of the cell, its identifier everywhere."""
    python: str
    """Minor version of Python, such as ``3.12``."""
    cuda: str
    """Major version of CUDA, ``12`` or ``13``."""
    lock: Path
    """Requirements with exact versions and hashes."""
    base: str = ""
    """Base image; by default the slim Debian image with this Python."""
    tools: str = ""
    """Image with pip, which downloads uv; by default the base image."""

    @property
    def base_image(self) -> str:
        """Base image, with the default applied."""
        return self.base or f"python:{self.python}-slim-bookworm"

    @property
    def tools_image(self) -> str:
        """Image that downloads uv, with the default applied."""
        return self.tools or self.base_image


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Network and proxy settings of a build. None of them is part of a layer or of the key."""

    authority: Path | None = None
    """File with trusted certificates."""
    index: str | None = None
    """URL of the package index. It can contain a password, so it is never on a command line."""
    network: str | None = None
    """Network mode of the build, such as ``host``."""
    options: tuple[str, ...] = ()
    """Additional options for ``build``, such as ``--isolation=chroot`` for Podman."""
    proxies: tuple[str, ...] = ()
    """Names of the proxy variables in the environment. Engines keep their values out of images."""


class State(Enum):
    """State of a cell's image. The value is the word in reports."""

    BUILT = "built"
    PRESENT = "present"
    MISSING = "to build"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """Result for one cell's image."""

    recipe: Recipe
    image: str
    """Repository and tag; empty if the digest of its base image is unknown."""
    state: State
    seconds: float = 0.0
    """Build time of the image and its stages. A shared stage counts for each of its cells."""
    reason: str = ""
    """Reason of the failure, from the build output."""
    log: Path | None = None
    """File with the complete build output."""
