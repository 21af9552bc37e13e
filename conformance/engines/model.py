"""What is run where, and what became of it: the words that all engines share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from conformance.exits import Exit

_FINDS_WHEELS = 14
"""The major version of CuPy from which on it finds the CUDA libraries of wheels."""


class Older(ValueError):
    """What is read was written by an older version of this suite, which did not write down what is asked for."""


class Lifecycle(str, Enum):
    """What became of a cell as a whole; the value is how it is told and written."""

    DONE = "done"
    """`check` came to its end; its own exit code says what it found."""
    UNRESOLVABLE = "unresolvable"
    """Its versions cannot be put together, so says the resolver."""
    UNFIT = "candidate does not fit"
    """A candidate cannot be put together with its Python, or with the versions in its lock."""
    NOT_IN_EFFECT = "candidate not in effect"
    """`check` came to its end, and what it has tested is not, or not only, the candidate."""
    BUILD_FAILED = "build failed"
    """What it runs in could not be made."""
    ENGINE_GONE = "engine gone"
    """What should run it does not answer, or does not any more."""
    IMAGE_MISSING = "image missing"
    """The engine has not got its image."""
    NO_SPACE = "no space"
    """A disk is full."""
    KILLED = "killed"
    """Somebody ended it from outside."""
    OUT_OF_MEMORY = "out of memory"
    """The kernel ended it at its limit."""
    DEADLINE = "deadline"
    """It took longer than a cell may."""
    STOPPED = "stopped"
    """The whole run was asked to stop while this cell ran."""
    NOT_RUN = "not run"
    """It was not begun, or `check` would not begin."""


@dataclass(frozen=True)
class Candidate:
    """A wheel that stands in a cell in place of the released version of its distribution."""

    name: str
    """The distribution, as the package index compares names."""
    version: str
    file: str
    """The name of the wheel."""
    sha256: str
    source: str
    """Where it is from: the wheel's path, or the requirement that an index answered with it."""
    instead_of: str = ""
    """The version that the cell's lock has."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def to_json(self) -> dict[str, str]:
        """Plain data."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Cell:
    """One planned cell, as the written plan has it."""

    name: str
    alias: str = ""
    python: str = ""
    """Minor version; empty where the environment at hand is taken as it is."""
    cuda: str = ""
    """CUDA line, ``12`` or ``13``."""
    lock: str = ""
    """Path of its lock; empty where there is none."""
    problem: str = ""
    """Why it cannot be run whatever the engine."""
    unresolvable: bool = False
    """Whether ``problem`` is the resolver's."""
    candidates: tuple[Candidate, ...] = ()
    """What stands in it in place of released versions."""
    unfit: str = ""
    """Why a candidate cannot stand in it, as far as that is known before anything is made."""
    axes: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The version of each axis of matrix.yaml, without those that it does without; none where the environment at hand is taken."""
    holds: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The libraries that it has to be able to use, by the names of their adapters, each with the axis that it is planned by."""

    @property
    def needs_library_path(self) -> bool:
        """Whether its CuPy does not find the CUDA libraries of wheels by itself, as before version 14."""
        version = self.axes.get(self.holds.get("cupy", "cupy"), "")
        major = re.match(r"\d{1,9}(?!\d)", version)
        return major is not None and int(major[0]) < _FINDS_WHEELS

    @property
    def title(self) -> str:
        """What a person calls it."""
        return self.alias or self.name

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        candidates = [candidate.to_json() for candidate in self.candidates]
        return {**self.__dict__, "candidates": candidates, "axes": dict(self.axes), "holds": dict(self.holds)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Cell:
        """The reverse of :meth:`to_json`. Raises :class:`Older` where it does not say which versions the cell was planned with."""
        check_axes(data)
        candidates = tuple(Candidate(**candidate) for candidate in data.get("candidates", ()))
        return cls(**{**data, "candidates": candidates})


def check_axes(data: Mapping[str, Any]) -> None:
    """Raise :class:`Older` where a cell is written without its axes: once they stood in its name alone."""
    if data.get("axes") is None or data.get("holds") is None:
        raise Older(
            "the versions that cells were planned with are not in it, so an older version of this suite has made it"
        )


@dataclass(frozen=True)
class Ending:
    """How a cell ended. ``exit`` is the exit code of ``check`` where it came to its end."""

    lifecycle: Lifecycle
    reason: str
    exit: int | None = None

    @property
    def final(self) -> bool:
        """Whether `--resume` has nothing to add."""
        if self.lifecycle in (Lifecycle.UNRESOLVABLE, Lifecycle.UNFIT):
            return True
        return self.lifecycle is Lifecycle.DONE and self.exit != Exit.INCOMPLETE


@dataclass(frozen=True)
class Placed:
    """A candidate that can be put in front of the path."""

    candidate: Candidate
    folder: Path
    """What was unpacked of it, on the machine."""


@dataclass(frozen=True)
class Prepared:
    """A cell that can be run: what it runs in, in the engine's own terms, and what a record should say about that."""

    cell: Cell
    what: str
    """Image, interpreter or folder."""
    told: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    """Of what it runs in, where that has any: ``image`` and ``image key``."""
    placed: tuple[Placed, ...] = ()


@dataclass(frozen=True)
class WithTests:
    """A package's own tests, to be run in each cell beside ours."""

    folder: str
    """Where they were taken from."""
    seconds: float
    """What they may take in one cell."""


@dataclass(frozen=True)
class Bounds:
    """What a cell may use."""

    memory: str = "8g"
    pids: int = 4096
    seconds: float = 3600.0


@dataclass(frozen=True)
class User:
    """Who a container runs as: ``user:group`` by number. ``kept``: inside the same as outside, by an engine without root."""

    ids: str
    kept: bool = False


@dataclass(frozen=True)
class Gpus:
    """Which GPUs a cell sees, and by what way a container gets them."""

    way: str
    """``cdi``, ``--gpus``, ``direct`` or ``none``."""
    ids: tuple[str, ...] = ()
    """Indices; empty for all of them."""
    reason: str = ""
    """Why this way."""


@dataclass(frozen=True)
class Task:
    """One start of a cell."""

    prepared: Prepared
    arguments: tuple[str, ...]
    """For ``python -m conformance check``; ``{out}`` stands for the folder of results as it is called where the cell runs."""
    out: Path
    name: str
    """Unique among all that run on the machine."""
    tests: Path | None = None
    """The folder of the package's own tests, where these are what is run instead of ``check``."""
