"""Lock files of cells: the requirements, the date, and every package with its hashes, but without URLs.

``locks/<cell>.txt`` is a requirements file for ``--require-hashes``. If no solution exists, the file is ``locks/<cell>.unresolvable``
instead, with the same head and the resolver's explanation.

The only reader below accepts exact versions with SHA-256 digests, and each package once. Any other line could install another version
later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from conformance import files
from conformance.exits import UserError

LOCKED = ".txt"
UNRESOLVABLE = ".unresolvable"
SUITE_SECTION = "# the suite's own"
NEXT = "create it again with `nox -s lock`"
_HASH = "--hash="
_DIGEST = f"{_HASH}sha256:"


@dataclass(frozen=True)
class Wanted:
    """Input of a lock file. Two lock files with equal heads have the same input."""

    cell: str
    requires: tuple[str, ...]
    suite: tuple[str, ...]
    as_of: date

    @property
    def head(self) -> str:
        """First lines of the lock file."""
        return "".join(
            [
                f"# cell: {self.cell}\n",
                f"# as of: {self.as_of}\n",
                *(f"# requires: {text}\n" for text in self.requires),
                *(f"# suite: {text}\n" for text in self.suite),
            ]
        )


@dataclass(frozen=True, order=True)
class Pin:
    """A package with its version and the digests of its files."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        return " \\\n    ".join([f"{self.name}=={self.version}", *(f"--hash={digest}" for digest in self.hashes)])


@dataclass(frozen=True)
class Locked:
    """A solution: the packages under test with their dependencies, and the packages that the suite adds."""

    wanted: Wanted
    pins: tuple[Pin, ...]
    suite: tuple[Pin, ...]

    suffix = LOCKED

    @property
    def text(self) -> str:
        """Content of the lock file."""
        under_test, added = ("".join(f"{pin}\n" for pin in pins) for pins in (self.pins, self.suite))
        return f"{self.wanted.head}\n{under_test}\n{SUITE_SECTION}\n{added}"


@dataclass(frozen=True)
class Unresolvable:
    """The result that no solution exists, with the reason."""

    wanted: Wanted
    sentence: str

    suffix = UNRESOLVABLE

    @property
    def text(self) -> str:
        """Content of the file."""
        return f"{self.wanted.head}\n{self.sentence}\n"


Lock = Locked | Unresolvable


class NoLock(ValueError):
    """A file that is not a lock file in the format of this program."""


def parse(path: Path) -> Lock:
    """Return the parsed content of a lock file.

    Raises:
        NoLock: the file is not a lock, or an edit made it invalid.
        Unreadable: the file cannot be read as text.
    """
    text = files.text(path)
    head, _, body = text.partition("\n\n")
    wanted = _wanted(head)
    if path.suffix == UNRESOLVABLE:
        return Unresolvable(wanted, body.strip())
    under_test, mark, added = body.partition(f"{SUITE_SECTION}\n")
    if not mark:
        raise NoLock(f"the line {SUITE_SECTION!r} is missing")
    return Locked(wanted, pins(under_test), pins(added))


def _wanted(head: str) -> Wanted:
    lines: dict[str, list[str]] = {"cell": [], "as of": [], "requires": [], "suite": []}
    for line in head.splitlines():
        key, colon, value = line.removeprefix("# ").partition(": ")
        if not colon or key not in lines:
            raise NoLock(f"not a line of the head of a lock file: {line!r}")
        lines[key].append(value)
    if not len(lines["cell"]) == len(lines["as of"]) == 1:
        raise NoLock("the head must name one cell and one date")
    try:
        day = date.fromisoformat(lines["as of"][0])
    except ValueError as error:
        raise NoLock(f"not a date: {lines['as of'][0]!r}") from error
    return Wanted(lines["cell"][0], tuple(lines["requires"]), tuple(lines["suite"]), day)


def read(path: Path) -> tuple[Pin, ...]:
    """Return the packages of a requirements file, with or without the head of a lock file.

    Packages and digests are sorted, so that the order in the file does not matter.

    Raises:
        UserError: the file is missing, has no package, or has a line that does not pin a package.
    """
    try:
        text = files.text(path)
    except files.Unreadable as error:
        raise UserError(f"the lock file cannot be read: {error}; {NEXT}") from error
    found, mistakes = parsed(text)
    if not found and not mistakes:
        raise UserError(f"{path}: the lock file contains no requirement; {NEXT}")
    if mistakes:
        raise UserError("\n".join(f"{path}:{line}: {what}; {NEXT}" for line, what in mistakes))
    return tuple(sorted(replace(pin, hashes=tuple(sorted(pin.hashes))) for pin in found))


def pins(text: str) -> tuple[Pin, ...]:
    """Return the packages of a requirements file, in its order.

    Raises:
        NoLock: a line does not pin a package, or a package is given twice.
    """
    found, mistakes = parsed(text)
    if mistakes:
        raise NoLock(f"no pinned package with hashes: {'; '.join(what for _, what in mistakes)}")
    return found


def parsed(text: str) -> tuple[tuple[Pin, ...], list[tuple[int, str]]]:
    """Return the packages in the order of the text, and the mistakes with their line numbers."""
    found: dict[str, Pin] = {}
    mistakes: list[tuple[int, str]] = []
    for number, line in _joined(text):
        try:
            pin = _pin(line)
        except NoLock as error:
            mistakes.append((number, str(error)))
            continue
        if pin.name in found:
            mistakes.append((number, f"{pin.name} is given twice"))
        found[pin.name] = pin
    return tuple(found.values()), mistakes


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Yield complete requirements, each with the number of its first line."""
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
    hashes = [word for word in words if word.startswith(_HASH)]
    text = " ".join(word for word in words if not word.startswith(_HASH))
    try:
        wanted = Requirement(text)
    except InvalidRequirement as error:
        raise NoLock(f"{text!r} is not a requirement") from error
    specifiers = list(wanted.specifier)
    if len(specifiers) != 1 or specifiers[0].operator != "==" or specifiers[0].version.endswith("*"):
        raise NoLock(f"{text!r} is not one exact version (NAME==VERSION)")
    if wanted.extras or wanted.marker:
        raise NoLock(f"{text!r} has an extra or a marker; a lock file contains no conditions")
    if not hashes:
        raise NoLock(f"{text!r} has no hash")
    if not all(word.startswith(_DIGEST) for word in hashes):
        raise NoLock(f"{text!r} has a hash that is not SHA-256")
    return Pin(
        canonicalize_name(wanted.name), specifiers[0].version, tuple(word.removeprefix(_HASH) for word in hashes)
    )


def versions(found: Iterable[Pin]) -> dict[str, str]:
    """Return the versions by package name."""
    return {pin.name: pin.version for pin in found}


def unmet(requires: Iterable[str], found: Mapping[str, str]) -> list[str]:
    """Return the requirements that these versions do not meet."""
    return [text for text in requires if not _met(Requirement(text), found)]


def _met(requirement: Requirement, found: Mapping[str, str]) -> bool:
    version = found.get(canonicalize_name(requirement.name))
    return version is not None and requirement.specifier.contains(version, prereleases=True)


_LINE_IN_NAME = re.compile(r"-cu(?:da)?(\d\d)x?$")
_LINE_IN_VERSION = ("cuda-toolkit", "cuda-bindings", "cuda-python", "nvidia-cuda-runtime", "nvidia-cuda-nvrtc")


def without_line(name: str) -> str:
    """Return a package name without its CUDA suffix: ``cvcuda`` for ``cvcuda-cu13``."""
    return _LINE_IN_NAME.sub("", name)


def strangers(major: str, found: Iterable[Pin]) -> list[str]:
    """Return the packages for another major version of CUDA. A resolver does not know that such packages conflict."""
    return [f"{pin.name}=={pin.version}" for pin in found if _line(pin) not in ("", major)]


def _line(pin: Pin) -> str:
    named = _LINE_IN_NAME.search(pin.name)
    if named:
        return named[1]
    return pin.version.split(".")[0] if pin.name in _LINE_IN_VERSION else ""
