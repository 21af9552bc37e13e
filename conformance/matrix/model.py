"""The matrix as data: axes with their values, rules, cells and tiers. Made by ``reading``, changed by nobody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from .space import Choice, Clause, Space

NONE = "none"
"""The value of an axis that a cell does without."""
LINE_AXIS = "cuda"
"""The axis whose major version is the CUDA line of a cell."""
PYTHON_AXIS = "python"


@dataclass(frozen=True)
class Value:
    """One value of an axis: a version, or ``none``. ``line`` is where it stands in the file."""

    version: str
    line: int
    released: date | None = None
    note: str = ""


@dataclass(frozen=True)
class Axis:
    """One thing that differs from cell to cell. ``requires`` goes by CUDA major; the key ``""`` serves every line."""

    name: str
    tag: str
    what: str
    values: tuple[Value, ...]
    line: int
    requires: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    source: tuple[str, ...] = ()
    """Packages of this axis that exist as source only."""
    libraries: tuple[str, ...] = ()
    """What a cell with a version of it holds, by the names that adapters have."""

    @property
    def versions(self) -> tuple[str, ...]:
        """The values as text, in the order of preference."""
        return tuple(value.version for value in self.values)

    def requirements(self, version: str, major: str) -> tuple[str, ...] | None:
        """What a cell of this CUDA major asks the resolver for; ``None`` where the axis has nothing for that line."""
        if version == NONE or not self.requires:
            return ()
        templates = self.requires.get("", self.requires.get(major))
        return None if templates is None else tuple(text.replace("{version}", version) for text in templates)


@dataclass(frozen=True)
class Rule:
    """What cannot or shall not be combined, and why. A cell is removed when it fits any of the clauses."""

    name: str
    reason: str
    clauses: tuple[Clause, ...]
    line: int


@dataclass(frozen=True)
class Cell:
    """One combination of versions. Its name follows from its values and is its identifier everywhere."""

    name: str
    choice: Choice = field(compare=False)
    alias: str = field(default="", compare=False)
    """How matrix.yaml calls it, where it stands there by name."""
    line: int = field(default=0, compare=False)

    def __getitem__(self, axis: str) -> str:
        return self.choice[axis]

    @property
    def major(self) -> str:
        """The CUDA line, as ``12`` or ``13``."""
        return self.choice[LINE_AXIS].split(".")[0]


@dataclass(frozen=True)
class Demand:
    """That every allowed combination of ``strength`` values of these axes is in some cell."""

    strength: int
    over: tuple[str, ...]


@dataclass(frozen=True)
class Excuse:
    """Combinations that a tier leaves out on purpose: those with values from all of these sets."""

    values: Clause
    reason: str
    line: int


@dataclass(frozen=True)
class Tier:
    """How much is run when: what another tier has, cells by name, and what has to be covered."""

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
    """The whole file."""

    axes: tuple[Axis, ...]
    rules: tuple[Rule, ...]
    cells: tuple[Cell, ...]
    tiers: tuple[Tier, ...]
    suite: tuple[str, ...]
    """What the suite itself needs inside a cell."""

    @property
    def space(self) -> Space:
        """What the rules allow."""
        clauses = tuple(clause for rule in self.rules for clause in rule.clauses)
        return Space({axis.name: axis.versions for axis in self.axes}, clauses)

    def axis(self, name: str) -> Axis:
        """The axis of this name."""
        return next(axis for axis in self.axes if axis.name == name)

    def tier(self, name: str) -> Tier:
        """The tier of this name."""
        return next(tier for tier in self.tiers if tier.name == name)

    def upto(self, name: str) -> tuple[Tier, ...]:
        """A tier behind those that it extends."""
        tier = self.tier(name)
        return (*self.upto(tier.extends), tier) if tier.extends else (tier,)

    def cell(self, choice: Choice) -> Cell:
        """The cell with these values, under the alias it may have in the file."""
        name = cell_name(self.axes, choice)
        ordered = {axis.name: choice[axis.name] for axis in self.axes}
        return next((cell for cell in self.cells if cell.name == name), Cell(name, ordered))

    def requirements(self, cell: Cell) -> tuple[str, ...]:
        """What the resolver is asked for, axis by axis."""
        return tuple(
            text for axis in self.axes for text in axis.requirements(cell[axis.name], cell.major) or ()
        )  # fmt: skip

    def versions(self, cell: Cell) -> dict[str, str]:
        """The version of each axis, without those that the cell does without."""
        return {axis.name: cell[axis.name] for axis in self.axes if cell[axis.name] != NONE}

    def libraries(self, cell: Cell) -> dict[str, str]:
        """What the cell holds, by the names that adapters have, each with the axis that it is planned by."""
        held: dict[str, str] = {}
        for axis in (axis for axis in self.axes if cell[axis.name] != NONE):
            for library in axis.libraries:
                held.setdefault(library, axis.name)
        return held

    @property
    def source_only(self) -> tuple[str, ...]:
        """Packages without wheels."""
        return tuple(package for axis in self.axes for package in axis.source)


def cell_name(axes: Iterable[Axis], choice: Choice) -> str:
    """``cu13.2-py3.12-numpy2.5-…``: file name, image tag and identifier; what is ``none`` is left out."""
    return "-".join(f"{axis.tag}{choice[axis.name]}" for axis in axes if choice[axis.name] != NONE)
