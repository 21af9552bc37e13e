"""Patterns with one special character: ``*`` stands for any text. Brackets are brackets, as case ids and messages have them."""

from __future__ import annotations

from collections.abc import Iterable

STAR = "*"


def fits(pattern: str, text: str) -> bool:
    """Whether the whole text is what the pattern says."""
    first, *others = pattern.split(STAR)
    if not others:
        return text == pattern
    *middle, last = others
    end = len(text) - len(last)
    return text.startswith(first) and text.endswith(last) and _one_after_the_other(middle, text, len(first), end)


def _one_after_the_other(parts: Iterable[str], text: str, at: int, end: int) -> bool:
    """Whether the parts are there in this order. The first place of each leaves most to the others, so nothing is tried twice."""
    for part in parts:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return at <= end


def may_begin(pattern: str, beginning: str) -> bool:
    """Whether some text that begins so fits the pattern, as far as its part before the first ``*`` tells."""
    head, star, _ = pattern.partition(STAR)
    return head.startswith(beginning) or (bool(star) and beginning.startswith(head))
