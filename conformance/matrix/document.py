"""YAML as texts, lists and mappings with line numbers. Values keep their text: 3.10 stays 3.10, and `no` stays no.

The loader rejects everything except plain data: aliases (with which a few lines can expand to gigabytes), tags, duplicate keys, and
documents that are too large or too deeply nested.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.events import AliasEvent

from conformance import files
from conformance.exits import UserError

from .mistakes import Mistakes, nearest

MOST_BYTES = 1 << 20
MOST_LEVELS = 20
_NO_NUMBER = re.compile(r"\d{101}")
"""Pattern of rejected numbers, because Python limits the conversion of numbers with thousands of digits."""


@dataclass(frozen=True)
class Text:
    """A scalar, with its unchanged text."""

    text: str
    line: int


@dataclass(frozen=True)
class Items:
    """A list with its line number."""

    items: tuple[Node, ...]
    line: int


@dataclass(frozen=True)
class Table:
    """A mapping in the order of the file."""

    entries: tuple[tuple[Text, Node], ...]
    line: int

    def get(self, key: str) -> Node | None:
        """Return the value of a key, or ``None``."""
        return next((node for name, node in self.entries if name.text == key), None)


Node = Text | Items | Table
_KINDS = {Text: "text", Items: "a list", Table: "a mapping"}
_EMPTY = ("", "null", "~")


def kind(node: Node) -> str:
    """Return the kind of a node for a message."""
    return "nothing" if is_empty(node) else _KINDS[type(node)]


def is_empty(node: Node) -> bool:
    """Return whether a node is empty, as in ``key:``."""
    return isinstance(node, Text) and node.text in _EMPTY


class _Loader(yaml.BaseLoader):
    """A loader that rejects aliases, tags and deep nesting."""

    level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Raise ComposerError, with the place, for anything but plain data."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            raise ComposerError(None, None, "anchors and aliases are not supported; repeat the value", event.start_mark)
        if getattr(event, "tag", None):
            raise ComposerError(None, None, "tags are not supported; all values are plain text", event.start_mark)
        self.level += 1
        if self.level > MOST_LEVELS:
            raise ComposerError(None, None, f"more than {MOST_LEVELS} levels deep", event.start_mark)
        node = super().compose_node(parent, index)
        self.level -= 1
        return node


MATRIX_KEYS = "the keys axes, rules, cells, tiers and suite"


def load(path: Path, mistakes: Mistakes, *, keys: str = MATRIX_KEYS, option: str = "--matrix") -> Table:
    """Return the mapping at the top of a file. ``keys`` and ``option`` are for messages: the expected keys, and the option that names the file.

    Raises UserError if the file is not valid YAML.
    """
    try:
        node = yaml.compose(_text(path, option), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UserError(f"{path}:{mark.line + 1 if mark else 1}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(node, yaml.MappingNode):
        raise UserError(f"{path}:1: the file must be a mapping with {keys}")
    top = _converted(node, mistakes)
    assert isinstance(top, Table)
    return top


def _text(path: Path, option: str) -> str:
    try:
        return files.text(path, MOST_BYTES)
    except files.Unreadable as error:
        if error.line:
            raise UserError(f"{path}:{error.line}: not valid UTF-8; save the file as UTF-8") from error
        raise UserError(f"{error}; name another file with {option}") from error


def _converted(node: yaml.Node, mistakes: Mistakes) -> Node:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        if _NO_NUMBER.search(str(node.value)):
            mistakes.add(line, "a number has more than 100 digits, so it is neither a version nor a date")
            return Text("", line)
        return Text(str(node.value), line)
    if isinstance(node, yaml.SequenceNode):
        return Items(tuple(_converted(item, mistakes) for item in node.value), line)
    return Table(tuple(_entries(node, mistakes)), line)


def _entries(node: yaml.Node, mistakes: Mistakes) -> list[tuple[Text, Node]]:
    entries: dict[str, tuple[Text, Node]] = {}
    for key_node, value_node in node.value:
        key = _converted(key_node, mistakes)
        if not isinstance(key, Text):
            mistakes.add(key.line, f"a key must be text, not {kind(key)}")
        elif key.text in entries:
            mistakes.add(key.line, f"{key.text} is given twice, first in line {entries[key.text][0].line}")
        else:
            entries[key.text] = (key, _converted(value_node, mistakes))
    return list(entries.values())


@dataclass(frozen=True)
class Reader:
    """Reader of nodes with an expected kind. Another kind adds a mistake and reads as an empty value."""

    mistakes: Mistakes

    def table(self, node: Node, what: str, keys: tuple[str, ...] = (), needed: tuple[str, ...] = ()) -> Table:
        """Return a mapping. Only ``keys`` are allowed in it, or any keys if none are given."""
        if not isinstance(node, Table):
            self.mistakes.add(node.line, f"{what} must be a mapping, not {kind(node)}")
            return Table((), node.line)
        for key, _ in node.entries:
            if keys and key.text not in keys:
                self.mistakes.add(key.line, f"{what} has no key {key.text}{nearest(key.text, keys)}")
        for missing in (key for key in needed if node.get(key) is None):
            self.mistakes.add(node.line, f"{what} needs the key {missing}")
        return node

    def text(self, node: Node | None, what: str) -> str:
        """Return the text of a scalar, which must not be empty; an empty text if there is no node."""
        if node is None:
            return ""
        if isinstance(node, Text) and not is_empty(node):
            return node.text
        self.mistakes.add(node.line, f"{what} must be text, not {kind(node)}")
        return ""

    def items(self, node: Node | None, what: str) -> tuple[Node, ...]:
        """Return the items of a list; none if there is no node."""
        if node is None:
            return ()
        if isinstance(node, Items):
            return node.items
        self.mistakes.add(node.line, f"{what} must be a list, not {kind(node)}")
        return ()

    def texts(self, node: Node | None, what: str) -> tuple[Text, ...]:
        """Return the texts of a list, or a single text."""
        nodes = (node,) if isinstance(node, Text) else self.items(node, what)
        return tuple(Text(self.text(item, f"an item of {what}"), item.line) for item in nodes)

    def day(self, node: Node | None, what: str) -> date | None:
        """Return a date, written as 2026-11-20; ``None`` if there is no node or no date."""
        text = self.text(node, what)
        try:
            return date.fromisoformat(text) if text else None
        except ValueError:
            self.mistakes.add(node.line if node else 1, f"{what} must be a date such as 2026-11-20, not {text!r}")
            return None
