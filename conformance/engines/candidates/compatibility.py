"""Compare the metadata of a candidate with a cell. Pure functions."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from email.message import Message

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

PATCHES = range(100)
"""Patch releases of Python to try, because a cell names only the minor version."""


def misfits(metadata: Message, held: Mapping[str, str], python: str) -> list[str]:
    """Return the requirements of a candidate that the cell does not meet.

    ``held`` are the versions in the cell by normalized name, including candidates. Requirements of other packages on the
    candidate do not count: their upper bounds are older than the candidate.
    """
    return [
        *_python(metadata["Requires-Python"], python),
        *_requires(metadata.get_all("Requires-Dist", []), held, python),
    ]


def _python(required: str | None, python: str) -> list[str]:
    try:
        specifier = SpecifierSet(required or "")
    except InvalidSpecifier:
        return [f"its Requires-Python is {required!r}, which is not a valid specifier"]
    own = [f"{python}.{patch}" for patch in PATCHES] if python else [platform.python_version()]
    if any(specifier.contains(version, prereleases=True) for version in own):
        return []
    return [f"it requires Python {required}, and the cell has {python or own[0]}"]


def _requires(required: Iterable[str], held: Mapping[str, str], python: str) -> list[str]:
    found: list[str] = []
    for text in required:
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            found.append(f"its Requires-Dist is {text!r}, which is not a valid requirement")
            continue
        if wanted.marker is None or wanted.marker.evaluate(_environment(python)):
            found += _unmet(wanted, held)
    return found


def _environment(python: str) -> dict[str, str]:
    """Return the environment for markers: that of the cell, or of this machine if ``python`` is empty."""
    cell = {
        "python_version": python, "python_full_version": f"{python}.0", "implementation_name": "cpython",
        "platform_python_implementation": "CPython", "sys_platform": "linux", "platform_system": "Linux",
        "platform_machine": "x86_64", "os_name": "posix",
    }  # fmt: skip
    own = {name: str(value) for name, value in default_environment().items()}
    return {**own, **(cell if python else {}), "extra": ""}


def _unmet(wanted: Requirement, held: Mapping[str, str]) -> list[str]:
    version = held.get(canonicalize_name(wanted.name))
    if version is None:
        return [f"it requires {wanted.name}{wanted.specifier}, which the cell does not contain"]
    if not wanted.specifier.contains(version, prereleases=True):
        return [f"it requires {wanted.name}{wanted.specifier}, and the cell has {version}"]
    return []
