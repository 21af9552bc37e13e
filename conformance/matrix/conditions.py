"""Conditions in rules: ``none``, ``any``, a version range such as ``>=2.11,<3``, or a list of alternatives."""

from __future__ import annotations

from collections.abc import Iterable

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from .model import NONE

ANY = "any"


class NoCondition(ValueError):
    """The text is not a condition."""


def matching(conditions: Iterable[str], versions: Iterable[str]) -> frozenset[str]:
    """Return the values that meet one of the conditions. ``any`` matches every version, and ``none`` matches only itself.

    Raises:
        NoCondition: a condition is invalid.
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
        raise NoCondition(f"{text!r} is not a condition; write none, any, or a version range such as '>=2.11'")
    return found
