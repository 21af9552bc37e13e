"""Data shared by all engines: cells, candidates, tasks and endings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from conformance.exits import Exit

_FINDS_WHEELS = 14
"""First major version of CuPy that finds the CUDA libraries in wheels."""


class Older(ValueError):
    """A file of an older version of the suite, which lacks required data."""


class Lifecycle(str, Enum):
    """Final state of a cell. The value is the word in reports and files."""

    DONE = "done"
    """`check` finished. Its exit code shows the result."""
    UNRESOLVABLE = "unresolvable"
    """The resolver found that its versions exclude each other."""
    UNFIT = "candidate does not fit"
    """A candidate is incompatible with the cell's Python or with the versions in its lock file."""
    NOT_IN_EFFECT = "candidate not in effect"
    """`check` finished, but it tested another version than the candidate, or another one beside it."""
    BUILD_FAILED = "build failed"
    """Its image or virtual environment could not be built."""
    ENGINE_GONE = "engine gone"
    """The engine is unreachable."""
    IMAGE_MISSING = "image missing"
    """The engine does not have its image."""
    NO_SPACE = "no space"
    """A disk is full."""
    KILLED = "killed"
    """A signal from outside the suite ended it."""
    OUT_OF_MEMORY = "out of memory"
    """The kernel ended a process of the cell at its memory limit."""
    DEADLINE = "deadline"
    """It reached the timeout of a cell."""
    STOPPED = "stopped"
    """The user or a signal stopped the run while this cell ran."""
    NOT_RUN = "not run"
    """It was not started, or `check` did not start."""


@dataclass(frozen=True)
class Candidate:
    """A wheel that a cell tests in place of the locked version of its distribution."""

    name: str
    """Normalized name of the distribution."""
    version: str
    file: str
    """File name of the wheel."""
    sha256: str
    source: str
    """Path of the wheel, or the requirement that the package index resolved to it."""
    instead_of: str = ""
    """Version in the cell's lock file."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def to_json(self) -> dict[str, str]:
        """Plain data."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Cell:
    """A planned cell, as in ``run.json``."""

    name: str
    alias: str = ""
    python: str = ""
    """Python version, such as ``3.12``; empty for the current environment."""
    cuda: str = ""
    """Major version of CUDA, ``12`` or ``13``."""
    lock: str = ""
    """Path of its lock file; empty if it has none."""
    problem: str = ""
    """Reason why no engine can run it, or empty."""
    unresolvable: bool = False
    """Whether ``problem`` comes from the resolver."""
    candidates: tuple[Candidate, ...] = ()
    """Wheels that it tests in place of locked versions."""
    unfit: str = ""
    """Reason why a candidate does not fit, if the plan already shows it."""
    axes: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Version of each axis of matrix.yaml that the cell has; empty for the current environment."""
    holds: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Libraries that the cell must be able to use: adapter name to axis of matrix.yaml."""

    @property
    def needs_library_path(self) -> bool:
        """Whether its CuPy needs ``LD_LIBRARY_PATH`` to find the CUDA libraries in wheels, as before version 14."""
        version = self.axes.get(self.holds.get("cupy", "cupy"), "")
        major = re.match(r"\d{1,9}(?!\d)", version)
        return major is not None and int(major[0]) < _FINDS_WHEELS

    @property
    def title(self) -> str:
        """Display name: the alias, or else the name."""
        return self.alias or self.name

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        candidates = [candidate.to_json() for candidate in self.candidates]
        return {**self.__dict__, "candidates": candidates, "axes": dict(self.axes), "holds": dict(self.holds)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Cell:
        """Create a cell from :meth:`to_json` data. Raises :class:`Older` if the data lacks the planned versions."""
        check_axes(data)
        candidates = tuple(Candidate(**candidate) for candidate in data.get("candidates", ()))
        return cls(**{**data, "candidates": candidates})


def check_axes(data: Mapping[str, Any]) -> None:
    """Raise :class:`Older` if the data of a cell has no axes. Older versions wrote the axes only as part of the name."""
    if data.get("axes") is None or data.get("holds") is None:
        raise Older(
            "the file lacks the planned versions of its cells, so an older version of this suite has written it"
        )


@dataclass(frozen=True)
class Ending:
    """Ending of a cell. ``exit`` is the exit code of ``check``, if it finished."""

    lifecycle: Lifecycle
    reason: str
    exit: int | None = None

    @property
    def final(self) -> bool:
        """Whether `--resume` does not run the cell again."""
        if self.lifecycle in (Lifecycle.UNRESOLVABLE, Lifecycle.UNFIT):
            return True
        return self.lifecycle is Lifecycle.DONE and self.exit != Exit.INCOMPLETE


@dataclass(frozen=True)
class Placed:
    """An unpacked candidate."""

    candidate: Candidate
    folder: Path
    """Folder with the unpacked files, as a path on the machine."""


@dataclass(frozen=True)
class Prepared:
    """A cell that is ready to run."""

    cell: Cell
    what: str
    """Name of the image, or path of the interpreter."""
    told: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    """Digests of the image, if the cell has one: ``image`` and ``image key``."""
    placed: tuple[Placed, ...] = ()


@dataclass(frozen=True)
class WithTests:
    """A package's own tests, which each cell runs after the suite."""

    folder: str
    """Folder of the tests on the machine."""
    seconds: float
    """Timeout of the tests in one cell."""


@dataclass(frozen=True)
class Bounds:
    """Limits of a cell: memory, number of processes, and timeout."""

    memory: str = "8g"
    pids: int = 4096
    seconds: float = 3600.0


@dataclass(frozen=True)
class User:
    """User of a container, as numbers ``user:group``. ``kept`` is whether a rootless engine keeps the user's id in the container."""

    ids: str
    kept: bool = False


@dataclass(frozen=True)
class Gpus:
    """GPUs that a cell can use, and the way in which it gets them."""

    way: str
    """``cdi``, ``--gpus``, ``direct`` or ``none``."""
    ids: tuple[str, ...] = ()
    """Indices; empty for all GPUs."""
    reason: str = ""
    """Reason for this way."""


@dataclass(frozen=True)
class Task:
    """One start of a cell, either of ``check`` or of the package's own tests."""

    prepared: Prepared
    arguments: tuple[str, ...]
    """Arguments of ``check`` or pytest. ``{out}`` stands for the results folder as the cell sees it."""
    out: Path
    name: str
    """Name of the container, unique on the machine."""
    tests: Path | None = None
    """Folder of the package's own tests, if the task runs these instead of ``check``."""
