"""JSON input of every command: UTF-8, finite numbers, and the expected shape."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NoReturn

from conformance import files, shapes

_HALVES = re.compile(rb"\\u[dD][89a-fA-F]")
"""Escapes of surrogates in JSON. A pair is one character; UTF-8 cannot encode an unpaired surrogate."""


def loads(data: bytes) -> Any:
    """Parse JSON. Raises ValueError if the data is not valid JSON."""
    try:
        return json.loads(data.decode(), parse_constant=_refused)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start + 1} is not valid UTF-8") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parsed(data: bytes) -> Any:
    """Parse JSON and replace each unpaired surrogate with ``?``, so that the result can be written again."""
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
    raise ValueError(f"{name} is not a JSON number")


def read(path: Path, shape: Any, most: int = files.MOST, *, own: bool = False) -> Any:
    """Return the JSON document in a file. ``own`` is that of :func:`.files.opened`.

    Raises Unreadable if the file cannot be read or has another shape, and Missing if there is no file.
    """
    data = files.read(path, most, own=own)
    try:
        found = parsed(data)
    except ValueError as error:
        raise files.Unreadable(path, f"is not valid JSON ({error})") from error
    problem = shapes.mistake(found, shape)
    if problem:
        raise files.Unreadable(path, f"is not in the expected format: {problem}")
    return found
