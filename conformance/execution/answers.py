"""The answers of a process that runs the code of others: lines of JSON in a file, which stays writable whatever becomes of the process.

A library may print anything, replace or close the standard streams, or close every descriptor: none of that reaches the file, because
each answer opens it anew. Room for the answers is taken beforehand, so that a full disk is no trouble of the library's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MOST_BYTES = 4 << 20
"""What all the answers of one process may take."""
_UNUSED = b"\0"
_ends: dict[Path, int] = {}
"""Of each file that this process has answered in: where its answers end."""


def prepare(path: Path) -> None:
    """Make the file, with room for the answers. ``OSError`` where there is none."""
    with open(path, "xb") as file:
        file.write(_UNUSED * MOST_BYTES)


def say(path: Path, answer: dict[str, Any]) -> None:
    """Put one answer behind those that are there. ``ValueError`` where it has no room."""
    line, end = json.dumps(answer).encode() + b"\n", _ends.get(path, 0)
    if end + len(line) > MOST_BYTES:
        raise ValueError(f"an answer of {len(line)} bytes has no room behind {end} others")
    with open(path, "r+b", buffering=0) as file:
        file.seek(end)
        while line:
            line = line[file.write(line) :]
        _ends[path] = file.tell()


def told(path: Path) -> list[dict[str, Any]]:
    """All answers, in their order. A line that has no end, or that is none of ours, is no answer."""
    found = []
    for line in path.read_bytes().partition(_UNUSED)[0].split(b"\n")[:-1]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            found.append(record)
    return found
