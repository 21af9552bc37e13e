"""What an image is made from, how its making is set up, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

LINES = ("12", "13")
"""The CUDA lines that PyCUDA can be built for (docker/pycuda)."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What decides the content of a cell's image."""

    cell: str
    """The cell's name, the identifier everywhere."""
    python: str
    """The minor version of Python, such as ``3.12``."""
    cuda: str
    """The CUDA line, ``12`` or ``13``."""
    lock: Path
    """Requirements with exact versions and hashes."""
    base: str = ""
    """The image to start from; by default Debian's slim one with this Python."""
    tools: str = ""
    """An image with pip that uv is fetched with; by default the base."""

    @property
    def base_image(self) -> str:
        """The image to start from."""
        return self.base or f"python:{self.python}-slim-bookworm"

    @property
    def tools_image(self) -> str:
        """The image that uv is fetched with."""
        return self.tools or self.base_image


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a build reaches the world. None of it is in a layer or in the key."""

    authority: Path | None = None
    """Certificates to trust, as a file."""
    index: str | None = None
    """The package index; it may hold a password, so it is never on a command line."""
    network: str | None = None
    """The network mode of the build, such as ``host``."""
    options: tuple[str, ...] = ()
    """More options for ``build``, such as ``--isolation=chroot`` for Podman."""
    proxies: tuple[str, ...] = ()
    """Names of the environment's proxy variables, which engines keep out of images themselves."""


class State(Enum):
    """What became of a cell's image; the value is how it is told."""

    BUILT = "built"
    PRESENT = "present"
    MISSING = "to build"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of one cell's image."""

    recipe: Recipe
    image: str
    """Repository and tag; empty where the digest of its base is not known."""
    state: State
    seconds: float = 0.0
    """What was built of it and of what lies below took that long; what cells share counts for each."""
    reason: str = ""
    """Why it failed, in the words of the build."""
    log: Path | None = None
    """Everything that the build said."""
