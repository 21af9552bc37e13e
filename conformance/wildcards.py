"""Patterns with one special character, ``*``, which matches any text. Brackets are not special, because case ids and messages contain them."""

from __future__ import annotations

from collections.abc import Iterable

STAR = "*"


def fits(pattern: str, text: str) -> bool:
    """Return whether the pattern matches the whole text."""
    first, *others = pattern.split(STAR)
    if not others:
        return text == pattern
    *middle, last = others
    end = len(text) - len(last)
    return text.startswith(first) and text.endswith(last) and _one_after_the_other(middle, text, len(first), end)


def _one_after_the_other(parts: Iterable[str], text: str, at: int, end: int) -> bool:
    """Return whether the text contains the parts in this order. The first place of each part leaves the most text to the others, so no backtracking is needed."""
    for part in parts:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return at <= end


def may_begin(pattern: str, beginning: str) -> bool:
    """Return whether a text with this beginning can match the pattern. Only the part before the first ``*`` is compared."""
    head, star, _ = pattern.partition(STAR)
    return head.startswith(beginning) or (bool(star) and beginning.startswith(head))
