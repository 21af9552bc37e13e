"""Fill in the templates of scripts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

_SLOT = re.compile(r"«(\w+)»")
_ALONE = re.compile(r"^([ ]*)«(\w+)»$")


def fill(text: str, **values: object) -> str:
    """Return the text with each ``«name»`` replaced.

    A value alone on its line may have several lines, which get the same indent. An empty value removes its line. Raises ``KeyError`` for a
    slot without a value.
    """
    return "\n".join(line for given in text.strip("\n").split("\n") for line in _filled(given, values))


def _filled(line: str, values: dict[str, object]) -> list[str]:
    alone = _ALONE.match(line)
    if not alone:
        return [_SLOT.sub(lambda slot: str(values[slot[1]]), line)]
    lines = str(values[alone[2]]).strip("\n").split("\n")
    return [alone[1] + each if each else "" for each in lines] if lines != [""] else []


def without_unused(code: str) -> str:
    """Return the script without unused functions, classes and methods. Templates include helpers in sets."""
    while unused := next(_unused(code), None):
        lines = code.split("\n")
        start, end = unused
        while start and not lines[start - 1]:
            start -= 1  # with the empty lines before it
        code = "\n".join(lines[:start] + lines[end:]).lstrip("\n")
    return code


def _unused(code: str) -> Iterator[tuple[int, int]]:
    """Yield the first line, and one past the last, of each definition whose name occurs nowhere else."""
    found = [node for node in ast.parse(code).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    methods = [
        m for node in found if isinstance(node, ast.ClassDef) for m in node.body if isinstance(m, ast.FunctionDef)
    ]
    for node in (*found, *methods):
        if not node.name.startswith("__") and len(re.findall(rf"\b{node.name}\b", code)) == 1:
            yield node.lineno - 1, node.end_lineno or node.lineno
