"""A cell's lock: exact versions with hashes, as ``uv pip compile --generate-hashes`` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from conformance.exits import UserError

NEXT = "make it again with `nox -s lock`"


@dataclass(frozen=True, order=True)
class Pin:
    """One requirement of a lock."""

    name: str
    version: str
    hashes: tuple[str, ...]
    marker: str = ""

    def __str__(self) -> str:
        marker = f" ; {self.marker}" if self.marker else ""
        return f"{self.name}=={self.version}{marker}" + "".join(f" \\\n    --hash={h}" for h in self.hashes)


def read(path: Path) -> tuple[Pin, ...]:
    """The pins of a lock, by name.

    Raises UserError with every line that is no exact version with hashes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: the lock cannot be read: {error.strerror}; {NEXT}") from error
    pins, mistakes = parse(text)
    if not pins and not mistakes:
        raise UserError(f"{path}: the lock holds no requirement; {NEXT}")
    if mistakes:
        raise UserError("\n".join(f"{path}:{line}: {what}; {NEXT}" for line, what in mistakes))
    return pins


def parse(text: str) -> tuple[tuple[Pin, ...], list[tuple[int, str]]]:
    """The pins by name, and the mistakes by line number."""
    pins: dict[str, Pin] = {}
    mistakes: list[tuple[int, str]] = []
    for number, line in _joined(text):
        try:
            pin = _pin(line)
        except ValueError as error:
            mistakes.append((number, str(error)))
            continue
        if pin.name in pins:
            mistakes.append((number, f"{pin.name} is there twice"))
        pins[pin.name] = pin
    return tuple(pins[name] for name in sorted(pins)), mistakes


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Whole requirements, each with the number of its first line."""
    start, parts = 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        start = start if parts else number
        parts.append(stripped.removesuffix("\\").strip())
        if not stripped.endswith("\\"):
            yield start, " ".join(parts)
            parts = []
    if parts:
        yield start, " ".join(parts)


def _pin(line: str) -> Pin:
    words = line.split(" #")[0].split()
    hashes = tuple(sorted(word.removeprefix("--hash=") for word in words if word.startswith("--hash=")))
    text = " ".join(word for word in words if not word.startswith("--hash="))
    try:
        wanted = Requirement(text)
    except InvalidRequirement as error:
        raise ValueError(f"{text!r} is no requirement") from error
    specifiers = list(wanted.specifier)
    if len(specifiers) != 1 or specifiers[0].operator != "==" or specifiers[0].version.endswith("*"):
        raise ValueError(f"{text!r} is not one exact version (NAME==VERSION)")
    if not hashes:
        raise ValueError(f"{text!r} has no hash")
    return Pin(canonicalize_name(wanted.name), specifiers[0].version, hashes, str(wanted.marker or ""))
