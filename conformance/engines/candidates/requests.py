"""Parse the values of ``--candidate``, and report all mistakes together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from conformance import files
from conformance.matrix.lockfile import without_line

from . import wheels
from .wheels import NoWheel, Wheel

FORMS = "give NAME=WHEEL, NAME=REQUIREMENT or a requirement, such as numpy==2.6.0rc1"


@dataclass(frozen=True)
class Asked:
    """One value of ``--candidate``."""

    text: str
    name: str
    """Normalized name of the distribution as given, possibly without its CUDA suffix."""
    wheel: Wheel | None = None
    versions: str = ""
    """Version specifier for the package index, if there is no wheel."""


class Mistake(ValueError):
    """A mistake in one value of ``--candidate``."""


def read(texts: Iterable[str]) -> tuple[list[Asked], list[str]]:
    """Return the requested candidates, and a sentence for each invalid value."""
    found: list[Asked] = []
    mistakes: list[str] = []
    for text in texts:
        try:
            found.append(_one(text))
        except Mistake as mistake:
            mistakes.append(f"--candidate {text}: {mistake}")
    return found, [*mistakes, *_twice(found)]


def _one(text: str) -> Asked:
    whole = _requirement(text)
    if whole is not None:
        return _from_index(text, whole.name, whole)
    name, mark, value = text.partition("=")
    if not (mark and value and _requirement(name)):
        raise Mistake(f"this is neither a wheel nor a requirement; {FORMS}")
    if value.endswith(".whl") or "/" in value or _is_there(Path(value)):
        return _from_file(text, name, Path(value))
    wanted = _requirement(value)
    if value[0].isdigit():
        raise Mistake(f"a version follows two equals signs; give {name}=={value}")
    if wanted is None:
        raise Mistake(f"{value!r} is neither a wheel nor a requirement; {FORMS}")
    if not same(name, canonicalize_name(wanted.name)):
        raise Mistake(f"{value!r} asks for {wanted.name}, not for {name}; {FORMS}")
    return _from_index(text, wanted.name, wanted)


def _is_there(path: Path) -> bool:
    """Return whether a path leads to anything. A requirement that can be no path does not."""
    try:
        return files.is_there(path)
    except files.Unreadable:
        return False


def _requirement(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def _from_index(text: str, name: str, wanted: Requirement) -> Asked:
    if wanted.extras or wanted.marker or wanted.url:
        raise Mistake("extras, markers and URLs are not supported; give only a name and versions")
    return Asked(text, canonicalize_name(name), versions=str(wanted.specifier))


def _from_file(text: str, name: str, path: Path) -> Asked:
    try:
        wheel = wheels.read(path)
    except NoWheel as error:
        raise Mistake(str(error)) from error
    if not same(name, wheel.name):
        raise Mistake(f"the wheel contains {wheel.name}, not {name}; give the name of its distribution")
    return Asked(text, wheel.name, wheel)


def same(called: str, name: str) -> bool:
    """Return whether ``called`` is a distribution's normalized name, with or without its CUDA suffix."""
    return canonicalize_name(called) in (name, without_line(name))


def _twice(found: Sequence[Asked]) -> list[str]:
    names = [one.name for one in found]
    return [f"--candidate {name}: it is given {names.count(name)} times; give it once" for name in dict.fromkeys(names) if names.count(name) > 1]  # fmt: skip
