"""Convert rules of matrix.yaml to clauses: sets of values that must not be combined."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from .conditions import NoCondition, matching
from .document import Items, Node, Reader, Table, Text
from .mistakes import nearest
from .model import NONE, Axis
from .space import Clause

Axes = tuple[Axis, ...]


@dataclass(frozen=True)
class Clauses:
    """Reader of conditions on these axes."""

    reader: Reader
    axes: Axes

    def of_rule(self, key: Text, table: Table) -> tuple[Clause, ...]:
        """Return the clauses of a rule in one of its three forms."""
        what = f"rule {key.text}"
        given = [name for name in ("forbid", "require", "at-least") if table.get(name) is not None]
        if len(given) != 1 or ("require" in given) != (table.get("when") is not None):
            self.reader.mistakes.add(key.line, f"{what} needs exactly one of: forbid, when with require, or at-least")
            return ()
        node = table.get(given[0])
        assert node is not None
        if given == ["forbid"]:
            parts = node.items if isinstance(node, Items) else (node,)
            return tuple(self.clause(part, f"forbid of {what}") for part in parts)
        if given == ["at-least"]:
            return tuple(self.at_least(node, what))
        return tuple(self.implication(table.get("when"), node, what))

    def clause(self, node: Node, what: str) -> Clause:
        """Return the clause of a mapping from axes to conditions. A choice fits it if it meets all conditions."""
        table = self.reader.table(node, what)
        if isinstance(node, Table) and not table.entries:
            self.reader.mistakes.add(node.line, f"{what} names no axis")
        return {key.text: self.values(key, entry, what) for key, entry in table.entries if self.knows(key, what)}

    def knows(self, key: Text, what: str) -> bool:
        """Return whether the axis exists, and add a mistake if it does not."""
        names = [axis.name for axis in self.axes]
        if key.text not in names:
            self.reader.mistakes.add(key.line, f"{what}: there is no axis {key.text}{nearest(key.text, names)}")
        return key.text in names

    def values(self, key: Text, node: Node, what: str) -> frozenset[str]:
        """Return the values that meet a condition. A condition that no value meets is a mistake."""
        axis = next(axis for axis in self.axes if axis.name == key.text)
        texts = self.reader.texts(node, f"{key.text} in {what}")
        found: frozenset[str] = frozenset()
        for text in (text for text in texts if text.text):
            try:
                fitting = matching([text.text], axis.versions)
            except NoCondition as error:
                self.reader.mistakes.add(text.line, f"{key.text} in {what}: {error}")
                continue
            if not fitting:
                self.reader.mistakes.add(
                    text.line, f"{key.text} in {what}: {text.text!r} matches none of {', '.join(axis.versions)}"
                )
            found |= fitting
        return found

    def implication(self, when: Node | None, require: Node, what: str) -> Iterator[Clause]:
        """Yield a clause for each condition of ``require``, which every choice that meets ``when`` has to meet."""
        assert when is not None
        premise = self.clause(when, f"when of {what}")
        for name, wanted in self.clause(require, f"require of {what}").items():
            axis = next(axis for axis in self.axes if axis.name == name)
            if name in premise:
                self.reader.mistakes.add(require.line, f"{what} has {name} in when and in require; use forbid instead")
            yield {**premise, name: frozenset(axis.versions) - wanted}

    def at_least(self, node: Node, what: str) -> Iterator[Clause]:
        """Yield a clause for each combination in which fewer than ``count`` of these axes differ from ``none``."""
        table = self.reader.table(node, f"at-least of {what}", ("count", "of"), needed=("count", "of"))
        chosen = self.reader.texts(table.get("of"), f"of in {what}")
        names = [text.text for text in chosen if self.knows(text, what)]
        count = self.reader.text(table.get("count"), f"count of {what}")
        if not count.isdecimal() or not 1 <= int(count) <= len(names):
            self.reader.mistakes.add(
                node.line, f"count of {what} must be a number from 1 to {len(names)}, not {count!r}"
            )
            return
        optional = [axis.name for axis in self.axes if axis.name in names and NONE in axis.versions]
        too_few = len(names) - int(count) + 1
        if len(optional) < too_few:
            self.reader.mistakes.add(node.line, f"{what} removes nothing: only {len(optional)} of them can be none")
        for absent in combinations(optional, too_few):
            yield {name: frozenset({NONE}) for name in absent}
