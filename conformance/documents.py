"""JSON as every command reads it: UTF-8, finite numbers, of the shape that it has to have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NoReturn

from conformance import files, shapes

_HALVES = re.compile(rb"\\u[dD][89a-fA-F]")
"""How JSON names halves of surrogate pairs: a pair is one character, and a half alone is nothing that a file can hold."""


def loads(data: bytes) -> Any:
    """What this JSON says. Raises ValueError where it is none."""
    try:
        return json.loads(data.decode(), parse_constant=_refused)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is no UTF-8") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parsed(data: bytes) -> Any:
    """The same so that it can be written again: a half of a surrogate pair is ``?``."""
    found = loads(data)
    try:
        return (
            json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
            if _HALVES.search(data)
            else found
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def read(path: Path, shape: Any, most: int = files.MOST) -> Any:
    """What the one document in a file says. Raises Unreadable, also where it has another shape, and Missing where there is no file."""
    data = files.read(path, most)
    try:
        found = parsed(data)
    except ValueError as error:
        raise files.Unreadable(path, f"is no JSON ({error})") from error
    told = shapes.mistake(found, shape)
    if told:
        raise files.Unreadable(path, f"is not as it was written: {told}")
    return found
