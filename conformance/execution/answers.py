"""Answers of a process that runs third-party code: lines of JSON in a file that stays writable.

A library may print anything, replace or close the standard streams, or close every descriptor. The process opens the
file again for each answer, so none of that reaches it. The file has its final size from the start, so that a full disk
causes no failure in the library's process.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MOST_BYTES = 4 << 20
"""Limit of all answers of one process, in bytes."""
_UNUSED = b"\0"
_ends: dict[Path, int] = {}
"""End of the last answer in each file that this process has written to, as an offset."""


def prepare(path: Path) -> None:
    """Create the file and reserve space for the answers. Raises ``OSError`` if there is no space."""
    with open(path, "xb") as file:
        file.write(_UNUSED * MOST_BYTES)


def say(path: Path, answer: dict[str, Any]) -> None:
    """Append one answer. Raises ``ValueError`` if it does not fit."""
    line, end = json.dumps(answer).encode() + b"\n", _ends.get(path, 0)
    if end + len(line) > MOST_BYTES:
        raise ValueError(f"an answer of {len(line)} bytes does not fit after {end} bytes")
    with open(path, "r+b", buffering=0) as file:
        file.seek(end)
        while line:
            line = line[file.write(line) :]
        _ends[path] = file.tell()


def told(path: Path) -> list[dict[str, Any]]:
    """Return all answers in order. An incomplete or invalid line is skipped."""
    found = []
    for line in path.read_bytes().partition(_UNUSED)[0].split(b"\n")[:-1]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            found.append(record)
    return found
