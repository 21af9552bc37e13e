"""The language of rules: ``none``, ``any``, a version range such as ``>=2.11,<3``, or a list of these of which one fits."""

from __future__ import annotations

from collections.abc import Iterable

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from .model import NONE

ANY = "any"


class NoCondition(ValueError):
    """The text says nothing of this language."""


def matching(conditions: Iterable[str], versions: Iterable[str]) -> frozenset[str]:
    """The values that one of the conditions fits. ``any`` is every version, ``none`` only itself.

    Raises:
        NoCondition: a condition cannot be understood.
    """
    wanted = tuple(conditions)
    return frozenset(version for version in versions if any(_fits(text, version) for text in wanted))


def _fits(condition: str, version: str) -> bool:
    if condition == NONE:
        return version == NONE
    if condition == ANY:
        return version != NONE
    return version != NONE and _range(condition).contains(version, prereleases=True)


def _range(text: str) -> SpecifierSet:
    try:
        found = SpecifierSet(text)
    except InvalidSpecifier:
        found = SpecifierSet()
    if not len(found):
        raise NoCondition(f"{text!r} is no condition; write none, any, or a version range such as '>=2.11'")
    return found
