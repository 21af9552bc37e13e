"""Read matrix.yaml. One message reports all mistakes with their lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from . import checks
from .clauses import Axes, Clauses
from .document import Node, Reader, Table, Text, is_empty, load
from .mistakes import Mistakes, nearest
from .model import LINE_AXIS, NONE, PYTHON_AXIS, Axis, Cell, Demand, Excuse, Matrix, Rule, Tier, Value, cell_name

VERSION = re.compile(r"\d+(\.\d+)*")
TAG = re.compile(r"[a-z]+")
ALIAS = re.compile(r"[a-z][a-z0-9.-]*")
LIBRARY = re.compile(r"[a-z][a-z0-9_]*")
PLACEHOLDER = "{version}"


def read(path: Path) -> Matrix:
    """Return the matrix that a file describes.

    Raises:
        UserError: the file cannot be read or has mistakes; the text names every one with its line.
    """
    mistakes = Mistakes(path)
    reading = _Reading(mistakes)
    matrix = reading.matrix(load(path, mistakes))
    checks.check(matrix, mistakes, whole=reading.whole)
    mistakes.settle()
    return matrix


class _Reading:
    """One pass over the document. Axes come first, because all other parts refer to them."""

    def __init__(self, mistakes: Mistakes) -> None:
        self.mistakes = mistakes
        self.reader = Reader(mistakes)
        self.whole = False
        """Whether axes and rules have no mistakes, so that their combinations can be checked."""

    def matrix(self, top: Table) -> Matrix:
        """Return the matrix of the whole file."""
        keys = ("axes", "rules", "cells", "tiers", "suite")
        self.reader.table(top, "the file", keys, needed=("axes", "cells", "tiers", "suite"))
        before = len(self.mistakes.found)
        axes = tuple(self.axes(top.get("axes")))
        rules = tuple(self.rules(top.get("rules"), axes))
        self.whole = bool(axes) and len(self.mistakes.found) == before
        cells = tuple(self.cells(top.get("cells"), axes))
        tiers = tuple(self.tiers(top.get("tiers"), axes, {cell.alias for cell in cells}))
        return Matrix(axes, rules, cells, tiers, self.suite(top.get("suite")))

    def named(self, node: Node | None, what: str) -> Iterator[tuple[Text, Node]]:
        """Yield the entries of a mapping whose keys the user chooses."""
        if node is not None:
            yield from self.reader.table(node, what).entries

    # axes

    def axes(self, node: Node | None) -> Iterator[Axis]:
        """Yield every axis. The axes for CUDA and Python are required."""
        tags: dict[str, str] = {}
        entries = list(self.named(node, "axes"))
        majors = self.majors(entries)
        for key, entry in entries:
            axis = self.axis(key, entry, majors)
            if axis.tag and axis.tag in tags:
                self.mistakes.add(key.line, f"axes {tags[axis.tag]} and {axis.name} have the same tag {axis.tag}")
            tags[axis.tag] = axis.name
            yield axis
        for missing in [axis for axis in (LINE_AXIS, PYTHON_AXIS) if axis not in tags.values()]:
            self.mistakes.add(node.line if node else 1, f"axes needs the axis {missing}")

    def majors(self, entries: Iterable[tuple[Text, Node]]) -> set[str]:
        """Return the major versions of CUDA in the matrix."""
        axis = next((entry for key, entry in entries if key.text == LINE_AXIS), None)
        values = axis.get("values") if isinstance(axis, Table) else None
        return {key.text.split(".")[0] for key, _ in values.entries} if isinstance(values, Table) else set()

    def axis(self, key: Text, node: Node, majors: set[str]) -> Axis:
        """Return one axis."""
        what = f"axis {key.text}"
        keys = ("tag", "what", "requires", "source", "libraries", "values")
        table = self.reader.table(node, what, keys, needed=("tag", "what", "values"))
        tag = self.reader.text(table.get("tag"), f"tag of {what}")
        if tag and not TAG.fullmatch(tag):
            self.mistakes.add(
                key.line,
                f"tag {tag!r} of {what} must be a word of lowercase letters, because it is part of the names of cells",
            )
        values = tuple(self.values(table.get("values"), key.text))
        requires = self.requires(table.get("requires"), what, values, majors)
        source = tuple(text.text for text in self.reader.texts(table.get("source"), f"source of {what}"))
        about = self.reader.text(table.get("what"), f"what of {what}")
        libraries = tuple(self.libraries(table.get("libraries"), key.text))
        return Axis(key.text, tag, about, values, key.line, requires, source, libraries)

    def libraries(self, node: Node | None, axis: str) -> Iterator[str]:
        """Yield the adapters of an axis. The default is the name of the axis, and none for the axes of CUDA and Python."""
        if node is None:
            yield from () if axis in (LINE_AXIS, PYTHON_AXIS) else (axis,)
        for text in self.reader.texts(node, f"libraries of axis {axis}"):
            if text.text and not LIBRARY.fullmatch(text.text):
                problem = f"libraries of axis {axis}: {text.text!r} is not the name of an adapter: lowercase letters, digits and _"
                self.mistakes.add(text.line, problem)
            yield text.text

    def values(self, node: Node | None, axis: str) -> Iterator[Value]:
        """Yield the values of an axis."""
        entries = list(self.named(node, f"values of axis {axis}"))
        if node is not None and not entries:
            self.mistakes.add(node.line, f"axis {axis} has no values")
        for key, entry in entries:
            if key.text == NONE and axis in (LINE_AXIS, PYTHON_AXIS):
                self.mistakes.add(key.line, f"axis {axis} cannot be none: every cell needs it")
            elif key.text != NONE and not VERSION.fullmatch(key.text):
                self.mistakes.add(
                    key.line, f"value {key.text!r} of axis {axis} is neither a version such as 2.5 nor none"
                )
            yield self.value(key, entry, axis)

    def value(self, key: Text, node: Node, axis: str) -> Value:
        """Return one value with its release date and note."""
        if is_empty(node):
            return Value(key.text, key.line)
        what = f"{axis} {key.text}"
        table = self.reader.table(node, what, ("released", "note"))
        note = self.reader.text(table.get("note"), f"note of {what}")
        return Value(key.text, key.line, self.reader.day(table.get("released"), f"released of {what}"), note)

    def requires(
        self, node: Node | None, what: str, values: tuple[Value, ...], majors: set[str]
    ) -> Mapping[str, tuple[str, ...]]:
        """Return the requirements by major version of CUDA, or under ``""`` for every one."""
        if not isinstance(node, Table):
            return {"": self.templates(node, what, values)} if node else {}
        for key in (key for key, _ in node.entries if key.text not in majors):
            problem = f"requires of {what} is for CUDA {key.text}, which is not a major version of axis {LINE_AXIS}"
            self.mistakes.add(key.line, problem)
        return {key.text: self.templates(entry, what, values) for key, entry in node.entries}

    def templates(self, node: Node, what: str, values: tuple[Value, ...]) -> tuple[str, ...]:
        """Return requirements with a placeholder for the version."""
        texts = self.reader.texts(node, f"requires of {what}")
        if not any(PLACEHOLDER in text.text for text in texts):
            self.mistakes.add(
                node.line, f"requires of {what} does not use {PLACEHOLDER}, so all its values would be the same"
            )
        versions = [value.version for value in values if value.version != NONE]
        for text in texts:
            for version in versions[:1]:
                self.requirement(Text(text.text.replace(PLACEHOLDER, version), text.line), f"requires of {what}")
        return tuple(text.text for text in texts)

    def requirement(self, text: Text, what: str) -> None:
        """Check that a text is a valid requirement without a URL."""
        try:
            found = Requirement(text.text)
        except InvalidRequirement as error:
            self.mistakes.add(text.line, f"{what}: {text.text!r} is not a requirement ({str(error).splitlines()[0]})")
            return
        if found.url:
            self.mistakes.add(
                text.line, f"{what}: {text.text!r} has a URL; lock files contain versions from a package index"
            )

    def suite(self, node: Node | None) -> tuple[str, ...]:
        """Return the requirements of the suite itself."""
        texts = self.reader.texts(node, "suite")
        for text in texts:
            self.requirement(text, "suite")
        return tuple(text.text for text in texts)

    # rules

    def rules(self, node: Node | None, axes: Axes) -> Iterator[Rule]:
        """Yield every rule with its clauses."""
        clauses = Clauses(self.reader, axes)
        for key, entry in self.named(node, "rules"):
            table = self.reader.table(
                entry, f"rule {key.text}", ("forbid", "when", "require", "at-least", "reason"), needed=("reason",)
            )
            reason = self.reader.text(table.get("reason"), f"reason of rule {key.text}")
            before = len(self.mistakes.found)
            found = clauses.of_rule(key, table)
            if len(self.mistakes.found) == before:
                yield Rule(key.text, reason, found, key.line)

    # cells

    def cells(self, node: Node | None, axes: Axes) -> Iterator[Cell]:
        """Yield the cells that the file names."""
        lines: dict[str, Text] = {}
        for key, entry in self.named(node, "cells"):
            if not ALIAS.fullmatch(key.text):
                self.mistakes.add(
                    key.line, f"cell {key.text!r}: a name consists of lowercase letters, digits, dots and dashes"
                )
            choice = self.choice(key, entry, axes)
            if choice is None:
                yield Cell("", {}, key.text, key.line)
                continue
            cell = Cell(cell_name(axes, choice), choice, key.text, key.line)
            if cell.name in lines:
                first = lines[cell.name]
                self.mistakes.add(
                    key.line, f"cell {key.text} has the same values as cell {first.text} in line {first.line}"
                )
            lines.setdefault(cell.name, key)
            yield cell

    def choice(self, key: Text, node: Node, axes: Axes) -> dict[str, str] | None:
        """Return a value for every axis; ``None`` if one is missing or unknown."""
        known = {axis.name: axis.versions for axis in axes}
        before = len(self.mistakes.found)
        names = tuple(known)
        table = self.reader.table(node, f"cell {key.text}", names, needed=names)
        choice = {}
        for name, entry in table.entries:
            text = self.reader.text(entry, f"{name.text} of cell {key.text}")
            choice[name.text] = text
            if text and name.text in known and text not in known[name.text]:
                there = nearest(text, known[name.text])
                self.mistakes.add(entry.line, f"cell {key.text}: axis {name.text} has no value {text}{there}")
        return {name: choice[name] for name in names} if len(self.mistakes.found) == before else None

    # tiers

    def tiers(self, node: Node | None, axes: Axes, aliases: set[str]) -> Iterator[Tier]:
        """Yield every tier. A tier can extend only a tier above it."""
        known: list[str] = []
        for key, entry in self.named(node, "tiers"):
            yield self.tier(key, entry, axes, aliases, known)
            known.append(key.text)

    def tier(self, key: Text, node: Node, axes: Axes, aliases: set[str], known: list[str]) -> Tier:
        """Return one tier."""
        what = f"tier {key.text}"
        table = self.reader.table(node, what, ("what", "extends", "cells", "cover", "without"), needed=("what",))
        extends = table.get("extends")
        base = self.reader.text(extends, f"extends of {what}")
        if base and base not in known and extends:
            there = nearest(base, known) if known else ""
            self.mistakes.add(extends.line, f"{what} extends {base}, which is not a tier above it{there}")
        cells = self.reader.texts(table.get("cells"), f"cells of {what}")
        for cell in (cell for cell in cells if cell.text and cell.text not in aliases):
            self.mistakes.add(cell.line, f"{what}: there is no cell {cell.text}{nearest(cell.text, sorted(aliases))}")
        if not (base or cells or table.get("cover")):
            self.mistakes.add(key.line, f"{what} has no cells; give cells, cover or extends")
        return Tier(
            key.text,
            self.reader.text(table.get("what"), f"what of {what}"),
            key.line,
            base,
            tuple(cell.text for cell in cells),
            self.demand(table.get("cover"), what, axes),
            tuple(self.excuses(table.get("without"), what, axes)),
        )

    def demand(self, node: Node | None, what: str, axes: Axes) -> Demand | None:
        """Return the coverage demand: every value, pair, triple, … of all axes or of some."""
        if node is None:
            return None
        names = tuple(axis.name for axis in axes)
        table = self.reader.table(node, f"cover of {what}", ("each", "over"), needed=("each",))
        chosen = self.reader.texts(table.get("over"), f"over of {what}")
        for text in (text for text in chosen if text.text and text.text not in names):
            self.mistakes.add(text.line, f"{what}: there is no axis {text.text}{nearest(text.text, names)}")
        over = tuple(text.text for text in chosen if text.text in names) or names
        each = self.reader.text(table.get("each"), f"each of {what}")
        if each and (not each.isdecimal() or not 1 <= int(each) <= len(over)):
            self.mistakes.add(table.line, f"each of {what} must be a number from 1 to {len(over)}, not {each!r}")
            return None
        return Demand(int(each), over) if each else None

    def excuses(self, node: Node | None, what: str, axes: Axes) -> Iterator[Excuse]:
        """Yield the combinations that a tier deliberately excludes."""
        for item in self.reader.items(node, f"without of {what}"):
            table = self.reader.table(
                item, f"an item of without of {what}", ("values", "reason"), needed=("values", "reason")
            )
            reason = self.reader.text(table.get("reason"), f"reason of {what}")
            values = table.get("values")
            if values is not None:
                clause = Clauses(self.reader, axes).clause(values, f"without of {what}")
                yield Excuse(clause, reason, item.line)
