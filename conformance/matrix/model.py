"""Data of a matrix: axes with values, rules, cells and tiers. ``reading`` creates it, and it never changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from .space import Choice, Clause, Space

NONE = "none"
"""Value of an axis that a cell does not have."""
LINE_AXIS = "cuda"
"""Axis whose major version is the CUDA version of a cell."""
PYTHON_AXIS = "python"


@dataclass(frozen=True)
class Value:
    """A value of an axis: a version, or ``none``. ``line`` is its line in the file."""

    version: str
    line: int
    released: date | None = None
    note: str = ""


@dataclass(frozen=True)
class Axis:
    """A component whose version differs between cells. ``requires`` is by major version of CUDA; the key ``""`` stands for every one."""

    name: str
    tag: str
    what: str
    values: tuple[Value, ...]
    line: int
    requires: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    source: tuple[str, ...] = ()
    """Packages of this axis that are available only as source."""
    libraries: tuple[str, ...] = ()
    """Libraries in a cell with this axis, by adapter name."""

    @property
    def versions(self) -> tuple[str, ...]:
        """Versions of the values, in the order of preference."""
        return tuple(value.version for value in self.values)

    def requirements(self, version: str, major: str) -> tuple[str, ...] | None:
        """Return the requirements for a major version of CUDA; ``None`` if the axis has none for it."""
        if version == NONE or not self.requires:
            return ()
        templates = self.requires.get("", self.requires.get(major))
        return None if templates is None else tuple(text.replace("{version}", version) for text in templates)


@dataclass(frozen=True)
class Rule:
    """Combinations to exclude, and the reason. A rule removes each cell that fits any of its clauses."""

    name: str
    reason: str
    clauses: tuple[Clause, ...]
    line: int


@dataclass(frozen=True)
class Cell:
    """A combination of versions. Its name is derived from its values and identifies it everywhere."""

    name: str
    choice: Choice = field(compare=False)
    alias: str = field(default="", compare=False)
    """Its name in matrix.yaml, if the file names it."""
    line: int = field(default=0, compare=False)

    def __getitem__(self, axis: str) -> str:
        return self.choice[axis]

    @property
    def major(self) -> str:
        """Major version of CUDA, ``12`` or ``13``."""
        return self.choice[LINE_AXIS].split(".")[0]


@dataclass(frozen=True)
class Demand:
    """Demand that every allowed combination of ``strength`` values of these axes is in a cell."""

    strength: int
    over: tuple[str, ...]


@dataclass(frozen=True)
class Excuse:
    """Combinations that a tier deliberately excludes: those with values from all of these sets."""

    values: Clause
    reason: str
    line: int


@dataclass(frozen=True)
class Tier:
    """A set of cells: those of another tier, named cells, and cells that meet a coverage demand."""

    name: str
    what: str
    line: int
    extends: str = ""
    cells: tuple[str, ...] = ()
    """Aliases of cells."""
    cover: Demand | None = None
    excuses: tuple[Excuse, ...] = ()


@dataclass(frozen=True)
class Matrix:
    """Content of matrix.yaml."""

    axes: tuple[Axis, ...]
    rules: tuple[Rule, ...]
    cells: tuple[Cell, ...]
    tiers: tuple[Tier, ...]
    suite: tuple[str, ...]
    """Requirements of the suite itself in a cell."""

    @property
    def space(self) -> Space:
        """Combinations that the rules allow."""
        clauses = tuple(clause for rule in self.rules for clause in rule.clauses)
        return Space({axis.name: axis.versions for axis in self.axes}, clauses)

    def axis(self, name: str) -> Axis:
        """Return the axis with this name."""
        return next(axis for axis in self.axes if axis.name == name)

    def tier(self, name: str) -> Tier:
        """Return the tier with this name."""
        return next(tier for tier in self.tiers if tier.name == name)

    def upto(self, name: str) -> tuple[Tier, ...]:
        """Return a tier after the tiers that it extends."""
        tier = self.tier(name)
        return (*self.upto(tier.extends), tier) if tier.extends else (tier,)

    def cell(self, choice: Choice) -> Cell:
        """Return the cell with these values, and with its alias if the file has one."""
        name = cell_name(self.axes, choice)
        ordered = {axis.name: choice[axis.name] for axis in self.axes}
        return next((cell for cell in self.cells if cell.name == name), Cell(name, ordered))

    def requirements(self, cell: Cell) -> tuple[str, ...]:
        """Return the requirements of a cell, in the order of the axes."""
        return tuple(
            text for axis in self.axes for text in axis.requirements(cell[axis.name], cell.major) or ()
        )  # fmt: skip

    def versions(self, cell: Cell) -> dict[str, str]:
        """Return the version of each axis that the cell has."""
        return {axis.name: cell[axis.name] for axis in self.axes if cell[axis.name] != NONE}

    def libraries(self, cell: Cell) -> dict[str, str]:
        """Return the libraries in a cell: adapter name to axis."""
        held: dict[str, str] = {}
        for axis in (axis for axis in self.axes if cell[axis.name] != NONE):
            for library in axis.libraries:
                held.setdefault(library, axis.name)
        return held

    @property
    def source_only(self) -> tuple[str, ...]:
        """Packages that are available only as source."""
        return tuple(package for axis in self.axes for package in axis.source)


def cell_name(axes: Iterable[Axis], choice: Choice) -> str:
    """Return the name of a cell, such as ``cu13.2-py3.12-numpy2.5-…``. It is a file name, and values that are ``none`` are left out."""
    return "-".join(f"{axis.tag}{choice[axis.name]}" for axis in axes if choice[axis.name] != NONE)
