"""The lock of a cell as a text file: what was asked for, when, and every package with its hashes. No addresses.

``locks/<cell>.txt`` is a requirements file for ``--require-hashes``. Where no solution exists there is ``locks/<cell>.unresolvable``
instead, with the same head and the resolver's sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKED = ".txt"
UNRESOLVABLE = ".unresolvable"
SUITE_SECTION = "# the suite's own"
_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True)
class Wanted:
    """What a lock answers. Two locks with equal heads answer the same question."""

    cell: str
    requires: tuple[str, ...]
    suite: tuple[str, ...]
    as_of: date

    @property
    def head(self) -> str:
        """The first lines of the file."""
        return "".join(
            [
                f"# cell: {self.cell}\n",
                f"# as of: {self.as_of}\n",
                *(f"# requires: {text}\n" for text in self.requires),
                *(f"# suite: {text}\n" for text in self.suite),
            ]
        )


@dataclass(frozen=True)
class Pin:
    """One package: its version and the digests of its files."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        return " \\\n    ".join([f"{self.name}=={self.version}", *(f"--hash={digest}" for digest in self.hashes)])


@dataclass(frozen=True)
class Locked:
    """A solution: the packages under test with what they need, and what the suite adds to them."""

    wanted: Wanted
    pins: tuple[Pin, ...]
    suite: tuple[Pin, ...]

    suffix = LOCKED

    @property
    def text(self) -> str:
        """The file."""
        under_test, added = ("".join(f"{pin}\n" for pin in pins) for pins in (self.pins, self.suite))
        return f"{self.wanted.head}\n{under_test}\n{SUITE_SECTION}\n{added}"


@dataclass(frozen=True)
class Unresolvable:
    """There is no solution, and why."""

    wanted: Wanted
    sentence: str

    suffix = UNRESOLVABLE

    @property
    def text(self) -> str:
        """The file."""
        return f"{self.wanted.head}\n{self.sentence}\n"


Lock = Locked | Unresolvable


class NoLock(ValueError):
    """A file that is no lock as this program writes them."""


def parse(path: Path) -> Lock:
    """The lock in a file.

    Raises:
        NoLock: the file is something else, or was edited into something else.
    """
    text = path.read_text(encoding="utf-8")
    head, _, body = text.partition("\n\n")
    wanted = _wanted(head)
    if path.suffix == UNRESOLVABLE:
        return Unresolvable(wanted, body.strip())
    under_test, mark, added = body.partition(f"{SUITE_SECTION}\n")
    if not mark:
        raise NoLock(f"no line {SUITE_SECTION!r}")
    return Locked(wanted, pins(under_test), pins(added))


def _wanted(head: str) -> Wanted:
    lines: dict[str, list[str]] = {"cell": [], "as of": [], "requires": [], "suite": []}
    for line in head.splitlines():
        key, colon, value = line.removeprefix("# ").partition(": ")
        if not colon or key not in lines:
            raise NoLock(f"no line of a lock's head: {line!r}")
        lines[key].append(value)
    if not len(lines["cell"]) == len(lines["as of"]) == 1:
        raise NoLock("the head names no cell, or no date")
    try:
        day = date.fromisoformat(lines["as of"][0])
    except ValueError as error:
        raise NoLock(f"no date: {lines['as of'][0]!r}") from error
    return Wanted(lines["cell"][0], tuple(lines["requires"]), tuple(lines["suite"]), day)


def pins(text: str) -> tuple[Pin, ...]:
    """The packages of a requirements file, in its order.

    Raises:
        NoLock: a line is no ``name==version``, or a package has no hash.
    """
    joined = text.replace("\\\n", " ")
    return tuple(_pin(line) for line in joined.splitlines() if line.strip() and not line.startswith("#"))


def _pin(line: str) -> Pin:
    found = _PIN.fullmatch(line.strip())
    words = found["rest"].split() if found else []
    if found is None or not words or any(not word.startswith("--hash=sha256:") for word in words):
        raise NoLock(f"no pinned package with hashes: {' '.join(line.split())[:80]!r}")
    return Pin(
        canonicalize_name(found["name"]), found["version"], tuple(word.removeprefix("--hash=") for word in words)
    )


def versions(found: Iterable[Pin]) -> dict[str, str]:
    """Version by package."""
    return {pin.name: pin.version for pin in found}


def unmet(requires: Iterable[str], found: Mapping[str, str]) -> list[str]:
    """Requirements that these versions do not meet."""
    return [text for text in requires if not _met(Requirement(text), found)]


def _met(requirement: Requirement, found: Mapping[str, str]) -> bool:
    version = found.get(canonicalize_name(requirement.name))
    return version is not None and requirement.specifier.contains(version, prereleases=True)


_LINE_IN_NAME = re.compile(r"-cu(?:da)?(\d\d)x?$")
_LINE_IN_VERSION = ("cuda-toolkit", "cuda-bindings", "cuda-python", "nvidia-cuda-runtime", "nvidia-cuda-nvrtc")


def without_line(name: str) -> str:
    """A package's name without the CUDA line that some carry: ``cvcuda`` of ``cvcuda-cu13``."""
    return _LINE_IN_NAME.sub("", name)


def strangers(major: str, found: Iterable[Pin]) -> list[str]:
    """Packages of another CUDA line; a resolver does not see that they cannot live together."""
    return [f"{pin.name}=={pin.version}" for pin in found if _line(pin) not in ("", major)]


def _line(pin: Pin) -> str:
    named = _LINE_IN_NAME.search(pin.name)
    if named:
        return named[1]
    return pin.version.split(".")[0] if pin.name in _LINE_IN_VERSION else ""
