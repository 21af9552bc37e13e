"""Filling in the text of scripts."""

from __future__ import annotations

import re

_SLOT = re.compile(r"«(\w+)»")
_ALONE = re.compile(r"^([ ]*)«(\w+)»$")


def fill(text: str, **values: object) -> str:
    """The text with each ``«name»`` replaced.

    A value that has a line to itself may have several lines, which are indented like it; an empty one takes its line away.
    ``KeyError`` for a slot without a value.
    """
    return "\n".join(line for given in text.strip("\n").split("\n") for line in _filled(given, values))


def _filled(line: str, values: dict[str, object]) -> list[str]:
    alone = _ALONE.match(line)
    if not alone:
        return [_SLOT.sub(lambda slot: str(values[slot[1]]), line)]
    lines = str(values[alone[2]]).strip("\n").split("\n")
    return [alone[1] + each if each else "" for each in lines] if lines != [""] else []
