"""Random damage to a file: to its bytes, lines or data, or by an entry of another kind in its place."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

DEEP = 100_000
Kind = Callable[[Path], None]
"""Function that replaces a file by an entry of another kind."""
_TOKENS = (
    b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"1" * 5000, b"[]", b"{}", b'""', b'"\\ud800"', b'"\\u0000"',
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3(", "\u202e".encode(), b"\x1b[2J", b"[" * DEEP, b'{"a":' * 2000, b"../x", b"/dev/zero",
    b"\r\n", b"\n\n", b"\x85", b"&a", b"*a", b"!!python/object:os.system", b"- ", b": ", b"#", b'"', b"'", b"}", b"]",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1 << 70, 10**400, 1.5, float("inf"), float("nan"), "", "x", "../x", "/x", "a/b/c/d", "\ud800", "\x00", "\x1b]0;x\x07",
    "fail", "conforms", "violates", "host", "x" * 10_000, [], [[]], {}, {"": ""}, [None], [0, 1], [[0, 1 << 40]], {"name": 5},
)  # fmt: skip


def damaged(random: Random, whole: bytes) -> bytes:
    """Return the content with one or a few changes."""
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        whole = random.choice(_WAYS)(random, whole)
    return whole


def _bits(random: Random, whole: bytes) -> bytes:
    found = bytearray(whole)
    for _ in range(random.choice((1, 2, 16))):
        if found:
            found[random.randrange(len(found))] ^= 1 << random.randrange(8)
    return bytes(found)


def _token(random: Random, whole: bytes) -> bytes:
    at = random.randint(0, len(whole))
    return whole[:at] + random.choice(_TOKENS) + whole[at + random.choice((0, 0, 1, 4)) :]


def _part(random: Random, whole: bytes) -> bytes:
    """Remove or repeat a part."""
    start, end = sorted(random.randint(0, len(whole)) for _ in range(2))
    end = min(end, start + random.choice((1, 10, 1000)))
    return whole[:start] + whole[start:end] * random.choice((0, 2, 3)) + whole[end:]


def _cut(random: Random, whole: bytes) -> bytes:
    return whole[: random.randint(0, len(whole))]


def _encoded(random: Random, whole: bytes) -> bytes:
    text = whole.decode("utf-8", "replace")
    return text.encode(random.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7", "latin-1")), "replace")


def _lines(random: Random, whole: bytes) -> bytes:
    """Remove, repeat, move or replace a line."""
    found = whole.split(b"\n")
    at, other = random.randrange(len(found)), random.randrange(len(found))
    way = random.randrange(4)
    if way == 0:
        del found[at]
    elif way == 1:
        found.insert(other, found[at])
    elif way == 2:
        found[at], found[other] = found[other], found[at]
    else:
        found[at] = found[at][: random.randint(0, len(found[at]))] + found[other]
    return b"\n".join(found)


def _data(random: Random, whole: bytes) -> bytes:
    """Change, remove or add a value in the JSON document, or in one of its lines."""
    with suppress(ValueError, RecursionError):
        return _said(_changed(random, json.loads(whole)))
    found = whole.split(b"\n")
    at = random.randrange(len(found))
    with suppress(ValueError, RecursionError):
        found[at] = _said(_changed(random, json.loads(found[at])))
    return b"\n".join(found)


def _said(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


def _changed(random: Random, data: Any) -> Any:
    """Change one place in the data; each level has the same chance."""
    if isinstance(data, dict) and data and random.random() < 0.85:
        key = random.choice(list(data))
        way = random.random()
        if way < 0.12:
            return {name: value for name, value in data.items() if name != key}
        if way < 0.18:
            return {**data, random.choice(("", "more", "id", "../x")): random.choice(_VALUES)}
        if way < 0.26:
            return {**data, key: data[random.choice(list(data))]}
        return {**data, key: _changed(random, data[key])}
    if isinstance(data, list) and data and random.random() < 0.85:
        at = random.randrange(len(data))
        way = random.random()
        if way < 0.12:
            return data[:at] + data[at + 1 :]
        if way < 0.24:
            return [*data, data[at]]
        return [*data[:at], _changed(random, data[at]), *data[at + 1 :]]
    return random.choice(_VALUES)


_WAYS: Sequence[Callable[[Random, bytes], bytes]] = (
    _bits, _token, _part, _cut, _encoded, _lines, _lines, _data, _data, _data, _data, _data,
)  # fmt: skip


# -- entries that are not files


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)  # a relative path keeps the socket's name short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def _nothing(path: Path) -> None:
    """Leave no entry."""


OTHER_KINDS: Sequence[Kind] = (_pipe, Path.mkdir, _loop, _nowhere, _device, _socket, _nothing)


def removed(path: Path) -> None:
    """Remove any entry at the path."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
